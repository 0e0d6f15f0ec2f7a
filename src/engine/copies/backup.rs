//! Backups: log and data keys copied into two folders, beside the running service or of a stopped one.
//!
//! ```text
//!   places, manifests, contained? ─▶ stage the log ─▶ keys ─▶ keys' manifest ─▶ publish ─▶ log's
//! ```
//!
//! The log is read first: a key is durable before the first record that it seals, so a later copy of
//! the keys has every key that the log's copy needs. The keys get their name first, so a crash leaves
//! no log that its keys do not open.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_schemas::audit::SignedCheckpoint;
use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;
use data_encoding::{BASE64, HEXLOWER};

use super::believed::proven_erasures;
use super::places::{Ours, PlaceError, refuse_together};
use crate::crypto::data_keys::{DataKeysError, back_up_stopped};
use crate::crypto::keyring::{Keyring, LoadError};
use crate::engine::data_folder::{keys_file, log_folder};
use crate::engine::entries::record;
use crate::engine::erased::Known;
use crate::log::checkpoints::COPY;
use crate::log::tree::{Frontier, Hash, leaf_hash};
use crate::log::verify::{BadLog, Verifier};
use crate::log::{
    Backup, BackupError, EventLog, LogOptions, LogReader, Manifest, ManifestError, OpenLogError,
    Part,
};

const BAD_PLACE: &str = "a folder of [backup] holds, or lies in, something that is no backup of this log, or both folders are one: the service's log says which; name two empty folders, or those of earlier backups of this log";
const OTHER_LOG: &str = "a folder of [backup] belongs to another log, or its manifest cannot be read: the service's log says which; name other folders";
const NOT_CONTAINED: &str = "a folder of [backup] holds more than this log, or something else, so a new copy would be worse: keep that folder, and name other folders; the service's log says which";

/// Where backups go: to two folders that are apart, since who has the log, the keys and the keyring
/// reads everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFolders {
    /// Where `log/` is copied to.
    pub log: PathBuf,
    /// Where `keys.redb` is copied to.
    pub keys: PathBuf,
}

/// What a backup wrote.
#[derive(Debug)]
pub struct Taken {
    /// The log's copy.
    pub log: Backup,
    /// The keys' copy.
    pub keys: PathBuf,
}

/// Why there is no new backup; what earlier ones left is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NoBackup {
    /// A folder is not for backups of this log.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A manifest is not one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A folder belongs to another log, or is for the other part.
    #[error(
        "{folder} holds a copy of {holds} of log {found}, and {wanted} of log {log_id} were to be copied there: name another folder"
    )]
    Other {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        holds: Part,
        /// Whose it is.
        found: String,
        /// What was to be written.
        wanted: Part,
        /// Whose that is.
        log_id: String,
    },
    /// The present log is shorter than the copy.
    #[error(
        "{folder} holds this log up to position {copied}, and the log ends at {head}: events were lost, so keep that folder, and either restore from it or name another folder"
    )]
    Shorter {
        /// The folder.
        folder: PathBuf,
        /// Where its copy ends.
        copied: u64,
        /// Where the log ends.
        head: u64,
    },
    /// The present log is another one up to where the copy ends.
    #[error(
        "{folder} holds other events up to position {copied} than this log: keep that folder, and name another folder"
    )]
    Forked {
        /// The folder.
        folder: PathBuf,
        /// Where its copy ends.
        copied: u64,
    },
    /// The log cannot be copied.
    #[error(transparent)]
    Log(#[from] BackupError),
    /// The keys cannot be copied.
    #[error(transparent)]
    Keys(#[from] DataKeysError),
    /// A stopped log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// The keyring that was named is not one.
    #[error(transparent)]
    Keyring(#[from] LoadError),
    /// The log does not say what it is.
    #[error("the log cannot be read ({0}): restore it from a backup")]
    Unread(String),
    /// A record of a stopped log does not follow from those before it.
    #[error("the log is no log of a service ({0}): restore it from a backup")]
    Bad(#[from] BadLog),
    /// A manifest cannot be written.
    #[error(
        "the manifest in {folder} cannot be written ({source}): free space there, or name another folder"
    )]
    Target {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl NoBackup {
    /// What the operator who asked is answered; the log line has the whole sentence.
    pub fn refusal(&self) -> Refusal {
        let because = |detail| Refusal::because(ErrorCode::RequestInvalid, detail);
        match self {
            Self::Place(_) => because(BAD_PLACE),
            Self::Manifest(_) | Self::Other { .. } => because(OTHER_LOG),
            Self::Shorter { .. }
            | Self::Forked { .. }
            | Self::Log(BackupError::KnowsMore { .. })
            | Self::Keys(DataKeysError::CopyKnowsMore(_)) => because(NOT_CONTAINED),
            Self::Log(_)
            | Self::Keys(_)
            | Self::Open(_)
            | Self::Keyring(_)
            | Self::Unread(_)
            | Self::Bad(_)
            | Self::Target { .. } => Refusal::new(ErrorCode::StoreUnavailable),
        }
    }
}

/// What is copied.
pub struct Source<'a> {
    /// Reads the log.
    pub log: &'a LogReader,
    /// The hexadecimal id of its first epoch.
    pub log_id: String,
    /// The last position to copy.
    pub through: u64,
    /// A signed checkpoint of it, where there is one.
    pub checkpoint: Option<SignedCheckpoint>,
    /// The root of its first so many records.
    pub root_at: &'a dyn Fn(u64) -> Result<Hash, String>,
    /// Copies the keys, once the log's copy is staged.
    pub copy_keys: &'a dyn Fn(&Path) -> Result<(), DataKeysError>,
    /// What the copies must not touch.
    pub ours: Ours,
}

/// Refuses folders that are not for backups, before anything is written.
///
/// # Errors
/// [`PlaceError`].
pub fn check_places(ours: &Ours, folders: &BackupFolders) -> Result<(), PlaceError> {
    refuse_together(&folders.log, &folders.keys)?;
    ours.refuse(&folders.log, Part::Log)?;
    ours.refuse(&folders.keys, Part::Keys)
}

/// Copies log and keys, incrementally; every file has its name only once it is complete and durable.
///
/// # Errors
/// [`NoBackup`].
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
    /// The position up to which a folder is proven to be of this log, 0 where it is new.
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
        match is_same {
            true => Ok(copied),
            false => Err(NoBackup::Forked {
                folder: folder.into(),
                copied,
            }),
        }
    }

    /// Makes a folder this log's before the first copy is in it.
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

/// Copies log and keys of a stopped service. Where the keyring is named, nothing beside it is
/// touched, and the keys are checked by it before they replace an earlier copy; else none of that
/// copy's keys may be gone. The log must follow: nothing better is replaced by one that no service
/// opens.
///
/// # Errors
/// [`NoBackup`].
pub fn back_up_stopped_service(
    data: &Path,
    keyring: Option<&Path>,
    folders: &BackupFolders,
    now: Micros,
) -> Result<Taken, NoBackup> {
    let log = EventLog::open(&log_folder(data), LogOptions::default())?;
    let reader = log.reader();
    let first = record(&reader, 1).and_then(|record| record.event().ok());
    let Some(Event::EpochStarted(first)) = first else {
        return Err(NoBackup::Unread("it does not begin with its epoch".into()));
    };
    let roots = RefCell::new(BTreeMap::new());
    let root_at = |size| {
        let known = roots.borrow().get(&size).copied();
        known.map_or_else(
            || {
                let root = root_of(&reader, size)?;
                roots.borrow_mut().insert(size, root);
                Ok(root)
            },
            Ok,
        )
    };
    check_follows(&reader)?;
    let ring = keyring.map(Keyring::load).transpose()?;
    let by_keyring = keyring.zip(ring.as_ref());
    let known = OnceCell::new();
    let erased = |stream: &_, generation| -> Result<bool, String> {
        if let Some((file, ring)) = by_keyring
            && known.get().is_none()
        {
            // Nobody else sets it in between.
            let _ = known.set(proven_erasures(&reader, data, file, ring, &root_at)?);
        }
        let known = known.get();
        Ok(known.is_some_and(|known: &Known| known.says(StreamKey(*stream), generation)))
    };
    let source = Source {
        log_id: HEXLOWER.encode(&first.log_id),
        through: log.head(),
        checkpoint: checkpoint_in(data),
        root_at: &root_at,
        copy_keys: &|target| back_up_stopped(&keys_file(data), target, ring.as_ref(), &erased),
        ours: Ours::of(data, keyring)?,
        log: &reader,
    };
    let taken = take(&source, folders, now)?;
    log.close()
        .map_err(|error| NoBackup::Unread(error.to_string()))?;
    Ok(taken)
}

fn check_follows(reader: &LogReader) -> Result<(), NoBackup> {
    let mut verifier = Verifier::new(&[]);
    loop {
        let page = reader.read(verifier.position() + 1, usize::MAX, usize::MAX);
        let page = page.map_err(|error| NoBackup::Unread(error.to_string()))?;
        if page.is_empty() {
            verifier.finish()?;
            return Ok(());
        }
        for (position, bytes) in page.iter() {
            verifier.push(position, bytes)?;
        }
    }
}

/// The copy of the newest checkpoint in a data folder; one that cannot be read is none.
fn checkpoint_in(data: &Path) -> Option<SignedCheckpoint> {
    serde_json::from_slice(&std::fs::read(data.join(COPY)).ok()?).ok()
}

/// The root of a log's first so many records, from the records themselves.
fn root_of(reader: &LogReader, size: u64) -> Result<Hash, String> {
    let mut tree = Frontier::default();
    while tree.size() < size {
        let room = usize::try_from(size - tree.size()).unwrap_or(usize::MAX);
        let page = reader.read(tree.size() + 1, room, usize::MAX);
        let page = page.map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Err(format!("it ends at position {}", tree.size()));
        }
        page.iter()
            .for_each(|(_, bytes)| tree.append(leaf_hash(bytes)));
    }
    Ok(tree.root())
}

/// When the older of two copies was taken; none where one is missing, unfinished or of another log.
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
