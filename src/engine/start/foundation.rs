//! The foundation of a start and of a new epoch: keyring, log, data keys and index, opened and
//! checked.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use countersign_schemas::event::{EPOCH_STARTED, Event, SCHEMAS_IN_FORCE};
use countersign_schemas::ids::{CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Record, StreamKind};
use countersign_schemas::time::Micros;

use super::erasures::{Erasures, sealed_name};
use super::error::StartError;
use super::forms;
use super::private::make_private;
use super::unsigned;
use super::unsigned::End;
use crate::crypto::data_keys::DataKeys;
use crate::crypto::key_file::CreateError;
use crate::crypto::keyring::Keyring;
use crate::crypto::tag_keys::TagKeys;
use crate::engine::data_folder::{index_file, keys_file, log_folder, tag_keys_file};
use crate::engine::entries::decode;
use crate::engine::entries::record;
use crate::engine::epochs::{Epoch, epoch_at};
use crate::engine::followers::indexer::UNDURABLE_ENTRIES_MAX;
use crate::engine::followers::projector::REPORT_EVERY;
use crate::engine::keys::vault::{Random, Vault, VaultError};
use crate::engine::origin::service_meta;
use crate::engine::writer::erasing;
use crate::engine::writer::facts::fact;
use crate::log::index::{Finding, Index};
use crate::log::{EventLog, LogOptions, LogReader, OpenLogError, Storage};

/// Page cache of `index.redb`.
const INDEX_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The label with which the key of the index is derived.
const INDEX_LABEL: &str = "index.redb";
/// The label with which it is derived while it is unknown which records the service wrote. No later
/// start trusts that index, whether this start succeeds or not.
const UNCHECKED_INDEX_LABEL: &str = "index.redb of an unchecked log";
/// The label with which the key of the snapshots is derived.
pub const SNAPSHOTS_LABEL: &str = "snapshots.redb";
/// The label with which the key of the views is derived.
pub const VIEWS_LABEL: &str = "views.redb";

/// Entries that a long catch-up gathers before it flushes them, some 60 MB: each flush rewrites
/// most pages of the file, and is durable, so that a crash does not restart the whole work.
const CATCH_UP_ENTRIES_MAX: usize = 262_144;

/// The log with its keys and its index, which is up to date.
pub struct Foundation {
    /// The log, open for appending.
    pub log: EventLog,
    /// Keyring and data keys.
    pub vault: Vault,
    /// The index: the positions of events.
    pub index: Arc<Index>,
    /// The log's epochs, the newest last.
    pub epochs: Vec<Epoch>,
    /// What proves the end of the log, as it was before this opening.
    pub end: End,
}

impl Foundation {
    // BUG: unsigned-end-cut: records behind the last checkpoint can be cut off unnoticed.
    /// Opens everything and checks that the parts belong together and each record follows from the
    /// one before.
    ///
    /// # Errors
    /// [`StartError`] with the reason; nothing was changed except repairs after an unclean stop.
    pub fn open(
        data: &Path,
        keyring_file: &Path,
        options: LogOptions,
        random: Random,
        now: Micros,
    ) -> Result<Self, StartError> {
        let keyring = Arc::new(Keyring::load(keyring_file)?);
        make_private(data);
        let folder = log_folder(data);
        let log = EventLog::open(&folder, options).map_err(|error| match error {
            OpenLogError::Missing(log) => StartError::LogMissing {
                keyring: keyring_file.into(),
                log,
            },
            other => StartError::Log(other),
        })?;
        let reader = log.reader();
        let first = epoch_at(&reader, 1);
        if first.is_none_or(|first| first.begun.log_id != *keyring.first_log_id()) {
            return Err(StartError::Foreign {
                log: folder,
                keyring: keyring_file.into(),
            });
        }
        let keys = DataKeys::open(&keys_file(data), Arc::clone(&keyring), false)?;
        let file = tag_keys_file(data);
        let tag_keys = TagKeys::read(&file, &keyring)
            .map_err(|source| VaultError::TagKeys(CreateError::Io { path: file, source }))?;
        let vault = Vault::new(keyring, keyring_file, keys, tag_keys, random)?;
        let end = unsigned::check(&reader, log.head(), &vault, data, keyring_file)?;
        erasing::condemn_entombed(&vault, &vault.tombstones()?).map_err(StartError::Erasure)?;
        let (index, epochs) = open_index(data, &log, &vault, end, now)?;
        Ok(Self {
            log,
            vault,
            index,
            epochs,
            end,
        })
    }

    /// Returns a reader of the log that compares every record with its leaf.
    pub fn reader(&self) -> LogReader {
        self.log.reader().checked_by(&self.index)
    }

    /// Returns the newest epoch.
    pub fn epoch(&self) -> &Epoch {
        self.epochs
            .last()
            .expect("a log whose first record is no epoch is not opened")
    }

    /// Appends an event of the service itself to the log's own stream, before the first command.
    ///
    /// # Errors
    /// [`StartError`] if the log does not accept it.
    pub fn append(&mut self, event: &Event, now: Micros) -> Result<(), StartError> {
        let at = now.max(self.index.tail().at);
        let version = self.index.version(&StreamKey::LOG)? + 1;
        let mut record = service_record(event, version, at);
        let head = self.log.head();
        let seals = self.vault.record_seals();
        let bytes = seals
            .encode(head + 1, &self.index.last_leaf(), &mut record)
            .map_err(|error| StartError::Record(error.to_string()))?;
        let position = self.log.append(head, std::slice::from_ref(&bytes))?;
        if let Event::EpochStarted(begun) = event {
            let begun = begun.clone();
            self.epochs.push(Epoch { position, begun });
        }
        let wrong = |why: String| StartError::Record(why);
        let entry = decode(position, &bytes).map_err(wrong)?;
        let fact = fact(&self.vault, &entry).map_err(|error| wrong(error.to_string()))?;
        self.index
            .push(position, &record, &bytes, fact, now)
            .map_err(|error| wrong(error.to_string()))
    }
}

/// Returns the event at a position that the index names.
pub(in crate::engine) fn recorded(reader: &LogReader, position: u64) -> Result<Event, StartError> {
    let event = record(reader, position).and_then(|record| record.event().ok());
    event.ok_or_else(|| gone(position))
}

fn gone(position: u64) -> StartError {
    StartError::Record(format!("the event at position {position} is gone"))
}

/// Opens the index, brings it up to date and reads the epochs. If the index has rows that the
/// service did not write, or names an event that is not in the log, it is rebuilt from the log,
/// once. After a refusal no later start trusts the index.
fn open_index(
    data: &Path,
    log: &EventLog,
    vault: &Vault,
    end: End,
    now: Micros,
) -> Result<(Arc<Index>, Vec<Epoch>), StartError> {
    let label = match end {
        End::Sealed(_) => INDEX_LABEL,
        End::Unchecked { .. } => UNCHECKED_INDEX_LABEL,
    };
    let key = vault.keyring().file_key(label);
    let open = || -> Result<_, StartError> {
        let plain = log.reader();
        let index = Arc::new(Index::open(
            &Storage::default(),
            &index_file(data),
            INDEX_CACHE_BYTES,
            &key,
            |position| record(&plain, position),
        )?);
        let reader = log.reader().checked_by(&index);
        Ok((index, reader))
    };
    let (index, reader) = open()?;
    let refused = match index.distrust_with(take_in(&index, &reader, vault, end, now)) {
        Ok(epochs) => return Ok((index, epochs)),
        Err(refused) => refused,
    };
    let is_of_the_log = named(&index, &reader, SCHEMAS_IN_FORCE).is_ok()
        && named(&index, &reader, EPOCH_STARTED).is_ok();
    if is_of_the_log && index.finding() != Some(Finding::Index) {
        return Err(refused);
    }
    tracing::warn!(
        %refused,
        "index.redb was changed by something other than this service, or is of another log; it is rebuilt from the log"
    );
    drop((index, reader));
    let (index, reader) = open()?;
    let epochs = index.distrust_with(take_in(&index, &reader, vault, end, now))?;
    Ok((index, epochs))
}

/// Returns the events of a type that the index names for every start.
///
/// # Errors
/// [`StartError::Record`] if the log has none at such a position.
fn named(
    index: &Index,
    reader: &LogReader,
    event_type: u16,
) -> Result<Vec<(u64, Event)>, StartError> {
    let positions = index.read_at_start(event_type)?.into_iter();
    let events = positions.map(|position| {
        let event = recorded(reader, position)?;
        match event.type_code() == event_type {
            true => Ok((position, event)),
            false => Err(gone(position)),
        }
    });
    events.collect()
}

fn take_in(
    index: &Index,
    reader: &LogReader,
    vault: &Vault,
    end: End,
    now: Micros,
) -> Result<Vec<Epoch>, StartError> {
    for (position, event) in named(index, reader, SCHEMAS_IN_FORCE)? {
        forms::check(position, &event)?;
    }
    catch_up(index, reader, vault, end, now)?;
    let begun = |(position, event)| match event {
        Event::EpochStarted(begun) => Some(Epoch { position, begun }),
        _ => None,
    };
    let epochs = named(index, reader, EPOCH_STARTED)?.into_iter();
    Ok(epochs.filter_map(begun).collect())
}

/// Brings the index up to the log's head: every new record must decode, and follow from the one
/// before.
fn catch_up(
    index: &Index,
    reader: &LogReader,
    vault: &Vault,
    end: End,
    now: Micros,
) -> Result<(), StartError> {
    let wrong = |why: String| StartError::Record(why);
    let flush = || index.flush(true, now, |position| record(reader, position));
    let mut erasures = Erasures::of(reader, vault);
    let mut reported_at = Instant::now();
    loop {
        let from = index.tail().position + 1;
        let page = reader
            .read(from, usize::MAX, usize::MAX)
            .map_err(|error| wrong(error.to_string()))?;
        if page.is_empty() {
            break;
        }
        for (position, bytes) in page.iter() {
            // These bytes, not those that a search for the position finds: a manipulated file can
            // return both.
            let is_unsigned = matches!(end, End::Sealed(signed) if position > signed);
            let is_sealed = |before| vault.record_seals().has_sealed(position, before, bytes);
            if is_unsigned && !is_sealed(&index.last_leaf()) {
                return Err(Finding::Appended { position }.into());
            }
            let entry = decode(position, bytes).map_err(wrong)?;
            forms::check(position, &entry.event)?;
            let fact = fact(vault, &entry).map_err(|error| {
                wrong(format!("the event at position {}: {error}", entry.position))
            })?;
            if fact.is_none()
                && let Some(name) = sealed_name(&entry.event)
            {
                erasures.check(&entry, name)?;
            }
            index
                .check_version(entry.position, &entry.record)
                .map_err(|error| wrong(error.to_string()))?;
            index
                .push(entry.position, &entry.record, bytes, fact, now)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if index.waiting() >= CATCH_UP_ENTRIES_MAX {
            flush()?;
        }
        if reported_at.elapsed() >= REPORT_EVERY {
            let (position, head) = (index.tail().position, reader.head());
            let percent = position * 100 / head.max(1);
            tracing::info!(position, head, percent, "the index catches up");
            reported_at = Instant::now();
        }
    }
    if index.waiting() as u64 >= UNDURABLE_ENTRIES_MAX {
        flush()?;
    }
    match index.is_whole() {
        true => Ok(()),
        false => Err(wrong(
            "its last command is recorded in part: restore the log from a backup".into(),
        )),
    }
}

/// Returns a record of the service itself, in the log's own stream.
pub fn service_record(event: &Event, version: u32, at: Micros) -> Record<'static> {
    let id = format!("{}-{version}", event.name());
    let command_id = CommandId::parse(&id).expect("an event name and a number are printable");
    Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Log,
        stream_key: StreamKey::LOG,
        version,
        recorded_at: at,
        // No caller has an empty name, so none can ask for this outcome.
        command_key: CommandKey::of("", &command_id),
        group_index: 0,
        group_len: 1,
        meta: service_meta(&command_id),
        payload: event
            .encode()
            .expect("the service's own events hold nothing sealed")
            .into(),
        seal: None,
    }
}

#[cfg(test)]
#[path = "refused_tests.rs"]
mod tests;
