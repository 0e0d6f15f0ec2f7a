//! What log and tombstones say was erased.
//!
//! The key store says so too, but who can write the data folder can write that there. A name that an
//! erasure freed is left out of the index; left out on the key store's word alone, it would be free
//! for somebody else while its account lives.

use std::collections::HashMap;

use countersign_projections::Entry;
use countersign_schemas::event::{ACCOUNT_ERASED, Event};
use countersign_schemas::ids::StreamKey;

use super::projector::decode;
use super::start_error::StartError;
use super::vault::Vault;
use crate::log::LogReader;

/// The erasures of accounts, with the last position of each.
pub(super) struct Erasures<'a> {
    reader: &'a LogReader,
    vault: &'a Vault,
    /// Read when they are first asked for: most logs have no name without a key.
    last: Option<HashMap<StreamKey, u64>>,
}

/// Whether an event gives an account its name.
pub(super) fn names_an_account(event: &Event) -> bool {
    match event {
        Event::AccountRegistered(e) => e.username.is_some(),
        _ => false,
    }
}

impl<'a> Erasures<'a> {
    /// Reads nothing yet.
    pub fn of(reader: &'a LogReader, vault: &'a Vault) -> Self {
        Self {
            reader,
            vault,
            last: None,
        }
    }

    /// Checks that an account whose key is said to be destroyed was erased after this event of it.
    ///
    /// # Errors
    /// [`StartError::KeyStoreErased`] where it was not; [`StartError::Erasure`] and
    /// [`StartError::Record`] where tombstones or log cannot be read.
    pub fn check(&mut self, entry: &Entry) -> Result<(), StartError> {
        let last = match &mut self.last {
            Some(last) => last,
            unread => unread.insert(read(self.reader, self.vault)?),
        };
        let position = entry.position;
        match last.get(&entry.record.stream_key) {
            Some(erased) if *erased > position => Ok(()),
            _ => Err(StartError::KeyStoreErased { position }),
        }
    }
}

/// The erasures of the log, and those that a crash cut short: a tombstone holds the record that is to
/// follow it.
fn read(reader: &LogReader, vault: &Vault) -> Result<HashMap<StreamKey, u64>, StartError> {
    let tombstones = vault.tombstones()?;
    let mut last: HashMap<_, _> = tombstones
        .iter()
        .map(|tombstone| (StreamKey(tombstone.stream_key), tombstone.position))
        .collect();
    let wrong = |why: String| StartError::Record(why);
    let mut next = 1;
    loop {
        let page = reader
            .read(next, usize::MAX, usize::MAX)
            .map_err(|error| wrong(error.to_string()))?;
        if page.is_empty() {
            return Ok(last);
        }
        for (position, bytes) in page.iter() {
            let entry = decode(position, bytes).map_err(wrong)?;
            if entry.event.type_code() == ACCOUNT_ERASED {
                let erased = last.entry(entry.record.stream_key).or_default();
                *erased = position.max(*erased);
            }
        }
        next = page.next();
    }
}
