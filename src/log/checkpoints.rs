//! The archive of signed checkpoints beside the keyring: the log must still agree with it.
//!
//! The archive is outside the data folder, so a data folder that is restored, emptied or exchanged
//! does not bring its own checkpoints along. `checkpoint` holds the newest note and is replaced as
//! a whole. `checkpoint-history` has one line for each note (`origin size root signature`) and is
//! thinned: at 1,024 lines every second one is dropped, except the first of all and the last of
//! each epoch. So old notes become sparse and new ones stay dense, in some 250 KB.
//!
//! A note leaves the process only after both files are durable. The newest note of both counts, so
//! a crash between any two steps loses no note that was published.
//!
//! The archive cannot detect that data folder *and* keyring folder were restored to the same
//! earlier day. Only a copy elsewhere, with an auditor or a witness, shows that.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use super::checkpoint_copy::COPY;
pub use super::checkpoint_refusal::CheckpointRefusal;
use super::hashes::TileError;
use super::history::{HISTORY_LINES_MAX, append, every_second, line_of, note_of, thinned};
use super::tree::Hash;
use crate::crash_point::reached;
use crate::crypto::note::{Checkpoint, NOTE_BYTES_MAX, NoteError, NoteSigner};
use crate::durable;

/// The longest history that is read, in bytes; a full history is a quarter of it.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;
/// The first checkpoint covers the one record that begins a log, and is archived before that
/// record.
const FIRST_SIZE: u64 = 1;

const NEWEST: &str = "checkpoint";
const HISTORY: &str = "checkpoint-history";
/// The checkpoints of one epoch of a log, and the key that signs the next one.
#[derive(Debug)]
pub struct Archive {
    newest_path: PathBuf,
    history_path: PathBuf,
    pub(super) signer: NoteSigner,
    /// The archived notes of this epoch, ascending by size.
    pub(super) signed: Vec<Signed>,
    /// The lines of the history file, including those of other epochs.
    history: Vec<String>,
    /// Whether the file differs from the lines, so that it must be rewritten.
    history_torn: bool,
    /// The path where auditors find the newest note beside the log.
    pub(super) copy_path: Option<PathBuf>,
}

/// A note with a verified signature, and its checkpoint.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The note's checkpoint.
    pub checkpoint: Checkpoint,
    pub(super) note: String,
}

impl Archive {
    /// Reads the archive in the folder of the keyring file; only signed notes are believed.
    ///
    /// # Errors
    /// [`CheckpointRefusal::OtherLog`] if it belongs to another log, `Damaged` if it is malformed,
    /// and `Io` if it cannot be read. An absent archive is an error only in [`Archive::check`].
    pub fn open(keyring_file: &Path, signer: NoteSigner) -> Result<Self, CheckpointRefusal> {
        let mut archive = Self::with_history(keyring_file, signer)?;
        if let Some(note) = read(&archive.newest_path, NOTE_BYTES_MAX)? {
            let checkpoint = archive.believe(&archive.newest_path, "the note", &note)?;
            archive.add(checkpoint, note);
        }
        Ok(archive)
    }

    /// Begins the archive of a new epoch: its first checkpoint replaces the last one of the
    /// previous epoch.
    ///
    /// Nothing of the old epoch is checked, since the operator has just given it up; its lines stay
    /// in the history. Repeating this after a crash changes nothing more.
    ///
    /// # Errors
    /// The same as [`Archive::open`] except `OtherLog`, and the same as [`Archive::sign`].
    pub fn begin_epoch(
        keyring_file: &Path,
        signer: NoteSigner,
        size: u64,
        root: &Hash,
    ) -> Result<Self, CheckpointRefusal> {
        let mut archive = Self::with_history(keyring_file, signer)?;
        if let Some(last) = read(&archive.newest_path, NOTE_BYTES_MAX)? {
            match archive.believe(&archive.newest_path, "the note", &last) {
                Err(CheckpointRefusal::OtherLog { .. }) => archive.remember_last(&last),
                Err(other) => return Err(other),
                Ok(checkpoint) => archive.add(checkpoint, last),
            }
        }
        if archive.newest().is_none() {
            archive.archive(size, root)?;
        }
        Ok(archive)
    }

    /// Reads the archive of an epoch that another one has followed: its lines of the history.
    ///
    /// # Errors
    /// [`CheckpointRefusal::Damaged`] if the history is malformed, and `Io` if it cannot be read.
    pub fn of_ended(keyring_file: &Path, signer: NoteSigner) -> Result<Self, CheckpointRefusal> {
        Self::with_history(keyring_file, signer)
    }

    fn with_history(keyring_file: &Path, signer: NoteSigner) -> Result<Self, CheckpointRefusal> {
        let mut archive = Self {
            newest_path: keyring_file.with_file_name(NEWEST),
            history_path: keyring_file.with_file_name(HISTORY),
            signer,
            signed: Vec::new(),
            history: Vec::new(),
            history_torn: false,
            copy_path: None,
        };
        let text = read(&archive.history_path, HISTORY_BYTES_MAX)?.unwrap_or_default();
        // A crash truncates the line that was being written; the newest note is in the other file.
        archive.history_torn = !text.is_empty() && !text.ends_with('\n');
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        archive.history = whole.lines().map(str::to_owned).collect();
        let ours = format!("{} ", archive.signer.public().name());
        for (number, line) in (1..).zip(archive.history.clone()) {
            if line.starts_with(&ours) {
                let (note, what) = (note_of(&line), format!("line {number}"));
                let checkpoint = archive.believe(&archive.history_path, &what, &note)?;
                archive.add(checkpoint, note);
            }
        }
        Ok(archive)
    }

    /// Returns the path of the newest checkpoint.
    pub fn path(&self) -> &Path {
        &self.newest_path
    }

    /// Returns the newest checkpoint that was signed in this epoch.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.signed.last().map(|signed| &signed.checkpoint)
    }

    /// Returns the archived checkpoints of this epoch, ascending by size.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.signed.iter().map(|signed| &signed.checkpoint)
    }

    /// Refuses a log that does not agree with its newest checkpoint.
    ///
    /// `head` is the log's last position; `root_at` returns the root of that many first records, as
    /// [`super::proof::root_at`] does. A log without any checkpoint is refused, however short: an
    /// attacker could have cut it to its first record.
    ///
    /// # Errors
    /// [`CheckpointRefusal::Missing`] without a checkpoint, `Shorter` if the log ends before one,
    /// `Forked` if it contradicts one, and `Tile` if the tree cannot be read.
    pub fn check(
        &self,
        head: u64,
        root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<(), CheckpointRefusal> {
        let Some(newest) = self.newest() else {
            let path = self.newest_path.clone();
            return Err(CheckpointRefusal::Missing { path, head });
        };
        let archived = newest.size;
        let (agreed, forked) = self.agreed(head, root_at)?;
        if agreed == archived {
            return Ok(());
        }
        let lost_from = if forked { agreed + 1 } else { head + 1 };
        Err(if head < archived {
            CheckpointRefusal::Shorter {
                archived,
                head,
                lost_from,
            }
        } else {
            CheckpointRefusal::Forked {
                archived,
                lost_from,
            }
        })
    }

    /// Returns the newest checkpoint that the log agrees with, and whether it contradicts a later
    /// one.
    pub(super) fn agreed(
        &self,
        head: u64,
        mut root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<(u64, bool), TileError> {
        let mut forked = false;
        for known in self.signed.iter().rev().map(|signed| &signed.checkpoint) {
            if known.size <= head {
                if root_at(known.size)? == known.root {
                    return Ok((known.size, forked));
                }
                forked = true;
            }
        }
        Ok((0, forked))
    }

    /// Signs and archives the checkpoint of a log of `size` records, all of them durable.
    ///
    /// Returns the note, which is durable beside the keyring; for a size and root that were signed
    /// before, the same note again. `root` is the tree's own, `root_at` is as in
    /// [`Archive::check`].
    ///
    /// # Errors
    /// The same as [`Archive::check`], so that no checkpoint is signed that contradicts an earlier
    /// one; [`CheckpointRefusal::Io`] if the archive cannot be written, and then the note must not
    /// be published.
    pub fn sign(
        &mut self,
        size: u64,
        root: &Hash,
        mut root_at: impl FnMut(u64) -> Result<Hash, TileError>,
    ) -> Result<&str, CheckpointRefusal> {
        let is_first = self.newest().is_none() && size == FIRST_SIZE;
        if !is_first {
            self.check(size, &mut root_at)?;
        }
        if root_at(size)? != *root {
            return Err(CheckpointRefusal::Forked {
                archived: size,
                lost_from: self.newest().map_or(1, |newest| newest.size + 1),
            });
        }
        if self.newest().is_none_or(|newest| newest.size != size) {
            self.archive(size, root)?;
        }
        let newest = self.signed.last().expect("one was just archived or found");
        Ok(&newest.note)
    }

    fn archive(&mut self, size: u64, root: &Hash) -> Result<(), CheckpointRefusal> {
        self.store(self.signer.sign(size, root))
    }

    /// Makes a note durable in both files, the newest-note file first.
    pub(super) fn store(&mut self, note: String) -> Result<(), CheckpointRefusal> {
        durable::replace(&self.newest_path, note.as_bytes())
            .map_err(|source| io_error(&self.newest_path, source))?;
        reached("checkpoint-replaced");
        self.history.push(line_of(&note));
        let written = if self.history_torn || self.history.len() > HISTORY_LINES_MAX {
            self.history = thinned(std::mem::take(&mut self.history));
            durable::replace(
                &self.history_path,
                (self.history.join("\n") + "\n").as_bytes(),
            )
        } else {
            append(&self.history_path, &(line_of(&note) + "\n"))
        };
        // Whatever a failed write left in the file, the next write replaces it.
        self.history_torn = written.is_err();
        written.map_err(|source| io_error(&self.history_path, source))?;
        let checkpoint = self.believe(&self.newest_path, "the note", &note)?;
        self.add(checkpoint, note);
        self.copy_newest();
        Ok(())
    }

    /// Adds a believed note to those of this epoch, and to the history in memory.
    fn add(&mut self, checkpoint: Checkpoint, note: String) {
        let at = self
            .signed
            .partition_point(|known| known.checkpoint.size <= checkpoint.size);
        let known = at.checked_sub(1).map(|before| &self.signed[before]);
        if known.is_none_or(|known| known.checkpoint != checkpoint) {
            self.signed.insert(at, Signed { checkpoint, note });
        }
        if self.signed.len() > HISTORY_LINES_MAX {
            self.signed = every_second(std::mem::take(&mut self.signed), |_, _| false);
        }
    }

    /// Keeps the last note of another epoch in the history, in case a crash kept it out.
    fn remember_last(&mut self, note: &str) {
        let line = line_of(note);
        if self.history.last() != Some(&line) {
            self.history.push(line);
            self.history_torn = true;
        }
    }

    pub(super) fn believe(
        &self,
        path: &Path,
        what: &str,
        note: &str,
    ) -> Result<Checkpoint, CheckpointRefusal> {
        let key = self.signer.public();
        key.open_checkpoint(note).map_err(|reason| {
            let found = note.lines().next().unwrap_or_default();
            if reason == NoteError::OtherKey && found != key.name() {
                return CheckpointRefusal::OtherLog {
                    path: path.to_owned(),
                    found: found.to_owned(),
                    expected: key.name().to_owned(),
                };
            }
            CheckpointRefusal::Damaged {
                path: path.to_owned(),
                what: what.to_owned(),
                reason,
            }
        })
    }
}

/// Reads a text file up to a bound; `None` if the file does not exist.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Option<String>, CheckpointRefusal> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| io_error(path, source))?,
    };
    let mut bytes = Vec::new();
    let read = file.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| io_error(path, source))?;
    let damaged = |reason| CheckpointRefusal::Damaged {
        path: path.to_owned(),
        what: "the text".into(),
        reason,
    };
    if bytes.len() > bytes_max {
        return Err(damaged(NoteError::TooLong));
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| damaged(NoteError::Note("it is not UTF-8")))
}

fn io_error(path: &Path, source: io::Error) -> CheckpointRefusal {
    CheckpointRefusal::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "checkpoints_tests.rs"]
mod tests;
