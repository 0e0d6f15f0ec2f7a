//! The Merkle tree that the index keeps: its head, its tiles, and the roots it had.

use super::Index;
use crate::log::hashes::TileError;
use crate::log::proof::root_at;
use crate::log::tree::Hash;

impl Index {
    /// How many leaves the Merkle tree has up to the end of the last whole group, and the root over
    /// them: every one of them is durable.
    ///
    /// # Errors
    /// As [`Index::tile`].
    pub fn tree_head(&self) -> Result<(u64, Hash), TileError> {
        let (size, cut) = {
            let layers = self.layers();
            let Some((_, cut)) = layers.open_group else {
                return Ok((layers.tree.size(), layers.tree.root()));
            };
            (layers.tree.size(), u64::from(cut))
        };
        let whole = size - cut;
        Ok((whole, self.root_at(whole)?))
    }

    /// The leaf of the last record that was taken in, which the next record is sealed behind.
    pub fn last_leaf(&self) -> Hash {
        self.layers().tree.last_leaf()
    }

    /// A tile of the Merkle tree, for proofs.
    ///
    /// # Errors
    /// [`TileError`] when there is none, or the file cannot be read.
    pub fn tile(&self, level: u8, tile: u64) -> Result<Vec<u8>, TileError> {
        let layers = self.layers();
        match layers.tree.read(level, tile) {
            Ok(bytes) => Ok(bytes),
            Err(error) => self.file.tile(level, tile).unwrap_or(None).ok_or(error),
        }
    }

    /// The root of the tree over the first so many records.
    ///
    /// # Errors
    /// As [`Index::tile`].
    pub fn root_at(&self, size: u64) -> Result<Hash, TileError> {
        root_at(|level, tile| self.tile(level, tile), size)
    }
}
