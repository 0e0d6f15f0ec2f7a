//! Which erasures the log and the tombstones prove.
//!
//! The key store marks erasures too, but an attacker who can write the data folder can write such a
//! mark. A name that an erasure freed is left out of the index; if the key store's mark alone were
//! enough, another user could take the name while its account lives.

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
    /// Read when first needed: most logs have no name without a key.
    known: Option<Known>,
}

/// Returns the sealed name that an event gives an account.
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
    /// Prepares the checks without reading anything yet.
    pub fn of(reader: &'a LogReader, vault: &'a Vault) -> Self {
        Self {
            reader,
            vault,
            known: None,
        }
    }

    /// Checks that an account whose key is marked as destroyed was erased after this event, which
    /// gave it a name.
    ///
    /// # Errors
    /// [`StartError::KeyStoreErased`] if it was not; [`StartError::Tombstones`] and
    /// [`StartError::Record`] if tombstones or log cannot be read.
    pub fn check(&mut self, entry: &Entry, name: &Sealed) -> Result<(), StartError> {
        let known = match &mut self.known {
            Some(known) => known,
            unread => {
                let (head, tombstones) = (self.reader.head(), self.vault.tombstones()?);
                unread.insert(read(self.reader, head, &tombstones).map_err(StartError::Record)?)
            }
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

/// Destroys the keys that wait for it: those left by a crash, and those that a restored `keys.redb`
/// brought back. Only for a log that was checked against the signed checkpoints, since a destroyed
/// key cannot be restored.
///
/// # Errors
/// [`StartError::DataKeys`] for a key that is beside its mark while neither tombstones nor log
/// prove its erasure; [`StartError::Tombstones`] and [`StartError::Record`] if they cannot be read;
/// [`StartError::Erasure`] if the key store cannot be written.
pub(super) fn destroy_keys(vault: &Vault, reader: &LogReader) -> Result<(), StartError> {
    let condemned = vault.data_keys().condemned_keys();
    if condemned.is_empty() {
        return Ok(());
    }
    let tombstones = vault.tombstones()?;
    let mut known = None;
    for (stream, through) in condemned {
        let names = |t: &Tombstone| t.stream_key == stream && through <= t.through;
        if tombstones.iter().any(names) {
            continue;
        }
        let known = match &mut known {
            Some(known) => known,
            unread => {
                let head = reader.head();
                unread.insert(read(reader, head, &tombstones).map_err(StartError::Record)?)
            }
        };
        if !known.says(StreamKey(stream), through) {
            return Err(vault.data_keys().unproven().into());
        }
    }
    vault.rewrite_keys().map_err(StartError::Erasure)?;
    tracing::info!("data keys of erased accounts were destroyed");
    Ok(())
}
