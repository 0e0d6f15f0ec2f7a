//! What log and tombstones say was erased.
//!
//! The key store says so too, but who can write the data folder can write that there. A name that
//! an erasure freed is left out of the index; left out on the key store's word alone, it would be
//! free for somebody else while its account lives.

use countersign_projections::Entry;
use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::sealed::{Protected, Sealed};

use super::error::StartError;
use crate::crypto::tombstones::Tombstone;
use crate::engine::erased::{Known, read};
use crate::engine::keys::vault::Vault;
use crate::log::LogReader;

/// The erasures of accounts.
pub(super) struct Erasures<'a> {
    reader: &'a LogReader,
    vault: &'a Vault,
    /// Read when they are first asked for: most logs have no name without a key.
    known: Option<Known>,
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
            unread => unread
                .insert(read(self.reader, &self.vault.tombstones()?).map_err(StartError::Record)?),
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
            unread => unread.insert(read(reader, tombstones).map_err(StartError::Record)?),
        };
        Ok::<_, StartError>(known.says(StreamKey(*stream), through))
    })
}
