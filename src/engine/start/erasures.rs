//! What log and tombstones say was erased.
//!
//! The key store says so too, but who can write the data folder can write that there. A name that
//! an erasure freed is left out of the index; left out on the key store's word alone, it would be
//! free for somebody else while its account lives.

use std::collections::HashMap;

use countersign_projections::Entry;
use countersign_schemas::event::{ACCOUNT_ERASED, Event};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::sealed::{Protected, Sealed};

use super::error::StartError;
use crate::engine::entries::decode;
use crate::engine::keys::vault::Vault;
use crate::log::LogReader;

/// The erasures of accounts.
pub(super) struct Erasures<'a> {
    reader: &'a LogReader,
    vault: &'a Vault,
    /// Read when they are first asked for: most logs have no name without a key.
    known: Option<Known>,
}

/// What speaks for an erasure, by account.
struct Known {
    /// The position of its last erasure in the log.
    recorded: HashMap<StreamKey, u64>,
    /// The last generation of data keys that a tombstone destroys. Not its position: a log that
    /// lost the erasure goes on, and a later life may stand below it.
    through: HashMap<StreamKey, u32>,
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
            unread => unread.insert(read(self.reader, self.vault)?),
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

/// The erasures of the log, and those that a crash cut short, whose tombstones are there.
fn read(reader: &LogReader, vault: &Vault) -> Result<Known, StartError> {
    let mut through = HashMap::new();
    for tombstone in vault.tombstones()? {
        let known: &mut u32 = through.entry(StreamKey(tombstone.stream_key)).or_default();
        *known = tombstone.through.max(*known);
    }
    let mut recorded = HashMap::new();
    let wrong = |why: String| StartError::Record(why);
    let mut next = 1;
    loop {
        let page = reader
            .read(next, usize::MAX, usize::MAX)
            .map_err(|error| wrong(error.to_string()))?;
        if page.is_empty() {
            return Ok(Known { recorded, through });
        }
        for (position, bytes) in page.iter() {
            let entry = decode(position, bytes).map_err(wrong)?;
            if entry.event.type_code() == ACCOUNT_ERASED {
                recorded.insert(entry.record.stream_key, position);
            }
        }
        next = page.next();
    }
}
