//! Backups of a stopped service: no copy is replaced by one that no service opens.
//!
//! Anyone who can write the data folder can append to a stopped log or change it. With the keyring
//! the log is compared with everything that a start compares it with, before anything is written.
//! Without it nothing proves the end of the log, since the checkpoint in the data folder can be
//! exchanged with its key. So a copy that exists is replaced only with the keyring.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use countersign_schemas::audit::SignedCheckpoint;
use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;

use super::epoch::{check_witness, unfinished};
use super::error::StartError;
use crate::crypto::data_keys::back_up_stopped;
use crate::crypto::keyring::Keyring;
use crate::crypto::note::origin;
use crate::crypto::tombstones::Tombstones;
use crate::engine::copies::backup::{BackupFolders, NoBackup, Source, Taken, check_places, take};
use crate::engine::copies::places::{Ours, PlaceError};
use crate::engine::data_folder::{keys_file, log_folder};
use crate::engine::entries::record;
use crate::engine::epochs::epoch_at;
use crate::engine::erased;
use crate::engine::erased::Known;
use crate::engine::keys::checkpoints::signer;
use crate::engine::record_seals::{RecordSeals, first_unsealed};
use crate::log::checkpoints::{Archive, COPY, CheckpointRefusal};
use crate::log::hashes::TileError;
use crate::log::index::Finding;
use crate::log::tree::{Frontier, Hash, leaf_hash};
use crate::log::verify::{BadLog, Verified, Verifier};
use crate::log::{EventLog, LogOptions, LogReader, Manifest, ManifestError, OpenLogError};

/// Why there is no new backup of a stopped service; earlier backups are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum NoStoppedBackup {
    /// The copies cannot be made.
    #[error(transparent)]
    Refused(#[from] NoBackup),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// A record of the log does not follow from those before it.
    #[error("the log was not written by a service ({0}): restore it from a backup")]
    Bad(#[from] BadLog),
    /// No service with this keyring starts on the log.
    #[error("no service starts on this log, so nothing was copied: {0}")]
    Start(#[from] StartError),
    /// A folder has a copy, and nothing shows that the log is as good.
    #[error(
        "{0} has an earlier copy, and only the keyring shows that it would not be replaced by a worse one: name the keyring with --keyring, or name another folder"
    )]
    NeedsKeyring(PathBuf),
}

impl From<PlaceError> for NoStoppedBackup {
    fn from(error: PlaceError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ManifestError> for NoStoppedBackup {
    fn from(error: ManifestError) -> Self {
        Self::Refused(error.into())
    }
}

// BUG: stopped-log-changed-while-copied: no leaf is kept that the records could be compared with.
/// A stopped service's log, which is only read.
struct Stopped<'a> {
    log: &'a LogReader,
    data: &'a Path,
    roots: RefCell<BTreeMap<u64, Hash>>,
}

/// Copies log and keys of a stopped service. If the keyring is named, nothing beside it is touched;
/// log and keys are checked with it first, as at a start. Without it, the folders must have no
/// earlier copy. Each record of the log must follow from those before it.
///
/// # Errors
/// [`NoStoppedBackup`] with the reason; earlier backups are unchanged.
pub fn back_up_stopped_service(
    data: &Path,
    keyring: Option<&Path>,
    folders: &BackupFolders,
    now: Micros,
) -> Result<Taken, NoStoppedBackup> {
    let log = EventLog::open(&log_folder(data), LogOptions::default())?;
    let reader = log.reader();
    let unread = NoBackup::Unread;
    let first = record(&reader, 1).and_then(|record| record.event().ok());
    let Some(Event::EpochStarted(first)) = first else {
        return Err(unread("it does not begin with its epoch".into()).into());
    };
    let ours = Ours::of(data, keyring)?;
    check_places(&ours, folders)?;
    let verified = check_follows(&reader)?;
    let stopped = Stopped {
        log: &reader,
        data,
        roots: RefCell::new(BTreeMap::from([(verified.records, verified.root)])),
    };
    let ring = keyring.map(Keyring::load).transpose();
    let ring = ring.map_err(StartError::from)?;
    let by_keyring = keyring.zip(ring.as_ref());
    let checkpoint = match by_keyring {
        Some((file, ring)) => Some(stopped.check_as_a_start(file, ring, &verified)?),
        None => {
            refuse_to_replace(folders)?;
            checkpoint_in(data)
        }
    };
    let known = OnceCell::new();
    let erased = |stream: &_, generation| -> Result<bool, String> {
        if let Some((file, _)) = by_keyring
            && known.get().is_none()
        {
            let tombstones = Tombstones::beside(file).list();
            let tombstones = tombstones.map_err(|error| error.to_string())?;
            // No other thread sets it in between.
            let _ = known.set(erased::read(&reader, reader.head(), &tombstones)?);
        }
        let known = known.get();
        Ok(known.is_some_and(|known: &Known| known.says(StreamKey(*stream), generation)))
    };
    let source = Source {
        log_id: HEXLOWER.encode(&first.log_id),
        through: log.head(),
        checkpoint,
        root_at: &|size| stopped.root_at(size),
        copy_keys: &|target| back_up_stopped(&keys_file(data), target, ring.as_ref(), &erased),
        ours,
        log: &reader,
    };
    let taken = take(&source, folders, now)?;
    log.close().map_err(|error| unread(error.to_string()))?;
    Ok(taken)
}

/// Refuses folders with a copy, also with one that an interrupted backup left.
fn refuse_to_replace(folders: &BackupFolders) -> Result<(), NoStoppedBackup> {
    for (folder, files) in [(&folders.log, "log"), (&folders.keys, "")] {
        let has_manifest = Manifest::read(folder)?.is_some_and(|manifest| manifest.position > 0);
        if has_manifest || has_files(&folder.join(files)) {
            return Err(NoStoppedBackup::NeedsKeyring(folder.clone()));
        }
    }
    Ok(())
}

/// Whether a folder has files of redb; one that cannot be read may have some.
fn has_files(folder: &Path) -> bool {
    let is_file = |entry: std::io::Result<DirEntry>| {
        entry.is_ok_and(|entry| Path::new(&entry.file_name()).extension() == Some("redb".as_ref()))
    };
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.any(is_file),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

fn check_follows(reader: &LogReader) -> Result<Verified, NoStoppedBackup> {
    let mut verifier = Verifier::new(&[]);
    loop {
        let page = reader.read(verifier.position() + 1, usize::MAX, usize::MAX);
        let page = page.map_err(|error| NoBackup::Unread(error.to_string()))?;
        if page.is_empty() {
            return Ok(verifier.finish()?);
        }
        for (position, bytes) in page.iter() {
            verifier.push(position, bytes)?;
        }
    }
}

/// Returns the copy of the newest checkpoint in a data folder; an unreadable copy counts as none.
fn checkpoint_in(data: &Path) -> Option<SignedCheckpoint> {
    serde_json::from_slice(&std::fs::read(data.join(COPY)).ok()?).ok()
}

impl Stopped<'_> {
    /// Compares the log with the checkpoints beside the keyring, with the copy of the newest one,
    /// with the seals and with the published stream, and returns the newest checkpoint.
    ///
    /// # Errors
    /// The [`StartError`] that a start gives for such a log.
    fn check_as_a_start(
        &self,
        keyring_file: &Path,
        keyring: &Keyring,
        verified: &Verified,
    ) -> Result<SignedCheckpoint, StartError> {
        let foreign = || StartError::Foreign {
            log: log_folder(self.data),
            keyring: keyring_file.into(),
        };
        if verified.origins.first() != Some(&origin(keyring.first_log_id())) {
            return Err(foreign());
        }
        let head = self.log.head();
        if let Some(epoch) = epoch_at(self.log, head)
            && let Some(lost_from) = unfinished(keyring, &epoch, head, keyring_file)
        {
            return Err(StartError::EpochUnfinished { lost_from });
        }
        let archive = Archive::open(keyring_file, signer(keyring))?;
        let signed = archive.check_with_copy(self.data, head, |size| {
            self.root_at(size).map_err(|reason| TileError {
                level: 0,
                index: 0,
                first: 0,
                reason,
            })
        });
        let signed = signed.map_err(|refusal| match refusal {
            CheckpointRefusal::Tile(error) => StartError::Record(error.reason),
            other => other.into(),
        })?;
        if verified.origin() != origin(keyring.log_id()) {
            let is_ended = |id| origin(id) == verified.origin();
            let path = archive.path().to_owned();
            return Err(if keyring.log_ids().any(is_ended) {
                CheckpointRefusal::Missing { path, head }.into()
            } else {
                foreign()
            });
        }
        let seals = RecordSeals::of(keyring);
        let unsealed = first_unsealed(self.log, signed.size, head, &[&seals]);
        if let Some(position) = unsealed.map_err(|error| StartError::Record(error.to_string()))? {
            return Err(Finding::Appended { position }.into());
        }
        check_witness(self.log, keyring.log_id(), keyring_file)?;
        Ok(signed)
    }

    /// Returns the root of the log's first `size` records, from the records themselves.
    fn root_at(&self, size: u64) -> Result<Hash, String> {
        if let Some(root) = self.roots.borrow().get(&size) {
            return Ok(*root);
        }
        let mut tree = Frontier::default();
        while tree.size() < size {
            let room = usize::try_from(size - tree.size()).unwrap_or(usize::MAX);
            let page = self.log.read(tree.size() + 1, room, usize::MAX);
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Err(format!("it ends at position {}", tree.size()));
            }
            page.iter()
                .for_each(|(_, bytes)| tree.append(leaf_hash(bytes)));
        }
        self.roots.borrow_mut().insert(size, tree.root());
        Ok(tree.root())
    }
}
