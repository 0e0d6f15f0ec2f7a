//! The operators' requests to the running engine: numbers, views, a backup. Nothing here decides.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use countersign_schemas::admin::{
    BackupTaken, CacheState, EventCount, IndexState, KeyList, LogStats, SegmentEntry, ViewList,
};
use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;

use crate::engine::accounts::CACHE_BYTES_MAX;
use crate::engine::copies::backup;
use crate::engine::copies::backup::{BackupFolders, NoBackup};
use crate::engine::copies::places::Ours;
use crate::engine::entries::record;
use crate::engine::erased::says;
use crate::engine::keys::key_list::key_list;
use crate::engine::shared::Shared;
use crate::engine::start::stopped_views::view_list;
use crate::log::LogReader;

const NO_FOLDER: &str =
    "no backup folders are configured: set [backup] folder and keys_folder, and restart";
/// File names in one answer, so that it fits with any number of segments; the newest are listed.
const FILES_LISTED_MAX: usize = 1_000;

/// The operators' side of the engine; every call may block.
#[derive(Clone)]
pub struct Admin {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) log: LogReader,
    pub(in crate::engine) data: PathBuf,
    pub(in crate::engine) keyring: PathBuf,
    /// Held by the one backup that may run.
    pub(in crate::engine) backing_up: Arc<Mutex<()>>,
}

impl Admin {
    /// Returns the numbers of the log, the index and the cache.
    ///
    /// # Errors
    /// `store.unavailable` if they cannot be read.
    pub fn log_stats(&self) -> Result<LogStats, Refusal> {
        let segments = self.log.segments().map_err(|error| unavailable(&error))?;
        let counts = self
            .shared
            .index
            .counts()
            .map_err(|error| unavailable(&error))?;
        let name = |code: u16| {
            Event::ALL
                .iter()
                .find(|(known, _, _)| *known == code)
                .map(|e| e.2)
        };
        let mut events: Vec<_> = counts
            .into_iter()
            .map(|(code, (count, record_bytes))| EventCount {
                kind: name(code).map_or_else(|| code.to_string(), Into::into),
                count,
                record_bytes,
            })
            .collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.count));
        Ok(LogStats {
            position: self.log.head(),
            record_bytes: events.iter().map(|event| event.record_bytes).sum(),
            file_bytes: segments.iter().map(|segment| segment.file_bytes).sum(),
            segments: segments
                .into_iter()
                .map(|segment| SegmentEntry {
                    file: segment.name,
                    first: *segment.positions.start(),
                    last: *segment.positions.end(),
                    sealed: segment.sealed,
                    bytes: segment.file_bytes,
                })
                .collect(),
            events,
            index: IndexState {
                position: self.shared.index.tail().position,
                waiting: self.shared.index.waiting() as u64,
            },
            cache: self.cache(),
            publication: self.shared.publication.state(self.log.head()),
        })
    }

    fn cache(&self) -> CacheState {
        let (accounts, bytes) = self.shared.accounts.cached();
        CacheState {
            accounts,
            bytes,
            bytes_max: CACHE_BYTES_MAX,
        }
    }

    /// Lists the keys that protect the log; reads the whole key store.
    ///
    /// # Errors
    /// `store.unavailable` if it cannot be read.
    pub fn key_list(&self) -> Result<KeyList, Refusal> {
        let vault = &self.shared.vault;
        let counts = vault.key_counts().map_err(|error| unavailable(&error))?;
        Ok(key_list(&vault.keyring(), Some(&counts)))
    }

    /// Lists the views and how far each is.
    pub fn view_list(&self) -> ViewList {
        view_list(&self.shared.views, self.log.head())
    }

    /// Starts to rebuild a view. The old one serves until the projector has built the new one,
    /// which then replaces it and ends a halt.
    ///
    /// # Errors
    /// `request.invalid` if there is no view of that name, `store.unavailable` if the views cannot
    /// be written.
    pub fn view_rebuild(&self, view: &str) -> Result<ViewList, Refusal> {
        match self.shared.views.rebuild(view) {
            Ok(true) => Ok(self.view_list()),
            Ok(false) => Err(DecodeError::at("/view", "there is no view of that name").into()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Copies log and data keys into the configured folders, incrementally, while serving.
    ///
    /// # Errors
    /// `request.invalid` if no folders are configured or a backup there would touch or worsen
    /// something else, `overloaded` while another backup runs, `store.unavailable` if the copies
    /// cannot be made.
    pub fn backup(&self) -> Result<BackupTaken, Refusal> {
        let Some(folders) = &self.shared.backup else {
            return Err(Refusal::because(ErrorCode::RequestInvalid, NO_FOLDER));
        };
        let Ok(_alone) = self.backing_up.try_lock() else {
            return Err(Refusal::new(ErrorCode::Overloaded));
        };
        self.take(folders).map_err(|error| {
            tracing::error!(%error, "there is no new backup");
            error.refusal()
        })
    }

    /// Returns the seconds since the older copy in the backup folders was taken, or since the log
    /// began if one is missing; `None` without folders. Reads the manifests, since a disk may be
    /// removed or replaced.
    pub(in crate::engine) fn backup_age_s(&self, now: Micros) -> Option<u64> {
        let folders = self.shared.backup.as_ref()?;
        let log_id = HEXLOWER.encode(self.shared.vault.keyring().first_log_id());
        let began = || record(&self.log, 1).map_or(Micros(0), |first| first.recorded_at);
        let newest = backup::newest(folders, &log_id).unwrap_or_else(began);
        Some(now.seconds_since(newest))
    }

    fn take(&self, folders: &BackupFolders) -> Result<BackupTaken, NoBackup> {
        let (shared, unread) = (&self.shared, NoBackup::Unread);
        let signed = shared.signed_checkpoint().map_err(unread)?;
        let source = backup::Source {
            log: &self.log,
            log_id: HEXLOWER.encode(shared.vault.keyring().first_log_id()),
            through: signed.size,
            checkpoint: Some(signed),
            root_at: &|size| {
                shared
                    .index
                    .root_at(size)
                    .map_err(|error| error.to_string())
            },
            copy_keys: &|target| {
                let erased = |stream: &_, through| {
                    says(
                        &shared.index,
                        &shared.accounts,
                        &shared.vault,
                        StreamKey(*stream),
                        through,
                    )
                };
                shared.vault.back_up_keys(target, &erased)
            },
            ours: Ours::of(&self.data, Some(&self.keyring))?,
        };
        let taken = backup::take(&source, folders, shared.now())?;
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().display().to_string();
        let files = taken
            .log
            .files
            .iter()
            .map(|path| format!("log/{}", name(path)));
        let files: Vec<_> = files.chain([name(&taken.keys)]).collect();
        let file_count = files.len() as u64;
        let skipped = files.len().saturating_sub(FILES_LISTED_MAX);
        Ok(BackupTaken {
            position: taken.log.position,
            files: files.into_iter().skip(skipped).collect(),
            file_count,
        })
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "an operator's request cannot be answered");
    Refusal::new(ErrorCode::StoreUnavailable)
}
