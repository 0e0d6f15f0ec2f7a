//! Accounts in memory: a bounded cache that only the writer fills, and the fold that rebuilds an
//! account.

pub mod snapshots;

use std::sync::{Arc, Mutex};

use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::epochs::Epoch;
use crate::account::{Account, Recorded};
use crate::log::LogReader;
use crate::log::index::{Index, IndexError, Place};
use snapshots::{Snapshot, Snapshots, TAIL_MAX};

/// Memory for accounts, in bytes.
pub const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The approximate number of accounts in that much memory.
const CACHED_ACCOUNTS: usize = 32_768;
/// Snapshots that may wait to be written; further ones are made at a later load.
const SNAPSHOTS_WAITING_MAX: usize = 256;

/// Why an account's history cannot be given: the log is unreadable or holds what this build does
/// not know.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A record cannot be read.
    #[error("the event at position {position} cannot be read: {why}")]
    Record {
        /// The position of the record.
        position: u64,
        /// What is wrong.
        why: String,
    },
    /// The index leads to a position that does not hold the account's next event.
    #[error(
        "the index leads to position {position} for an event that is not there: stop the service and delete index.redb, it is rebuilt from the log"
    )]
    Astray {
        /// The position that the index names.
        position: u64,
    },
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl HistoryError {
    /// Reports a record that cannot be read.
    pub fn at(position: u64, why: impl ToString) -> Self {
        Self::Record {
            position,
            why: why.to_string(),
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<StreamKey, Arc<Account>> for ByBytes {
    fn weight(&self, _: &StreamKey, account: &Arc<Account>) -> u64 {
        account.memory_bytes() as u64
    }
}

/// The newest state of every account, from memory or from the log.
pub struct Accounts {
    log: LogReader,
    index: Arc<Index>,
    /// The epochs that began because events had been lost, ascending.
    losses: Vec<Epoch>,
    cache: Cache<StreamKey, Arc<Account>, ByBytes>,
    snapshots: Snapshots,
    waiting: Mutex<Vec<Snapshot>>,
}

impl Accounts {
    /// Starts with an empty cache over a log, its index and its snapshots.
    pub fn new(
        log: LogReader,
        index: Arc<Index>,
        snapshots: Snapshots,
        mut epochs: Vec<Epoch>,
    ) -> Self {
        epochs.retain(|epoch| epoch.begun.lost_from.is_some());
        Self {
            log,
            index,
            losses: epochs,
            cache: Cache::with_weighter(CACHED_ACCOUNTS, CACHE_BYTES_MAX, ByBytes),
            snapshots,
            waiting: Mutex::default(),
        }
    }

    /// Returns the epochs that began because events had been lost, ascending.
    pub fn later_epochs(&self) -> &[Epoch] {
        &self.losses
    }

    /// Returns the account as of its last durable event; an unknown one is empty.
    ///
    /// A miss is not put into the cache: only the writer knows that its own copy is the newest.
    ///
    /// # Errors
    /// [`HistoryError`] if log or index cannot be read.
    pub fn load(&self, stream: StreamKey) -> Result<Arc<Account>, HistoryError> {
        match self.cache.get(&stream) {
            Some(account) => Ok(account),
            None => self.rebuild(stream, u32::MAX, u64::MAX).map(Arc::new),
        }
    }

    /// Folds an account up to a version, and through the epochs that began before a position, from
    /// its snapshot on if there is one.
    ///
    /// # Errors
    /// [`HistoryError`] if log or index cannot be read.
    pub fn rebuild(
        &self,
        stream: StreamKey,
        version: u32,
        before: u64,
    ) -> Result<Account, HistoryError> {
        let mut account = self.snapshot(stream, version)?.unwrap_or_default();
        // The snapshot's last event is read too, to learn its position.
        let after = account.version.saturating_sub(1);
        let mut places = self.index.places(&stream, after, version)?;
        let held = usize::from(account.version > 0).min(places.len());
        let mut last = places.drain(..held).next();
        let position_of = |last: Option<Place>| last.map_or(0, |place| place.position);
        for place in &places {
            let position = place.position;
            self.go_through(&mut account, position_of(last), position);
            last = Some(*place);
            let bytes = self.log.at(place);
            let bytes = bytes.map_err(|error| HistoryError::at(position, error))?;
            let record = decode(position, &bytes)?;
            if record.stream_key != stream || record.version != account.version + 1 {
                return Err(HistoryError::Astray { position });
            }
            evolve(&mut account, position, &record)?;
        }
        if let Some(last) = last.filter(|_| places.len() > TAIL_MAX && account.exists()) {
            self.remember(stream, last, &account);
        }
        self.go_through(&mut account, position_of(last), before);
        Ok(account)
    }

    /// Returns the newest snapshot of an account with at most that version, if it ends with the
    /// event that the log has there.
    fn snapshot(&self, stream: StreamKey, version: u32) -> Result<Option<Account>, HistoryError> {
        let Some((place, account)) = self.snapshots.load(stream, version) else {
            return Ok(None);
        };
        let known = self
            .index
            .places(&stream, account.version - 1, account.version)?;
        if known != [place] {
            tracing::warn!("a snapshot is of another history; the account is folded from the log");
            return Ok(None);
        }
        let position = place.position;
        let bytes = self.log.at(&place);
        let bytes = bytes.map_err(|error| HistoryError::at(position, error))?;
        let record = decode(position, &bytes)?;
        match record.stream_key == stream && record.version == account.version {
            true => Ok(Some(account)),
            false => Err(HistoryError::Astray { position }),
        }
    }

    /// Applies the losses between two positions to the account.
    fn go_through(&self, account: &mut Account, after: u64, before: u64) {
        for epoch in &self.losses {
            if after < epoch.position && epoch.position < before {
                account.went_through(&epoch.begun);
            }
        }
    }

    /// Returns the record at a position that the index names.
    ///
    /// # Errors
    /// [`HistoryError`] if it does not exist or cannot be read.
    pub fn record(&self, position: u64) -> Result<Record<'static>, HistoryError> {
        let bytes = self.log.get(position);
        let bytes = bytes.map_err(|error| HistoryError::at(position, error))?;
        let bytes = bytes.ok_or_else(|| HistoryError::at(position, "it is not in the log"))?;
        Ok(decode(position, &bytes)?.into_owned())
    }

    /// Returns the positions of the epochs that began because events had been lost, ascending.
    pub fn losses(&self) -> Vec<u64> {
        self.losses.iter().map(|epoch| epoch.position).collect()
    }

    /// Returns how many accounts are in memory, and about how many bytes they take.
    pub fn cached(&self) -> (u64, u64) {
        (self.cache.len() as u64, self.cache.weight())
    }

    /// Puts an account's newest state into the cache; for the writer, after its commit.
    pub fn committed(&self, stream: StreamKey, account: Arc<Account>) {
        self.cache.insert(stream, account);
    }

    #[cfg(test)]
    pub fn with_snapshots(&self, snapshots: Snapshots) -> Self {
        let (log, index) = (self.log.clone(), Arc::clone(&self.index));
        Self::new(log, index, snapshots, self.losses.clone())
    }

    #[cfg(test)]
    pub fn snapshot_version(&self, stream: StreamKey) -> Option<u32> {
        Some(self.snapshots.load(stream, u32::MAX)?.1.version)
    }

    /// Queues a snapshot to be written.
    fn remember(&self, stream: StreamKey, place: Place, account: &Account) {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        if waiting.len() < SNAPSHOTS_WAITING_MAX {
            waiting.push((stream, place, account.clone()));
        }
    }

    /// Writes the queued snapshots; for the indexer.
    pub fn save_snapshots(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().expect("no holder of this lock panics"));
        if !waiting.is_empty() {
            self.snapshots.save(&waiting);
        }
    }
}

fn decode(position: u64, bytes: &[u8]) -> Result<Record<'_>, HistoryError> {
    Record::decode(bytes).map_err(|error| HistoryError::at(position, error))
}

/// Applies a record to an account.
fn evolve(account: &mut Account, position: u64, record: &Record) -> Result<(), HistoryError> {
    let event = record.event();
    let event = event.map_err(|error| HistoryError::at(position, error))?;
    account.evolve(&Recorded {
        account_id: &record.meta.account_id,
        version: record.version,
        at: record.recorded_at,
        caller: &record.meta.caller,
        source_key: record.meta.source_key,
        event: &event,
    });
    Ok(())
}
