//! The copy of the newest checkpoint in the data folder, for a reader who has the folder and no
//! keyring.
//!
//! The copy lies in the folder that it vouches for. So it replaces the archive beside the keyring
//! only if the archive is older, and only for records whose root it names: the key that signed it
//! belongs to the keyring.

use std::path::Path;

use countersign_schemas::audit::SignedCheckpoint;
use data_encoding::BASE64;

use super::checkpoints::{Archive, CheckpointRefusal, Signed, read};
use super::hashes::TileError;
use super::tree::Hash;
use crate::crypto::note::NOTE_BYTES_MAX;
use crate::durable;

/// The newest note and its public key in the data folder, in the form of `query.checkpoint`.
pub const COPY: &str = "checkpoint.json";

impl Archive {
    /// Keeps a copy of the newest note and its public key in a data folder too, so that the folder
    /// or a copy of it can be verified without the keyring's folder. Nothing depends on the copy:
    /// if it cannot be written, a warning is logged.
    pub fn keep_copy_in(&mut self, data: &Path) {
        self.copy_path = Some(data.join(COPY));
        self.copy_newest();
    }

    /// Writes the copy again, if there is a newer note or no copy.
    pub(super) fn copy_newest(&self) {
        let (Some(path), Some(newest)) = (&self.copy_path, self.signed.last()) else {
            return;
        };
        let text = serde_json::to_string(&self.document(newest)).expect("texts and a number");
        if let Err(error) = durable::replace(path, (text + "\n").as_bytes()) {
            tracing::warn!(%error, path = %path.display(), "no copy of the checkpoint beside the log");
        }
    }

    fn document(&self, signed: &Signed) -> SignedCheckpoint {
        SignedCheckpoint {
            note: signed.note.clone(),
            size: signed.checkpoint.size,
            root: BASE64.encode(&signed.checkpoint.root),
            vkey: self.signer.public().vkey(),
        }
    }

    /// Refuses a log that does not agree with the archive, as [`Archive::check`], or with the copy
    /// in its data folder where that one is newer; returns the newer of the two. Writes nothing.
    ///
    /// # Errors
    /// The same as [`Archive::check`].
    pub fn check_with_copy(
        &self,
        data: &Path,
        head: u64,
        mut root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<SignedCheckpoint, CheckpointRefusal> {
        self.check(head, &mut root_at)?;
        let archived = self.signed.last();
        let archived = archived.expect("an archive without a note was refused");
        let copy = self.copy_in(data);
        let newer = copy.filter(|copy| copy.checkpoint.size > archived.checkpoint.size);
        let Some(copy) = newer else {
            return Ok(self.document(archived));
        };
        let size = copy.checkpoint.size;
        if size > head {
            return Err(CheckpointRefusal::Shorter {
                archived: size,
                head,
                lost_from: head + 1,
            });
        }
        if root_at(size)? == copy.checkpoint.root {
            Ok(self.document(&copy))
        } else {
            Err(CheckpointRefusal::Forked {
                archived: size,
                lost_from: archived.checkpoint.size + 1,
            })
        }
    }

    /// Returns the copy of the newest note in a data folder, if this epoch's key signed it. It
    /// describes some earlier state of a log of this epoch: the caller compares it with the present
    /// log.
    pub fn copy_in(&self, data: &Path) -> Option<Signed> {
        let path = data.join(COPY);
        let text = read(&path, NOTE_BYTES_MAX).ok().flatten()?;
        let SignedCheckpoint { note, .. } = serde_json::from_str(&text).ok()?;
        let checkpoint = self.believe(&path, "the note", &note).ok()?;
        Some(Signed { checkpoint, note })
    }

    /// Archives a copy that was found to belong to this log.
    ///
    /// # Errors
    /// [`CheckpointRefusal::Io`] if the archive cannot be written.
    pub fn adopt(&mut self, copy: Signed) -> Result<(), CheckpointRefusal> {
        self.store(copy.note)
    }

    /// Returns the size of the newest checkpoint that a log of `head` records agrees with,
    /// including the copy in its data folder; 0 if it agrees with none. `root_at` is as in
    /// [`Archive::check`].
    ///
    /// # Errors
    /// [`TileError`] if the tree cannot be read.
    pub fn agreed_size(
        &self,
        data: &Path,
        head: u64,
        mut root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<u64, TileError> {
        let (archived, _) = self.agreed(head, &mut root_at)?;
        let copy = self.copy_in(data).map(|copy| copy.checkpoint);
        match copy.filter(|copy| (archived..=head).contains(&copy.size)) {
            Some(copy) if root_at(copy.size)? == copy.root => Ok(copy.size),
            Some(_) | None => Ok(archived),
        }
    }
}
