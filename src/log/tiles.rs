//! The tree's hashes as C2SP tiles of height 8, and the tree that grows them.
//!
//! A tile holds up to 256 hashes: leaves at level 0, and at level `l` the roots of full tiles of
//! level `l - 1`. Every proof is made from tiles, so no proof reads records. Tiles are derived
//! data: lost tiles are rebuilt from the log. Tiles only grow at the right edge, so the hashes of a
//! smaller tree stay readable while the tree grows.
//! Source: c2sp.org/tlog-tiles, "Merkle Tree".

use std::fmt;

use super::hashes::{TILE_HASHES, TILE_HEIGHT, TileError};
use super::proof;
use super::tree::{Frontier, Hash, leaf_hash};

/// The number of tile levels that a tree of 2^64 leaves would have.
const LEVELS_MAX: u32 = u64::BITS / TILE_HEIGHT;

/// The place and width of a tile; `Display` gives its C2SP path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// The level: 0 for leaf hashes, at most 7.
    pub level: u8,
    /// The number of the tile within its level, from 0.
    pub index: u64,
    /// How many hashes the tile holds, 1 to 256; a full one holds 256.
    pub width: u16,
}

impl Tile {
    /// Lists the tiles that are new or wider once a tree of `old_size` leaves has `new_size`.
    pub fn changed(old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
        (0..LEVELS_MAX).flat_map(move |level| {
            let (old, new) = (hashes_at(level, old_size), hashes_at(level, new_size));
            let tiles = if old < new {
                old / TILE_HASHES as u64..new.div_ceil(TILE_HASHES as u64)
            } else {
                0..0
            };
            tiles.map(move |index| {
                let width = (new - index * TILE_HASHES as u64).min(TILE_HASHES as u64);
                Tile {
                    level: u8::try_from(level).expect("there are 8 levels"),
                    index,
                    width: u16::try_from(width).expect("a tile has at most 256 hashes"),
                }
            })
        })
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        let digits = format!("{:03}", self.index);
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        for at in (0..padded.len() - 3).step_by(3) {
            write!(f, "x{}/", &padded[at..at + 3])?;
        }
        f.write_str(&padded[padded.len() - 3..])?;
        if usize::from(self.width) < TILE_HASHES {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The whole tree: its frontier, and the tiles that are not yet stored elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    frontier: Frontier,
    levels: Vec<Level>,
    /// The last appended leaf; [`NOTHING_BEFORE`](super::tree::NOTHING_BEFORE) at first.
    last: Hash,
}

/// The newest hashes of one level, from the beginning of a tile.
#[derive(Clone, Debug, Default)]
struct Level {
    /// The number of the first tile kept.
    first_tile: u64,
    hashes: Vec<Hash>,
}

impl Tree {
    /// Continues a tree from its stored tiles; `read` returns the bytes of a tile by level and
    /// index.
    ///
    /// `last_record` is the log's record at position `frontier.size()`: stored tiles of another
    /// log, or of another fork of this one, do not end with its leaf.
    ///
    /// # Errors
    /// [`TileError`] if a tile at the right edge is missing or short, or does not give the
    /// frontier's root: then start from an empty tree.
    pub fn resume(
        frontier: Frontier,
        last_record: &[u8],
        mut read: impl FnMut(u8, u64) -> Result<Vec<u8>, TileError>,
    ) -> Result<Self, TileError> {
        let size = frontier.size();
        let unfit = |reason: &str| TileError {
            level: 0,
            index: size.saturating_sub(1) / TILE_HASHES as u64,
            first: 0,
            reason: reason.into(),
        };
        let Some(last) = size.checked_sub(1) else {
            return Ok(Self::default());
        };
        let last_leaf = leaf_hash(last_record);
        if proof::subtree(&mut read, 0, last)? != last_leaf {
            return Err(unfit("its last leaf is not the log's record"));
        }
        if proof::root_at(&mut read, size)? != frontier.root() {
            return Err(unfit("the tiles do not give the frontier's root"));
        }
        let mut levels = Vec::new();
        for level in (0..LEVELS_MAX).take_while(|&level| hashes_at(level, size) > 0) {
            let count = hashes_at(level, size);
            let first_tile = count / TILE_HASHES as u64;
            let width = usize::try_from(count % TILE_HASHES as u64).expect("below 256");
            let hashes = if width == 0 {
                Vec::new()
            } else {
                let level = u8::try_from(level).expect("there are 8 levels");
                proof::read_hashes(&mut read, level, first_tile, 0..width)?
            };
            levels.push(Level { first_tile, hashes });
        }
        Ok(Self {
            frontier,
            levels,
            last: last_leaf,
        })
    }

    /// Appends the leaf of the next record, in amortised constant time.
    pub fn append(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.last = leaf;
        push(levels, 0, leaf);
        self.frontier.append_seen(leaf, |height, hash| {
            if height % TILE_HEIGHT == 0 {
                push(levels, (height / TILE_HEIGHT) as usize, hash);
            }
        });
    }

    /// Returns how many leaves the tree has: the position of the last record in it.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Returns the leaf of the tree's last record.
    pub fn last_leaf(&self) -> Hash {
        self.last
    }

    /// Returns the root of the tree (RFC 6962 §2.1).
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Returns the frontier, which is stored beside the tiles.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Returns the bytes of a tile that is kept here, at its present width.
    ///
    /// # Errors
    /// [`TileError`] if the tree does not have such a tile, or no longer keeps it.
    pub fn read(&self, level: u8, index: u64) -> Result<Vec<u8>, TileError> {
        let kept = self.levels.get(usize::from(level)).and_then(|kept| {
            let tile = usize::try_from(index.checked_sub(kept.first_tile)?).ok()?;
            kept.hashes.chunks(TILE_HASHES).nth(tile)
        });
        let hashes = kept.ok_or_else(|| TileError {
            level,
            index,
            first: 0,
            reason: "it is not in memory".into(),
        })?;
        Ok(hashes.as_flattened().to_vec())
    }

    /// Returns place and bytes (at most 8,192) of every tile that changed since the tree had
    /// `old_size` leaves.
    ///
    /// # Errors
    /// [`TileError`] if one of them was dropped by [`Tree::drop_stored`].
    pub fn changed(&self, old_size: u64) -> Result<Vec<(Tile, Vec<u8>)>, TileError> {
        Tile::changed(old_size, self.size())
            .map(|tile| Ok((tile, self.read(tile.level, tile.index)?)))
            .collect()
    }

    /// Drops the full tiles of a tree of `size` leaves from memory, once they are stored.
    pub fn drop_stored(&mut self, size: u64) {
        for (level, kept) in (0..).zip(&mut self.levels) {
            let first_tile = hashes_at(level, size.min(self.frontier.size())) / TILE_HASHES as u64;
            let tiles = usize::try_from(first_tile.saturating_sub(kept.first_tile));
            let hashes = tiles.expect("tiles in memory are few") * TILE_HASHES;
            kept.hashes.drain(..hashes);
            kept.first_tile = kept.first_tile.max(first_tile);
        }
    }
}

fn push(levels: &mut Vec<Level>, level: usize, hash: Hash) {
    if level == levels.len() {
        levels.push(Level::default());
    }
    levels[level].hashes.push(hash);
}

/// Returns how many hashes a tree of this size has at a level.
fn hashes_at(level: u32, size: u64) -> u64 {
    size >> (TILE_HEIGHT * level)
}

/// Returns how many hashes a tile of a tree of this size has; 0 if the tree has no such tile.
pub(super) fn tile_width(level: u8, index: u64, size: u64) -> usize {
    let shift = TILE_HEIGHT * u32::from(level);
    let hashes = size.checked_shr(shift).unwrap_or(0);
    let before = index.saturating_mul(TILE_HASHES as u64);
    let width = hashes.saturating_sub(before).min(TILE_HASHES as u64);
    usize::try_from(width).expect("a tile has at most 256 hashes")
}

#[cfg(test)]
#[path = "tiles_tests.rs"]
mod tests;
