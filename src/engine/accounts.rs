//! Accounts in memory: a bounded cache that only the writer fills, and the fold that rebuilds one.

use std::sync::{Arc, RwLock};

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::Record;
use quick_cache::sync::Cache;

use crate::account::{Account, Recorded};
use crate::log::LogReader;
use crate::log::index::Index;

/// Accounts that are kept in memory; about 2 KiB each with their challenges and codes.
pub const CACHED_ACCOUNTS_MAX: usize = 65_536;

/// The log could not give an account's history, or holds what this build cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} cannot be read: {why}")]
pub struct HistoryError {
    /// Where.
    pub position: u64,
    /// What is wrong.
    pub why: String,
}

/// Every account's newest state, from memory or from the log.
pub struct Accounts {
    log: LogReader,
    index: Arc<RwLock<Index>>,
    cache: Cache<StreamKey, Arc<Account>>,
}

impl Accounts {
    /// An empty cache over a log and its index.
    pub fn new(log: LogReader, index: Arc<RwLock<Index>>) -> Self {
        Self {
            log,
            index,
            cache: Cache::new(CACHED_ACCOUNTS_MAX),
        }
    }

    /// The account as of its last durable event; an unknown one is empty.
    ///
    /// A miss is not put into the cache: only the writer knows that what it holds is the newest.
    ///
    /// # Errors
    /// [`HistoryError`] when the log cannot be read.
    pub fn load(&self, stream: StreamKey) -> Result<Arc<Account>, HistoryError> {
        match self.cache.get(&stream) {
            Some(account) => Ok(account),
            None => self.rebuild(stream, u32::MAX).map(Arc::new),
        }
    }

    /// Folds an account from the log up to a version.
    ///
    /// # Errors
    /// [`HistoryError`] when the log cannot be read.
    pub fn rebuild(&self, stream: StreamKey, version: u32) -> Result<Account, HistoryError> {
        let positions = {
            let index = self.index.read().expect("no holder of this lock panics");
            let all = index.stream(&stream);
            all[..all.len().min(version as usize)].to_vec()
        };
        let mut account = Account::default();
        for position in positions {
            let record = self.record(position)?;
            evolve(&mut account, position, &record)?;
        }
        Ok(account)
    }

    /// The record at a position that the index names.
    ///
    /// # Errors
    /// [`HistoryError`] when it is not there or not readable.
    pub fn record(&self, position: u64) -> Result<Record, HistoryError> {
        let failed = |why: String| HistoryError { position, why };
        let bytes = self
            .log
            .get(position)
            .map_err(|error| failed(error.to_string()))?
            .ok_or_else(|| failed("it is not in the log".into()))?;
        Record::decode(&bytes).map_err(|error| failed(error.to_string()))
    }

    /// Puts an account's newest state into the cache; for the writer, after its commit.
    pub fn committed(&self, stream: StreamKey, account: Arc<Account>) {
        self.cache.insert(stream, account);
    }
}

/// Takes a record of an account in.
fn evolve(account: &mut Account, position: u64, record: &Record) -> Result<(), HistoryError> {
    let failed = |why: String| HistoryError { position, why };
    let event = record.event().map_err(|error| failed(error.to_string()))?;
    let account_id =
        AccountId::parse(&record.meta.account_id).map_err(|error| failed(error.to_string()))?;
    account.evolve(&Recorded {
        account_id: &account_id,
        version: record.version,
        at: record.recorded_at,
        caller: &record.meta.caller,
        source_key: record.meta.source_key,
        event: &event,
    });
    Ok(())
}
