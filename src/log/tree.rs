//! The Merkle tree over the log's records (RFC 6962 §2.1), kept as its frontier.
//!
//! Leaf `n - 1` is the record at position `n`. The frontier holds the roots of the largest complete
//! subtrees, at most one of each height. Appending and the root need nothing else.

use sha2::{Digest, Sha256};

/// A SHA-256 hash of a leaf or a node.
pub type Hash = [u8; 32];

/// The length of a hash, in bytes.
pub const HASH_BYTES: usize = 32;

/// The value used in place of the leaf before the first one.
pub const NOTHING_BEFORE: Hash = [0; HASH_BYTES];

const LEAF_PREFIX: [u8; 1] = [0];
const NODE_PREFIX: [u8; 1] = [1];
const SIZE_BYTES: usize = 8;

/// Hashes one record into its leaf: SHA-256(0x00 ‖ record), RFC 6962 §2.1.
pub fn leaf_hash(record: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(LEAF_PREFIX);
    sha.update(record);
    sha.finalize().into()
}

/// Hashes two subtrees into the node above them: SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut sha = Sha256::new();
    sha.update(NODE_PREFIX);
    sha.update(left);
    sha.update(right);
    sha.finalize().into()
}

/// Returns the root of the tree without leaves: SHA-256 of nothing, RFC 6962 §2.1.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of the tree: enough to append leaves and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The complete subtrees from left to right, one for each bit of `size`, the largest first.
    subtrees: Vec<Hash>,
}

/// Bytes are not an encoded frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored Merkle frontier is damaged: its length does not fit its size; delete index.redb, it is rebuilt from the log"
)]
pub struct FrontierDamaged;

impl Frontier {
    /// Appends one leaf, in amortised constant time.
    pub fn append(&mut self, leaf: Hash) {
        self.append_seen(leaf, |_, _| {});
    }

    /// Appends one leaf, and passes on every subtree that it completes, with its height from 1.
    pub(super) fn append_seen(&mut self, leaf: Hash, mut completed: impl FnMut(u32, Hash)) {
        let mut hash = leaf;
        for height in 1..=self.size.trailing_ones() {
            let left = self.subtrees.pop();
            hash = node_hash(&left.expect("each bit of the size has its subtree"), &hash);
            completed(height, hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// Returns how many leaves the tree has: the position of the last record in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root of the tree (RFC 6962 §2.1), in at most 63 hashes.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev();
        match subtrees.next() {
            None => empty_root(),
            Some(&last) => subtrees.fold(last, |right, left| node_hash(left, &right)),
        }
    }

    /// Returns the size (8 bytes, little-endian) and the subtrees, at most 2,056 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        bytes.extend_from_slice(self.subtrees.as_flattened());
        bytes
    }

    /// Decodes what [`Frontier::encode`] wrote; every byte must be accounted for.
    ///
    /// The subtrees are not verified: compare the root with a checkpoint or with the stored tiles.
    ///
    /// # Errors
    /// [`FrontierDamaged`] if the length does not match the size.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrontierDamaged> {
        let (size, subtrees) = bytes
            .split_first_chunk::<SIZE_BYTES>()
            .ok_or(FrontierDamaged)?;
        let size = u64::from_le_bytes(*size);
        let (subtrees, rest) = subtrees.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || subtrees.len() != size.count_ones() as usize {
            return Err(FrontierDamaged);
        }
        Ok(Self {
            size,
            subtrees: subtrees.to_vec(),
        })
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
pub(super) mod tests;
