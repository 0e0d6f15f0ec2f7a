//! Backups: copies of log and data keys in two folders, made beside the running service or from a
//! stopped one.
//!
//! ```text
//!   places, manifests, contained? ─▶ stage the log ─▶ keys ─▶ keys' manifest ─▶ publish ─▶ log's
//! ```
//!
//! The log is read first: a key is durable before the first record that it seals, so a later copy
//! of the keys has every key that the log's copy needs. The copied keys are named first, so a crash
//! leaves no log copy whose keys are missing.

use std::path::{Path, PathBuf};

use countersign_schemas::audit::SignedCheckpoint;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;
use data_encoding::BASE64;

use super::places::{Ours, PlaceError, refuse_together};
use crate::crypto::data_keys::DataKeysError;
use crate::log::tree::Hash;
use crate::log::{Backup, BackupError, LogReader, Manifest, ManifestError, Part};

const BAD_PLACE: &str = "a folder of [backup] holds or lies in something other than a backup of this log, or both folders are the same: the service's log says which; name two empty folders, or those of earlier backups of this log";
const OTHER_LOG: &str = "a folder of [backup] belongs to another log, or its manifest cannot be read: the service's log says which; name other folders";
const NOT_CONTAINED: &str = "a folder of [backup] holds more than this log, or something else, so a new copy would be worse: keep that folder, and name other folders; the service's log says which";

/// The two folders that backups go to. They are apart, since a person who has the log, the keys and
/// the keyring can read everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFolders {
    /// The folder that `log/` is copied to.
    pub log: PathBuf,
    /// The folder that `keys.redb` is copied to.
    pub keys: PathBuf,
}

/// The files that a backup wrote.
#[derive(Debug)]
pub struct Taken {
    /// The copy of the log.
    pub log: Backup,
    /// The copy of the keys.
    pub keys: PathBuf,
}

/// Why there is no new backup; earlier backups are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum NoBackup {
    /// A folder is not for backups of this log.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A folder belongs to another log, or is for the other part.
    #[error(
        "{folder} holds a copy of {holds} of log {found}, and {wanted} of log {log_id} should be copied there: name another folder"
    )]
    Other {
        /// The folder.
        folder: PathBuf,
        /// The part that it holds.
        holds: Part,
        /// The id of the log that it belongs to.
        found: String,
        /// The part that was to be written.
        wanted: Part,
        /// The id of the log that was to be copied.
        log_id: String,
    },
    /// The present log is shorter than the copy.
    #[error(
        "{folder} holds this log up to position {copied}, and the log ends at {head}: events were lost, so keep that folder, and either restore from it or name another folder"
    )]
    Shorter {
        /// The folder.
        folder: PathBuf,
        /// The position at which its copy ends.
        copied: u64,
        /// The position at which the log ends.
        head: u64,
    },
    /// The present log has other events than the copy, up to where the copy ends.
    #[error(
        "{folder} holds other events up to position {copied} than this log: keep that folder, and name another folder"
    )]
    Forked {
        /// The folder.
        folder: PathBuf,
        /// The position at which its copy ends.
        copied: u64,
    },
    /// The log cannot be copied.
    #[error(transparent)]
    Log(#[from] BackupError),
    /// The keys cannot be copied.
    #[error(transparent)]
    Keys(#[from] DataKeysError),
    /// The log's first record or a later one cannot be read.
    #[error("the log cannot be read ({0}): restore it from a backup")]
    Unread(String),
    /// A manifest cannot be written.
    #[error(
        "the manifest in {folder} cannot be written ({source}): free space there, or name another folder"
    )]
    Target {
        /// The folder.
        folder: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl NoBackup {
    /// Returns the refusal for the operator who asked; the service's log has the whole sentence.
    pub fn refusal(&self) -> Refusal {
        let because = |detail| Refusal::because(ErrorCode::RequestInvalid, detail);
        match self {
            Self::Place(_) => because(BAD_PLACE),
            Self::Manifest(_) | Self::Other { .. } => because(OTHER_LOG),
            Self::Shorter { .. }
            | Self::Forked { .. }
            | Self::Log(BackupError::KnowsMore { .. })
            | Self::Keys(DataKeysError::CopyKnowsMore(_)) => because(NOT_CONTAINED),
            Self::Log(_) | Self::Keys(_) | Self::Unread(_) | Self::Target { .. } => {
                Refusal::new(ErrorCode::StoreUnavailable)
            }
        }
    }
}

/// What a backup copies.
pub struct Source<'a> {
    /// The reader of the log.
    pub log: &'a LogReader,
    /// The hexadecimal id of its first epoch.
    pub log_id: String,
    /// The last position to copy.
    pub through: u64,
    /// A signed checkpoint of the log, if there is one.
    pub checkpoint: Option<SignedCheckpoint>,
    /// Returns the root of the log's first records, given their number.
    pub root_at: &'a dyn Fn(u64) -> Result<Hash, String>,
    /// Copies the keys; called once the log's copy is staged.
    pub copy_keys: &'a dyn Fn(&Path) -> Result<(), DataKeysError>,
    /// What the copies must not touch.
    pub ours: Ours,
}

/// Refuses folders that are not for backups, before anything is written.
///
/// # Errors
/// [`PlaceError`] with the folder and the reason.
pub fn check_places(ours: &Ours, folders: &BackupFolders) -> Result<(), PlaceError> {
    refuse_together(&folders.log, &folders.keys)?;
    ours.refuse(&folders.log, Part::Log)?;
    ours.refuse(&folders.keys, Part::Keys)
}

/// Copies log and keys, incrementally; every file gets its name only once it is complete and
/// durable.
///
/// # Errors
/// [`NoBackup`] with the reason; earlier backups are unchanged.
pub fn take(source: &Source, folders: &BackupFolders, now: Micros) -> Result<Taken, NoBackup> {
    check_places(&source.ours, folders)?;
    let proven = source.contains(&folders.log, Part::Log)?;
    source.contains(&folders.keys, Part::Keys)?;
    source.claim(&folders.log, Part::Log, now)?;
    source.claim(&folders.keys, Part::Keys, now)?;
    let log = folders.log.join("log");
    let read_through = Manifest::read(&folders.log)?.map_or(0, |before| before.read_through);
    let staged = source
        .log
        .stage_copy(&log, proven, source.through, read_through)?;
    let keys = folders.keys.join("keys.redb");
    (source.copy_keys)(&keys)?;
    let position = staged.position();
    let manifest = Manifest {
        read_through: staged.read_through(),
        ..source.manifest(position, now)?
    };
    let written = |holds, folder: &Path| {
        let manifest = Manifest {
            holds,
            ..manifest.clone()
        };
        write(&manifest, folder)
    };
    written(Part::Keys, &folders.keys)?;
    let log = staged.publish()?;
    written(Part::Log, &folders.log)?;
    Ok(Taken { log, keys })
}

fn write(manifest: &Manifest, folder: &Path) -> Result<(), NoBackup> {
    manifest.write(folder).map_err(|source| NoBackup::Target {
        folder: folder.into(),
        source,
    })
}

impl Source<'_> {
    /// Returns the position up to which a folder is proven to hold this log, 0 if it is new.
    fn contains(&self, folder: &Path, wanted: Part) -> Result<u64, NoBackup> {
        let Some(manifest) = Manifest::read(folder)? else {
            return Ok(0);
        };
        if manifest.log_id != self.log_id || manifest.holds != wanted {
            return Err(NoBackup::Other {
                folder: folder.into(),
                holds: manifest.holds,
                found: manifest.log_id,
                wanted,
                log_id: self.log_id.clone(),
            });
        }
        let copied = manifest.position;
        if copied > self.through {
            return Err(NoBackup::Shorter {
                folder: folder.into(),
                copied,
                head: self.through,
            });
        }
        let is_same = copied == 0
            || Some((self.root_at)(copied).map_err(NoBackup::Unread)?) == manifest.root_hash();
        if is_same {
            Ok(copied)
        } else {
            Err(NoBackup::Forked {
                folder: folder.into(),
                copied,
            })
        }
    }

    /// Marks a folder as this log's before the first copy is in it.
    fn claim(&self, folder: &Path, part: Part, now: Micros) -> Result<(), NoBackup> {
        let target = |source| NoBackup::Target {
            folder: folder.into(),
            source,
        };
        crate::log::private_folder(folder).map_err(target)?;
        match Manifest::read(folder)? {
            Some(_) => Ok(()),
            None => write(&Manifest::begun(part, self.log_id.clone(), now), folder),
        }
    }

    fn manifest(&self, position: u64, at: Micros) -> Result<Manifest, NoBackup> {
        let root = (self.root_at)(position).map_err(NoBackup::Unread)?;
        let covered = |signed: &SignedCheckpoint| signed.size <= position;
        Ok(Manifest {
            holds: Part::Log,
            log_id: self.log_id.clone(),
            position,
            root: BASE64.encode(&root),
            at,
            checkpoint: self.checkpoint.clone().filter(covered),
            read_through: 0,
        })
    }
}

/// Returns when the older copy was taken; `None` if one is missing, unfinished or of another log.
pub fn newest(folders: &BackupFolders, log_id: &str) -> Option<Micros> {
    let taken = |folder: &Path| {
        let manifest = Manifest::read(folder).ok()??;
        (manifest.log_id == log_id && manifest.position > 0).then_some(manifest.at)
    };
    Some(taken(&folders.log)?.min(taken(&folders.keys)?))
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
