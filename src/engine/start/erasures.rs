//! What log and tombstones say was erased.
//!
//! The key store says so too, but who can write the data folder can write that there. A name that
//! an erasure freed is left out of the index; left out on the key store's word alone, it would be
//! free for somebody else while its account lives.

use std::collections::HashMap;

use countersign_projections::Entry;
use countersign_schemas::event::{ACCOUNT_ERASED, Event};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;

use super::error::StartError;
use crate::crypto::tombstones::Tombstone;
use crate::engine::Shared;
use crate::engine::accounts::{Accounts, HistoryError};
use crate::engine::followers::projector::decode;
use crate::engine::keys::vault::Vault;
use crate::log::LogReader;
use crate::log::index::Index;

/// The erasures of accounts.
pub(super) struct Erasures<'a> {
    reader: &'a LogReader,
    vault: &'a Vault,
    /// Read when they are first asked for: most logs have no name without a key.
    known: Option<Known>,
}

/// What speaks for an erasure, by account.
pub(in crate::engine) struct Known {
    /// The position of its last erasure in the log.
    recorded: HashMap<StreamKey, u64>,
    /// The number of the data key of the life after that one, where anything of it is sealed.
    living: HashMap<StreamKey, u32>,
    /// The last generation of data keys that a tombstone destroys. Not its position: a log that
    /// lost the erasure goes on, and a later life may stand below it.
    through: HashMap<StreamKey, u32>,
}

impl Known {
    /// Whether log or tombstones say that an account's key of this generation was erased.
    pub fn says(&self, stream: StreamKey, generation: u32) -> bool {
        let living = self.living.get(&stream);
        let is_recorded = self.recorded.contains_key(&stream);
        (is_recorded && living.is_none_or(|living| generation < *living))
            || self.through.get(&stream).is_some_and(|t| generation <= *t)
    }
}

/// The present life of an account id, as the log has it.
#[derive(Debug, Default)]
pub(in crate::engine) struct Life {
    /// Whether an erasure ended an earlier one.
    has_earlier: bool,
    /// When it began; none where the last one was erased and nothing came since.
    pub since: Option<Micros>,
    /// The number of its data key: each life has its own. None where nothing of it is sealed.
    pub generation: Option<u32>,
}

impl Life {
    /// Reads an account's events up to a version.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn of(
        index: &Index,
        accounts: &Accounts,
        stream: StreamKey,
        version: u32,
    ) -> Result<Self, HistoryError> {
        let mut life = Self::default();
        for position in index.positions(&stream, 0, version)? {
            let record = accounts.record(position)?;
            let event = record.event();
            let mut event = event.map_err(|error| HistoryError::at(position, error))?;
            life = match event {
                Event::AccountErased(_) => Self {
                    has_earlier: true,
                    ..Self::default()
                },
                _ => Self {
                    since: life.since.or(Some(record.recorded_at)),
                    generation: life.generation.or_else(|| sealed_by(&record, &mut event)),
                    ..life
                },
            };
        }
        Ok(life)
    }
}

/// The number of the account's data key that a record needs, where it needs one.
fn sealed_by(record: &Record, event: &mut Event) -> Option<u32> {
    let field = |(_, value): (_, &mut Protected)| match value {
        Protected::Sealed(sealed) => Some(sealed.key),
        Protected::Clear(_) => None,
    };
    let sealed = event.protected().into_iter().find_map(field);
    sealed.or_else(|| record.meta.source.as_ref().map(|source| source.key))
}

/// Whether the log of a running service, or a tombstone of it, says that an account's key of this
/// generation was erased.
///
/// # Errors
/// Why it cannot be read.
pub(in crate::engine) fn says(
    shared: &Shared,
    stream: StreamKey,
    generation: u32,
) -> Result<bool, String> {
    let life = Life::of(&shared.index, &shared.accounts, stream, u32::MAX);
    let life = life.map_err(|error| error.to_string())?;
    if life.has_earlier && life.generation.is_none_or(|living| generation < living) {
        return Ok(true);
    }
    let tombstones = shared.vault.tombstones();
    let tombstones = tombstones.map_err(|error| error.to_string())?;
    let names = |t: &Tombstone| t.stream_key == stream.0 && generation <= t.through;
    Ok(tombstones.iter().any(names))
}

/// The sealed name that an event gives an account.
pub(super) fn sealed_name(event: &Event) -> Option<&Sealed<'static>> {
    match event {
        Event::AccountRegistered(e) => match &e.username {
            Some(Protected::Sealed(name)) => Some(name),
            Some(Protected::Clear(_)) | None => None,
        },
        _ => None,
    }
}

impl<'a> Erasures<'a> {
    /// Reads nothing yet.
    pub fn of(reader: &'a LogReader, vault: &'a Vault) -> Self {
        Self {
            reader,
            vault,
            known: None,
        }
    }

    /// Checks that an account whose key is said to be destroyed was erased after this event, which
    /// gave it a name.
    ///
    /// # Errors
    /// [`StartError::KeyStoreErased`] where it was not; [`StartError::Tombstones`] and
    /// [`StartError::Record`] where tombstones or log cannot be read.
    pub fn check(&mut self, entry: &Entry, name: &Sealed) -> Result<(), StartError> {
        let known = match &mut self.known {
            Some(known) => known,
            unread => unread.insert(read(self.reader, &self.vault.tombstones()?)?),
        };
        let (stream, position) = (entry.record.stream_key, entry.position);
        let is_recorded = known.recorded.get(&stream).is_some_and(|at| *at > position);
        let is_condemned = known.through.get(&stream).is_some_and(|t| name.key <= *t);
        if is_recorded || is_condemned {
            return Ok(());
        }
        Err(StartError::KeyStoreErased { position })
    }
}

/// Takes over the marks of erasure of an older build, which nothing proved, where log or
/// tombstones say the same. The log is read for that once.
///
/// # Errors
/// [`StartError::DataKeys`] where neither does, [`StartError::Record`] where the log cannot be
/// read.
pub(super) fn adopt(
    vault: &Vault,
    reader: &LogReader,
    tombstones: &[Tombstone],
) -> Result<(), StartError> {
    let mut known = None;
    vault.data_keys().adopt_erasures(|stream, through| {
        let known = match &mut known {
            Some(known) => known,
            unread => unread.insert(read(reader, tombstones)?),
        };
        Ok::<_, StartError>(known.says(StreamKey(*stream), through))
    })
}

/// The erasures of the log, and those that a crash cut short, whose tombstones are there.
///
/// # Errors
/// [`StartError::Record`] where the log cannot be read.
pub(in crate::engine) fn read(
    reader: &LogReader,
    tombstones: &[Tombstone],
) -> Result<Known, StartError> {
    let mut through = HashMap::new();
    for tombstone in tombstones {
        let known: &mut u32 = through.entry(StreamKey(tombstone.stream_key)).or_default();
        *known = tombstone.through.max(*known);
    }
    let (mut recorded, mut living) = (HashMap::new(), HashMap::new());
    let wrong = |why: String| StartError::Record(why);
    let mut next = 1;
    loop {
        let page = reader
            .read(next, usize::MAX, usize::MAX)
            .map_err(|error| wrong(error.to_string()))?;
        if page.is_empty() {
            return Ok(Known {
                recorded,
                living,
                through,
            });
        }
        for (position, bytes) in page.iter() {
            let mut entry = decode(position, bytes).map_err(wrong)?;
            let stream = entry.record.stream_key;
            if entry.event.type_code() == ACCOUNT_ERASED {
                recorded.insert(stream, position);
                living.remove(&stream);
            } else if recorded.contains_key(&stream)
                && !living.contains_key(&stream)
                && let Some(generation) = sealed_by(&entry.record, &mut entry.event)
            {
                living.insert(stream, generation);
            }
        }
        next = page.next();
    }
}
