//! Erasing an account, and completing at start what a crash left of it.
//!
//! ```text
//!   tombstone beside the keyring ─▶ AccountErased in the log ─▶ keys.redb rewritten ─▶ replies
//!   (writer, durable)               (writer, commit)            (keeper)               (keeper)
//! ```
//! The tombstone holds the record that is to follow it, so an erasure that a crash cut short has
//! the same caller, command and time as if it had not. From the tombstone on nobody is given the
//! account's keys any more.

use countersign_schemas::event::{Event, EventError};
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::{Record, RecordError};
use countersign_schemas::time::Micros;

use super::accounts::{Accounts, HistoryError};
use super::batch::Batch;
use super::vault::{Vault, VaultError};
use super::writer::Writer;
use super::{ReplyTo, Submission};
use crate::account::service;
use crate::crash_point::reached;
use crate::crypto::tombstones::Tombstone;
use crate::log::index::{Fact, Index, NotNext};
use crate::log::{AppendError, EventLog, ReadLogError};

/// Why an erasure that a crash left was not completed.
#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadLogError),
    /// The account's history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The tombstone's record cannot be read, or its successor not be made.
    #[error("its record is of another build: {0}")]
    Record(#[from] RecordError),
    /// As above.
    #[error("its event is of another build: {0}")]
    Event(#[from] EventError),
    /// The log did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The index did not take it.
    #[error(transparent)]
    Index(#[from] NotNext),
    /// The tombstone could not be renewed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Writer {
    /// Decides commands that have a batch each of their own.
    ///
    /// # Errors
    /// Those who wait for an answer, none of them told, when a commit failed.
    pub(super) fn decide_alone(&mut self, alone: Vec<Submission>) -> Result<(), Vec<ReplyTo>> {
        let mut alone = alone.into_iter();
        while let Some(submission) = alone.next() {
            let mut batch = Batch::after(self.log.head());
            self.take_now(submission, &mut batch);
            if let Err(mut waiting) = self.commit(batch) {
                waiting.extend(alone.map(|submission| submission.reply));
                return Err(waiting);
            }
        }
        Ok(())
    }

    /// Makes sure that an erasure is completed whatever happens from here on; any other batch is
    /// left as it is. The erasure is alone in its batch, so its record follows the durable log.
    ///
    /// # Errors
    /// [`VaultError`]: nothing was begun, and the batch must not be appended.
    pub(super) fn entomb(&self, batch: &Batch) -> Result<(), VaultError> {
        let (Some(entry), Some(bytes)) = (batch.entries.last(), batch.records.last()) else {
            return Ok(());
        };
        let Event::AccountErased(_) = entry.event else {
            return Ok(());
        };
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
        vault.entomb(&tombstone)?;
        vault.condemn(stream, tombstone.through);
        reached("tombstone-written");
        Ok(())
    }
}

/// Destroys at start every key that a tombstone names: what a crash left, what a restored
/// `keys.redb` brought back.
///
/// # Errors
/// [`VaultError`]: the service must not start.
pub(super) fn destroy_keys(vault: &Vault, tombstones: &[Tombstone]) -> Result<(), VaultError> {
    for tombstone in tombstones {
        let stream = StreamKey(tombstone.stream_key);
        if !vault.is_erased(stream, tombstone.through)? {
            vault.condemn(stream, tombstone.through);
        }
    }
    if vault.has_condemned() {
        vault.rewrite_keys()?;
        tracing::info!("data keys of erased accounts were destroyed");
    }
    Ok(())
}

/// Appends the erasures that have a tombstone and do not stand in the log.
///
/// # Errors
/// [`CompletionError`]: the service must not start.
pub(super) fn complete(
    log: &mut EventLog,
    index: &Index,
    accounts: &Accounts,
    vault: &Vault,
    tombstones: &[Tombstone],
    now: Micros,
) -> Result<(), CompletionError> {
    for tombstone in tombstones {
        let stands = log.reader().get(tombstone.position)?;
        if stands.is_some_and(|bytes| *bytes == *tombstone.record) {
            continue;
        }
        let account = accounts.rebuild(StreamKey(tombstone.stream_key), u32::MAX)?;
        if let Some(id) = &account.id {
            let position = log.head() + 1;
            let record = Record::decode(&tombstone.record)?;
            let is_next = tombstone.position == position && record.version == account.version + 1;
            let record = match is_next {
                true => record,
                false => anew(record, id, account.version + 1, now.max(index.tail().at))?,
            };
            let bytes = record.encode()?;
            if !is_next {
                vault.entomb(&Tombstone {
                    position,
                    record: bytes.clone(),
                    ..tombstone.clone()
                })?;
            }
            log.append(log.head(), std::slice::from_ref(&bytes))?;
            index.push(position, &record, &bytes, Some(Fact::Erased), now)?;
            tracing::info!(position, "an erasure that was cut short is recorded");
        }
    }
    Ok(())
}

/// The record of an erasure whose place in the log is lost, as after the restoration of an older
/// one: what was sealed for that place does not open at another.
fn anew(
    mut record: Record,
    id: &AccountId,
    version: u32,
    at: Micros,
) -> Result<Record, CompletionError> {
    record.version = version;
    record.recorded_at = at;
    record.meta.account_id = id.as_str().into();
    record.meta.source = None;
    record.payload = service::account_erased().encode()?;
    Ok(record)
}
