//! The Merkle tree that the index keeps: its head, its tiles and its earlier roots.

use super::Index;
use crate::log::hashes::TileError;
use crate::log::proof::root_at;
use crate::log::tree::Hash;

impl Index {
    /// Returns how many leaves the Merkle tree has up to the end of the last complete group, and
    /// the root over them; every one of them is durable.
    ///
    /// # Errors
    /// The same as [`Index::tile`].
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

    /// Returns the leaf of the last record that was added, which the next record's seal covers.
    pub fn last_leaf(&self) -> Hash {
        self.layers().tree.last_leaf()
    }

    /// Returns a tile of the Merkle tree, for proofs.
    ///
    /// # Errors
    /// [`TileError`] if the tree has no such tile, or the file cannot be read.
    pub fn tile(&self, level: u8, tile: u64) -> Result<Vec<u8>, TileError> {
        let layers = self.layers();
        match layers.tree.read(level, tile) {
            Ok(bytes) => Ok(bytes),
            Err(error) => self.file.tile(level, tile).unwrap_or(None).ok_or(error),
        }
    }

    /// Returns the root of the tree over this many first records.
    ///
    /// # Errors
    /// The same as [`Index::tile`].
    pub fn root_at(&self, size: u64) -> Result<Hash, TileError> {
        root_at(|level, tile| self.tile(level, tile), size)
    }
}
