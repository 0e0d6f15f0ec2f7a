//! Why the log is not started on: it is not what was signed for, or nobody can tell.

use std::io;
use std::path::PathBuf;

use super::hashes::TileError;
use crate::crypto::note::NoteError;

/// Why the log is not started on, or a checkpoint not signed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointRefusal {
    /// The log has events, and no checkpoint says which.
    #[error(
        "there is no checkpoint at {path}, but the log has {head} events: restore the file from a copy, or, if there is none, accept the loss of what may be missing with `countersign log new-epoch --lost-from {lost_from} --reason R`",
        lost_from = head + 1
    )]
    Missing {
        /// Where the newest checkpoint should be.
        path: PathBuf,
        /// The log's last position.
        head: u64,
    },
    /// The log ends before the archived checkpoint.
    #[error(
        "the log has {head} events, but {archived} were signed for, so events are lost and used codes could live again: restore the newest backup of the data folder, or, if there is none, accept the loss with `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    Shorter {
        /// The size of the archived checkpoint.
        archived: u64,
        /// The log's last position.
        head: u64,
        /// The first position that is lost or not the signed one.
        lost_from: u64,
    },
    /// The log has other events than the archived checkpoint was signed for.
    #[error(
        "the log is not the one that was signed for at {archived} events: at least one from {lost_from} on is another; restore the newest backup of the data folder, or, if there is none, accept the loss with `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    Forked {
        /// The size of the archived checkpoint.
        archived: u64,
        /// The position after the last one that an archived checkpoint still agrees to.
        lost_from: u64,
    },
    /// The archive is of another log or epoch.
    #[error(
        "the checkpoint at {path} is of the log {found}, not of {expected}: name the keyring and the data folder of the same installation, each installation with a keyring folder of its own"
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The origin in it.
        found: String,
        /// The origin of this log.
        expected: String,
    },
    /// The archive is not what was written.
    #[error("{what} of {path} is not believed: {reason}; restore the file from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part.
        what: String,
        /// Why.
        #[source]
        reason: NoteError,
    },
    /// The operating system refused.
    #[error(
        "the checkpoint archive cannot use {path} ({source}): the keyring's folder must be writable for the service's user"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The tree could not be read.
    #[error(transparent)]
    Tile(#[from] TileError),
}

impl CheckpointRefusal {
    /// The first position that is lost, where a new epoch is the remedy.
    pub fn lost_from(&self) -> Option<u64> {
        match self {
            Self::Missing { head, .. } => Some(head + 1),
            Self::Shorter { lost_from, .. } | Self::Forked { lost_from, .. } => Some(*lost_from),
            Self::OtherLog { .. } | Self::Damaged { .. } | Self::Io { .. } | Self::Tile(_) => None,
        }
    }
}
