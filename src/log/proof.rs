//! Inclusion and consistency proofs: made from tiles, checked without them (RFC 6962 §2.1.1,
//! §2.1.2).

use std::ops::Range;

use super::hashes::{TILE_HASHES, TILE_HEIGHT, TileError, tile_hashes};
use super::tree::{Hash, empty_root, node_hash};

/// The reasons why no proof was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The request names a record or size outside this tree.
    #[error(
        "there is no proof for {what} {asked} in a log of {size} events: request one from 1 to {size}"
    )]
    OutOfRange {
        /// What was requested.
        what: &'static str,
        /// The number that was requested.
        asked: u64,
        /// The size that bounds it.
        size: u64,
    },
    /// The hashes could not be read.
    #[error(transparent)]
    Tile(#[from] TileError),
}

/// The reasons why a proof does not prove what it was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// The number of hashes does not match the sizes.
    #[error("the proof's length does not match its tree sizes: request a new one")]
    Malformed,
    /// The hashes lead to another root.
    #[error("the proof leads to another root, so the event or the history was changed")]
    WrongRoot,
}

/// Proves that the record at `position` is in the tree of the first `size` records.
///
/// `read` returns the bytes of a tile by level and index, at least as wide as in a tree of `size`.
/// The proof lists hashes from the leaf up, at most 63.
///
/// # Errors
/// [`ProveError::OutOfRange`] unless 1 ≤ `position` ≤ `size`; [`ProveError::Tile`] from `read`.
///
/// Source: RFC 6962 §2.1.1.
pub fn prove_inclusion(
    mut read: impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    position: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError> {
    let leaf = in_range("position", position, size)?;
    last_leaf(&mut read, size)?;
    let mut proof = Vec::new();
    let mut range = 0..size;
    while range.end - range.start > 1 {
        let middle = split(&range);
        let other = if leaf < middle {
            let right = middle..range.end;
            range.end = middle;
            right
        } else {
            let left = range.start..middle;
            range.start = middle;
            left
        };
        proof.push(range_root(&mut read, other)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `from` records is the beginning of that of the first `to`.
///
/// `read` is as in [`prove_inclusion`]; equal sizes need no hash.
///
/// # Errors
/// [`ProveError::OutOfRange`] unless 1 ≤ `from` ≤ `to`; [`ProveError::Tile`] from `read`.
///
/// Source: RFC 6962 §2.1.2.
pub fn prove_consistency(
    mut read: impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    from: u64,
    to: u64,
) -> Result<Vec<Hash>, ProveError> {
    in_range("size", from, to)?;
    last_leaf(&mut read, to)?;
    let mut proof = Vec::new();
    let mut range = 0..to;
    while range.end != from {
        let middle = split(&range);
        let other = if from <= middle {
            let right = middle..range.end;
            range.end = middle;
            right
        } else {
            let left = range.start..middle;
            range.start = middle;
            left
        };
        proof.push(range_root(&mut read, other)?);
    }
    // The verifier has the old root, but needs the roots of its subtrees.
    if range.start != 0 {
        proof.push(range_root(&mut read, range)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Returns the root of the tree of the first `size` records; `read` is as in [`prove_inclusion`].
///
/// # Errors
/// [`TileError`] from `read`, or if the tree is smaller.
pub fn root_at(
    mut read: impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    size: u64,
) -> Result<Hash, TileError> {
    match size {
        0 => Ok(empty_root()),
        _ => range_root(&mut read, 0..size),
    }
}

/// Checks that a leaf is at `position` in the tree of `size` leaves with this root.
///
/// # Errors
/// [`ProofRefused`] if the proof is not exactly the right one.
///
/// Source: RFC 9162 §2.1.3.2; RFC 6962 does not define the check.
pub fn check_inclusion(
    leaf: &Hash,
    position: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofRefused> {
    if position == 0 || position > size {
        return Err(ProofRefused::Malformed);
    }
    let (mut node, mut last) = (position - 1, size - 1);
    let mut hash = *leaf;
    for other in proof {
        if last == 0 {
            return Err(ProofRefused::Malformed);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(other, &hash);
            let skipped = node.trailing_zeros();
            node >>= skipped;
            last >>= skipped;
        } else {
            hash = node_hash(&hash, other);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if hash == *root => Ok(()),
        0 => Err(ProofRefused::WrongRoot),
        _ => Err(ProofRefused::Malformed),
    }
}

/// Checks that the tree of `from` leaves is the beginning of the one of `to` leaves.
///
/// # Errors
/// [`ProofRefused`] if the proof is not exactly the right one, and for `from` = 0, about which
/// nothing can be proven.
///
/// Source: RFC 9162 §2.1.4.2; RFC 6962 does not define the check.
pub fn check_consistency(
    from: u64,
    from_root: &Hash,
    to: u64,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofRefused> {
    if from == 0 || from > to || (from == to && !proof.is_empty()) {
        return Err(ProofRefused::Malformed);
    }
    if from == to {
        return equal(from_root, to_root);
    }
    // A complete old tree is itself the first subtree, which the verifier knows.
    let (first, rest) = if from.is_power_of_two() {
        (from_root, proof)
    } else {
        proof.split_first().ok_or(ProofRefused::Malformed)?
    };
    let skipped = (from - 1).trailing_ones();
    let (mut node, mut last) = ((from - 1) >> skipped, (to - 1) >> skipped);
    let (mut old, mut new) = (*first, *first);
    for other in rest {
        if last == 0 {
            return Err(ProofRefused::Malformed);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(other, &old);
            new = node_hash(other, &new);
            let skipped = node.trailing_zeros();
            node >>= skipped;
            last >>= skipped;
        } else {
            new = node_hash(&new, other);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofRefused::Malformed);
    }
    equal(&old, from_root).and_then(|()| equal(&new, to_root))
}

fn equal(found: &Hash, expected: &Hash) -> Result<(), ProofRefused> {
    if found == expected {
        Ok(())
    } else {
        Err(ProofRefused::WrongRoot)
    }
}

/// Returns the index of the leaf at a position from 1 to `size`.
fn in_range(what: &'static str, asked: u64, size: u64) -> Result<u64, ProveError> {
    match asked.checked_sub(1) {
        Some(leaf) if asked <= size => Ok(leaf),
        _ => Err(ProveError::OutOfRange { what, asked, size }),
    }
}

/// Refuses a size that the tree has not reached, since its proof may not need the last leaf.
fn last_leaf(
    read: &mut impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    size: u64,
) -> Result<Hash, TileError> {
    subtree(read, 0, size - 1)
}

/// Returns where a range of at least two leaves splits: after the largest power of two below its
/// length.
fn split(range: &Range<u64>) -> u64 {
    let length = range.end - range.start;
    range.start + (1 << (length - 1).ilog2())
}

/// Hashes a range that begins where a subtree begins: MTH of RFC 6962 §2.1.
fn range_root(
    read: &mut impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    range: Range<u64>,
) -> Result<Hash, TileError> {
    // The complete subtrees in the range, from the smallest on the right to the largest.
    let (mut end, mut root) = (range.end, None);
    while end > range.start {
        let height = (end - range.start).trailing_zeros();
        let left = subtree(read, height, (end - 1) >> height)?;
        root = Some(root.map_or(left, |right| node_hash(&left, &right)));
        end -= 1 << height;
    }
    Ok(root.expect("a range has a leaf"))
}

/// Returns the root of a complete subtree: number `index` among those of its height.
pub(super) fn subtree(
    read: &mut impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    height: u32,
    index: u64,
) -> Result<Hash, TileError> {
    let level = u8::try_from(height / TILE_HEIGHT).expect("a tree is at most 63 high");
    let within = height % TILE_HEIGHT;
    let first = index << within;
    let tile = first / TILE_HASHES as u64;
    let at = usize::try_from(first % TILE_HASHES as u64).expect("below 256");
    let mut hashes = read_hashes(read, level, tile, at..at + (1 << within))?;
    while hashes.len() > 1 {
        let (pairs, _) = hashes.as_chunks::<2>();
        hashes = pairs.iter().map(|[l, r]| node_hash(l, r)).collect();
    }
    Ok(hashes[0])
}

/// Reads hashes from one tile.
pub(super) fn read_hashes(
    read: &mut impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    level: u8,
    index: u64,
    range: Range<usize>,
) -> Result<Vec<Hash>, TileError> {
    let bytes = read(level, index)?;
    let found = tile_hashes(&bytes).get(range.clone());
    found.map(<[Hash]>::to_vec).ok_or_else(|| TileError {
        level,
        index,
        first: range.start,
        reason: "the tile is too short".into(),
    })
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
