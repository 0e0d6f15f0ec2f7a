//! Why the service does not start on a log: it differs from what was signed, or nothing shows that
//! it does not.

use std::io;
use std::path::PathBuf;

use super::hashes::TileError;
use crate::crypto::note::NoteError;

/// Why the service does not start on a log, or does not sign a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointRefusal {
    /// The log has events, and no checkpoint covers them.
    #[error(
        "there is no checkpoint at {path}, but the log has {head} events: restore the file from a copy, or, if there is none, accept the loss of what may be missing with `countersign log new-epoch --lost-from {lost_from} --reason R`",
        lost_from = head + 1
    )]
    Missing {
        /// The path where the newest checkpoint should be.
        path: PathBuf,
        /// The log's last position.
        head: u64,
    },
    /// The log ends before the archived checkpoint.
    #[error(
        "the log has {head} events, but a signed checkpoint covers {archived}, so events are lost and used codes could become valid again: restore the newest backup of the data folder, or, if there is none, accept the loss with `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    Shorter {
        /// The size of the archived checkpoint.
        archived: u64,
        /// The log's last position.
        head: u64,
        /// The first position at which the record is lost or differs from the signed one.
        lost_from: u64,
    },
    /// The log has other events than the archived checkpoint covers.
    #[error(
        "the log differs from its signed checkpoint of {archived} events: at least one event from {lost_from} on is another; restore the newest backup of the data folder, or, if there is none, accept the loss with `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    Forked {
        /// The size of the archived checkpoint.
        archived: u64,
        /// The position after the last one on which the log and an archived checkpoint agree.
        lost_from: u64,
    },
    /// The archive belongs to another log or epoch.
    #[error(
        "the checkpoint at {path} belongs to the log {found}, not to {expected}: name the keyring and the data folder of the same installation, each installation with a keyring folder of its own"
    )]
    OtherLog {
        /// The file's path.
        path: PathBuf,
        /// The origin in the file.
        found: String,
        /// The origin of this log.
        expected: String,
    },
    /// The archive is not in the form in which it was written.
    #[error("{what} of {path} is not valid: {reason}; restore the file from a copy")]
    Damaged {
        /// The file's path.
        path: PathBuf,
        /// The part of the file.
        what: String,
        /// What is wrong with it.
        #[source]
        reason: NoteError,
    },
    /// The operating system refused.
    #[error(
        "the checkpoint archive cannot use {path} ({source}): the keyring's folder must be writable for the service's user"
    )]
    Io {
        /// The path that cannot be used.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The tree could not be read.
    #[error(transparent)]
    Tile(#[from] TileError),
}

impl CheckpointRefusal {
    /// Returns the first position that is lost, if a new epoch is the remedy.
    pub fn lost_from(&self) -> Option<u64> {
        match self {
            Self::Missing { head, .. } => Some(head + 1),
            Self::Shorter { lost_from, .. } | Self::Forked { lost_from, .. } => Some(*lost_from),
            Self::OtherLog { .. } | Self::Damaged { .. } | Self::Io { .. } | Self::Tile(_) => None,
        }
    }
}
