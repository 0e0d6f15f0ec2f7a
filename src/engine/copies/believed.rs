//! Which erasures in a stopped service's log are believed: only those in records that the service
//! wrote.
//!
//! An attacker who can write the data folder can append to its log. The records before a checkpoint
//! that is beside the keyring and fits the log are covered by it; each record after it needs its
//! seal.

use std::path::Path;

use crate::crypto::keyring::Keyring;
use crate::crypto::note::NoteSigner;
use crate::crypto::tombstones::Tombstones;
use crate::engine::erased;
use crate::engine::erased::Known;
use crate::engine::record_seals::{RecordSeals, first_unsealed};
use crate::log::LogReader;
use crate::log::checkpoints::Archive;
use crate::log::hashes::TileError;
use crate::log::tree::Hash;

/// Returns the erasures that the log of a data folder, or a tombstone beside the keyring, proves.
///
/// # Errors
/// A sentence if log or tombstones cannot be read.
pub(super) fn proven_erasures(
    reader: &LogReader,
    data: &Path,
    keyring_file: &Path,
    keyring: &Keyring,
    root_at: &dyn Fn(u64) -> Result<Hash, String>,
) -> Result<Known, String> {
    let tombstones = Tombstones::beside(keyring_file).list();
    let tombstones = tombstones.map_err(|error| error.to_string())?;
    let last = believed_through(reader, data, keyring_file, keyring, root_at)?;
    erased::read(reader, last, &tombstones)
}

fn believed_through(
    reader: &LogReader,
    data: &Path,
    keyring_file: &Path,
    keyring: &Keyring,
    root_at: &dyn Fn(u64) -> Result<Hash, String>,
) -> Result<u64, String> {
    let head = reader.head();
    let signer = |id| NoteSigner::new(keyring.checkpoint_seed(), id);
    let ended = keyring
        .log_ids()
        .map(|id| Archive::of_ended(keyring_file, signer(id)));
    let now = Archive::open(keyring_file, signer(keyring.log_id()));
    let mut agreed = 0;
    // An archive that cannot be read proves nothing.
    for archive in ended.chain([now]).flatten() {
        let size = archive.agreed_size(data, head, |size| {
            root_at(size).map_err(|reason| TileError {
                level: 0,
                index: 0,
                first: 0,
                reason,
            })
        });
        agreed = agreed.max(size.map_err(|error| error.reason)?);
    }
    let seals: Vec<_> = keyring
        .log_ids()
        .map(|id| RecordSeals::of_epoch(keyring, id))
        .collect();
    let seals: Vec<_> = seals.iter().collect();
    let unsealed = first_unsealed(reader, agreed, head, &seals);
    let unsealed = unsealed.map_err(|error| error.to_string())?;
    Ok(unsealed.map_or(head, |position| position - 1))
}
