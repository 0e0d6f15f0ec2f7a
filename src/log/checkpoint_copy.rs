//! The copy of the newest checkpoint in the data folder, for who has the folder and no keyring.
//!
//! It lies with what it speaks for, so it takes the place of the archive beside the keyring only where
//! that is older, and only for records whose root it names: the key that signed it is the keyring's.

use std::path::Path;

use countersign_schemas::audit::SignedCheckpoint;
use data_encoding::BASE64;

use super::checkpoints::{Archive, CheckpointRefusal, Signed, read};
use super::hashes::TileError;
use super::history::replace;
use super::tree::Hash;
use crate::crypto::note::NOTE_BYTES_MAX;

/// The newest note and its public key in the data folder, as `query.checkpoint` answers.
pub const COPY: &str = "checkpoint.json";

impl Archive {
    /// Keeps a copy of the newest note and its public key in a data folder too, so that the folder
    /// or a copy of it can be verified without the keyring's. Nothing rests on it: a copy that
    /// cannot be written is said and left.
    pub fn keep_copy_in(&mut self, data: &Path) {
        self.copy_path = Some(data.join(COPY));
        self.copy_newest();
    }

    /// Writes it again, where there is a newer note or none of it.
    pub(super) fn copy_newest(&self) {
        let (Some(path), Some(newest)) = (&self.copy_path, self.signed.last()) else {
            return;
        };
        let document = SignedCheckpoint {
            note: newest.note.clone(),
            size: newest.checkpoint.size,
            root: BASE64.encode(&newest.checkpoint.root),
            vkey: self.signer.public().vkey(),
        };
        let text = serde_json::to_string(&document).expect("texts and a number");
        if let Err(error) = replace(path, &(text + "\n")) {
            tracing::warn!(%error, path = %path.display(), "no copy of the checkpoint beside the log");
        }
    }

    /// The copy of the newest note in a data folder, where this epoch's key signed it. It says what some
    /// log of this epoch was once: the caller compares it with the log there is.
    pub fn copy_in(&self, data: &Path) -> Option<Signed> {
        let path = data.join(COPY);
        let text = read(&path, NOTE_BYTES_MAX).ok().flatten()?;
        let SignedCheckpoint { note, .. } = serde_json::from_str(&text).ok()?;
        let checkpoint = self.believe(&path, "the note", &note).ok()?;
        Some(Signed { checkpoint, note })
    }

    /// Archives a copy that was found to be of this log.
    ///
    /// # Errors
    /// [`CheckpointRefusal::Io`].
    pub fn adopt(&mut self, copy: Signed) -> Result<(), CheckpointRefusal> {
        self.store(copy.note)
    }

    /// The size of the newest checkpoint that a log of `head` records agrees to, the copy in its data
    /// folder being one of them; 0 where it agrees to none. `root_at` as in [`Archive::check`].
    ///
    /// # Errors
    /// [`TileError`] when the tree cannot be read.
    pub fn agreed_size(
        &self,
        data: &Path,
        head: u64,
        mut root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<u64, TileError> {
        let (archived, _) = self.agreed(head, &mut root_at)?;
        let copy = self.copy_in(data).map(|copy| copy.checkpoint);
        match copy.filter(|copy| (archived + 1..=head).contains(&copy.size)) {
            Some(copy) if root_at(copy.size)? == copy.root => Ok(copy.size),
            Some(_) | None => Ok(archived),
        }
    }
}
