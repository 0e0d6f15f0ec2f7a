//! Erasing an account, and completing at start what a crash left of it.
//!
//! ```text
//!   tombstone beside the keyring ─▶ AccountErased in the log ─▶ keys.redb rewritten ─▶ replies
//!   (writer, durable)               (writer, commit)            (key rewriter)         (the same)
//! ```
//! The tombstone contains the record that follows it, so an erasure that a crash interrupted is
//! completed with the same caller, command and time. From the tombstone on, the account's keys are
//! no longer handed out.

use countersign_schemas::event::EventError;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::{Record, RecordError};
use countersign_schemas::time::Micros;

use super::Writer;
use super::batch::Batch;
use super::facts::erased;
use crate::account::service;
use crate::crash_point::reached;
use crate::crypto::tombstones::{Tombstone, TombstoneError};
use crate::engine::ReplyTo;
use crate::engine::accounts::{Accounts, HistoryError};
use crate::engine::erased::Life;
use crate::engine::keys::vault::{Vault, VaultError};
use crate::engine::message::Submission;
use crate::log::index::{Index, NotNext};
use crate::log::{AppendError, EventLog, ReadLogError};

/// Why an interrupted erasure could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadLogError),
    /// The account's history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The tombstone's record cannot be read, or the next one cannot be made.
    #[error("its record is of another build: {0}")]
    Record(#[from] RecordError),
    /// The tombstone's event cannot be read or encoded.
    #[error("its event is of another build: {0}")]
    Event(#[from] EventError),
    /// The log did not accept the record.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The index did not accept the record.
    #[error(transparent)]
    Index(#[from] NotNext),
    /// The tombstones cannot be read.
    #[error(transparent)]
    Tombstones(#[from] TombstoneError),
    /// The tombstone could not be rewritten.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Writer {
    /// Decides commands that each get a batch of their own.
    ///
    /// # Errors
    /// Every reply that waits for an answer, none of them sent, if a commit failed.
    pub(super) fn decide_alone(&mut self, alone: Vec<Submission>) -> Result<(), Vec<ReplyTo>> {
        let mut alone = alone.into_iter();
        while let Some(submission) = alone.next() {
            let mut batch = self.empty_batch();
            self.take_now(Box::new(submission), &mut batch);
            if let Err(mut waiting) = self.commit(batch) {
                waiting.extend(alone.map(|submission| submission.reply));
                return Err(waiting);
            }
        }
        Ok(())
    }

    /// Makes sure that the erasure that the batch ends with will be completed whatever happens from
    /// now on. The erasure is alone in its batch, so its record follows the durable log.
    ///
    /// # Errors
    /// [`VaultError`]: nothing was begun, and the batch must not be appended.
    pub(super) fn entomb(&self, batch: &Batch) -> Result<(), VaultError> {
        let last = batch.entries.last().zip(batch.records.last());
        let (entry, bytes) = last.expect("the batch ends with the erasure");
        let vault = &self.shared.vault;
        // The log's own key, under which the reason is sealed, must outlive a crash too.
        vault.commit_keys()?;
        let stream = entry.record.stream_key;
        let tombstone = Tombstone {
            stream_key: stream.0,
            through: vault.last_generation(stream)?,
            position: entry.position,
            record: bytes.clone(),
        };
        reached("tombstone-unwritten");
        vault
            .entomb(&tombstone)
            .inspect_err(|_| vault.withdraw(&tombstone))?;
        vault.condemn(stream, tombstone.through);
        reached("tombstone-written");
        Ok(())
    }
}

/// Stops handing out the keys that a tombstone names: those left by a crash, and those that a
/// restored `keys.redb` brought back. In memory only, since nothing was checked yet.
///
/// # Errors
/// [`VaultError`]: the service must not start.
pub(in crate::engine) fn condemn_entombed(
    vault: &Vault,
    tombstones: &[Tombstone],
) -> Result<(), VaultError> {
    for tombstone in tombstones {
        let stream = StreamKey(tombstone.stream_key);
        if !vault.is_erased(stream, tombstone.through)? {
            vault.condemn(stream, tombstone.through);
        }
    }
    Ok(())
}

/// Appends the erasures that have a tombstone and are not in the log.
///
/// # Errors
/// [`CompletionError`]: the service must not start.
pub(in crate::engine) fn complete(
    log: &mut EventLog,
    index: &Index,
    accounts: &Accounts,
    vault: &Vault,
    now: Micros,
) -> Result<(), CompletionError> {
    for tombstone in vault.tombstones()? {
        let stands = log.reader().get(tombstone.position)?;
        if stands.is_some_and(|bytes| *bytes == *tombstone.record) {
            continue;
        }
        let stream = StreamKey(tombstone.stream_key);
        let account = accounts.load(stream)?;
        let life = Life::of(index, accounts, stream, account.version)?;
        let record = Record::decode(&tombstone.record)?;
        // The life whose erasure a restored log lost was erased; the present life may be another. A
        // life without sealed fields has no key that identifies it, so its beginning decides.
        let is_its_life = match life.generation {
            Some(generation) => generation <= tombstone.through,
            None => life.since.is_some_and(|since| since <= record.recorded_at),
        };
        if account.exists() && is_its_life {
            let record = next(record, account.version + 1)?;
            let mut record = Record {
                recorded_at: record.recorded_at.max(index.tail().at),
                ..record
            };
            let position = log.head() + 1;
            let bytes = vault
                .record_seals()
                .encode(position, &index.last_leaf(), &mut record)?;
            vault.entomb(&Tombstone {
                position,
                record: bytes.clone(),
                ..tombstone
            })?;
            log.append(log.head(), std::slice::from_ref(&bytes))?;
            let fact = erased(&record, &record.event()?);
            index.push(position, &record, &bytes, Some(fact), now)?;
            tracing::info!(position, "an interrupted erasure is recorded");
        }
    }
    Ok(())
}

/// Returns the record of an erasure for this version of its account. If it was made for another
/// version, as after a restored older log, it loses the fields sealed for that place.
fn next(mut record: Record, version: u32) -> Result<Record, CompletionError> {
    if record.version != version {
        record.version = version;
        record.meta.source = None;
        record.meta.source_commitment = None;
        record.payload = service::account_erased().encode()?.into();
    }
    Ok(record)
}
