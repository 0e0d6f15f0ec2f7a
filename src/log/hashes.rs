//! The hashes of the tree as its tiles hold them.

use super::tree::{HASH_BYTES, Hash};

/// The number of hashes in a full tile.
pub const TILE_HASHES: usize = 256;
/// The height of a tile: one tile covers a subtree of this height.
pub const TILE_HEIGHT: u32 = 8;

/// Why a tile could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "hashes {first} and up of tile {index} at level {level} of the Merkle tree cannot be read ({reason}): delete index.redb, it is rebuilt from the log"
)]
pub struct TileError {
    /// The tile's level.
    pub level: u8,
    /// The tile's number within its level.
    pub index: u64,
    /// The first requested hash, from 0.
    pub first: usize,
    /// What is wrong with the tile.
    pub reason: String,
}

impl TileError {
    /// Makes the error for a tile that cannot be read at all.
    pub(super) fn new(level: u8, index: u64, reason: impl ToString) -> Self {
        Self {
            level,
            index,
            first: 0,
            reason: reason.to_string(),
        }
    }
}

/// Splits a tile's bytes into its hashes; a rest shorter than a hash is not one.
pub(super) fn tile_hashes(bytes: &[u8]) -> &[Hash] {
    bytes.as_chunks::<HASH_BYTES>().0
}
