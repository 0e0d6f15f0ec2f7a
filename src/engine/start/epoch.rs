//! Checkpoints and epochs: what the log must still hold, and the one way to continue if it does
//! not.
//!
//! ```text
//!   start ─▶ archive ─▶ the log is what was signed for ─▶ go on
//!               │
//!               └─▶ it is not ─▶ refuse, name position N
//!                                  │ log new-epoch --lost-from N --reason R
//!                                  ▼
//!            EpochStarted ─▶ keyring with its log id ─▶ first checkpoint under its origin
//! ```
//!
//! Each of the three steps is durable before the next, and a start is refused until all are done;
//! the same command, run again, continues where a crash stopped it.

use std::path::Path;

use countersign_schemas::time::Micros;

use super::error::{NewEpochError, StartError};
use super::foundation::Foundation;
use super::unsigned::End;
use crate::account::service;
use crate::crash_point::reached;
use crate::crypto::keyring::{Keyring, LOG_ID_BYTES};
use crate::crypto::note::{NoteSigner, origin};
use crate::engine::data_folder::{log_folder, snapshots_file};
use crate::engine::epochs::Epoch;
use crate::engine::followers::stream_witness;
use crate::engine::followers::stream_witness::Witness;
use crate::engine::keys::checkpoints::signer;
use crate::engine::keys::vault::system_random;
use crate::engine::record_seals::{RecordSeals, first_unsealed};
use crate::log::LogOptions;
use crate::log::LogReader;
use crate::log::checkpoints::{Archive, CheckpointRefusal};
use crate::log::index::Finding;
use std::{fs, io};

/// Returns the archive beside the keyring, once the log was checked against the signed checkpoints.
///
/// # Errors
/// [`StartError::Checkpoint`] if the log differs from them; [`StartError::EpochUnfinished`];
/// [`StartError::Foreign`] if the log is in an epoch that the keyring does not know; and those of
/// [`check_witness`].
pub fn archive(
    found: &Foundation,
    data: &Path,
    keyring_file: &Path,
) -> Result<Archive, StartError> {
    let keyring = found.vault.keyring();
    if let Some(lost_from) = unfinished(&keyring, found.epoch(), found.log.head(), keyring_file) {
        return Err(StartError::EpochUnfinished { lost_from });
    }
    let archive = Archive::open(keyring_file, signer(&keyring))?;
    let head = found.log.head();
    archive.check(head, |size| found.index.root_at(size))?;
    // An archive that is missing, or came back with an old keyring, proves nothing about the epoch.
    let log_id = found.epoch().begun.log_id;
    if log_id == *keyring.log_id() {
        // No seal was checked from that position on, whichever epoch the log claims to begin there.
        if let End::Unchecked { from } = found.end {
            return Err(Finding::Appended { position: from }.into());
        }
        check_witness(&found.reader(), &log_id, keyring_file)?;
        return Ok(archive);
    }
    if keyring.log_ids().any(|id| *id == log_id) {
        let path = archive.path().to_owned();
        return Err(CheckpointRefusal::Missing { path, head }.into());
    }
    Err(StartError::Foreign {
        log: log_folder(data),
        keyring: keyring_file.into(),
    })
}

/// Returns the first position that an unfinished new epoch gives up.
pub(super) fn unfinished(
    keyring: &Keyring,
    epoch: &Epoch,
    head: u64,
    keyring_file: &Path,
) -> Option<u64> {
    if epoch.position != head {
        return None;
    }
    let has_keyring = epoch.begun.log_id == *keyring.log_id();
    let is_signed = has_keyring
        && match Archive::open(keyring_file, signer(keyring)) {
            Err(CheckpointRefusal::OtherLog { found, .. }) => {
                !keyring.log_ids().any(|id| origin(id) == found)
            }
            Ok(_) | Err(_) => true,
        };
    let is_known = keyring.log_ids().any(|id| *id == epoch.begun.log_id);
    if (has_keyring && is_signed) || (!has_keyring && is_known) {
        None
    } else {
        epoch.begun.lost_from
    }
}

// BUG: vouched-off-after-loss: an account that began in the lost part is not known of.
/// Begins a new epoch of a log that has lost its events from `lost_from` on, and returns it.
///
/// Only for a stopped service, and for exactly the loss that its start names. The epoch is durable
/// when this returns. From then on every existing account waits for a reset, since the lost events
/// may have changed it.
///
/// # Errors
/// [`NewEpochError`] if nothing was lost, if the loss is another one than given, or for the reasons
/// that a start is refused.
pub fn new_epoch(
    data: &Path,
    keyring_file: &Path,
    lost_from: u64,
    reason: &str,
    now: Micros,
    options: LogOptions,
) -> Result<Epoch, NewEpochError> {
    let mut found = Foundation::open(data, keyring_file, options, system_random, now)?;
    let begun = begin_or_finish(&mut found, data, keyring_file, lost_from, reason, now);
    let epoch = found.index.distrust_with(begun)?;
    found.log.close().map_err(StartError::from)?;
    Ok(epoch)
}

fn begin_or_finish(
    found: &mut Foundation,
    data: &Path,
    keyring_file: &Path,
    lost_from: u64,
    reason: &str,
    now: Micros,
) -> Result<Epoch, NewEpochError> {
    let due = match archive(found, data, keyring_file) {
        Ok(_) => return Err(NewEpochError::NothingLost),
        Err(StartError::Checkpoint(refusal)) => match refusal.lost_from() {
            Some(due) => due,
            None => return Err(refusal.into()),
        },
        Err(
            StartError::EpochUnfinished { lost_from }
            | StartError::StreamKnowsMore { lost_from, .. },
        ) => lost_from,
        Err(other) => return Err(other.into()),
    };
    if due != lost_from {
        return Err(NewEpochError::OtherLoss { due });
    }
    let keyring = found.vault.keyring();
    let begun = unfinished(&keyring, found.epoch(), found.log.head(), keyring_file);
    check_prefix(found, data, keyring_file, begun)?;
    if begun.is_none() {
        append(found, data, lost_from, reason, now)?;
        reached("epoch-appended");
    }
    let epoch = found.epoch().clone();
    let mut keyring = Keyring::load(keyring_file).map_err(StartError::from)?;
    if *keyring.log_id() != epoch.begun.log_id {
        keyring = keyring.begin_epoch(keyring_file, epoch.begun.log_id)?;
        reached("epoch-keyring");
    }
    let (size, root) = found.index.tree_head().map_err(CheckpointRefusal::from)?;
    let mut archive = Archive::begin_epoch(keyring_file, signer(&keyring), size, &root)?;
    archive.keep_copy_in(data);
    Ok(epoch)
}

/// Checks everything that stays in the log, since the new epoch signs it: a checkpoint of this
/// epoch or of an earlier one must cover it, or each record must bear its seal. `begun` is the
/// first position that an interrupted new epoch gives up: the log may have changed since.
///
/// # Errors
/// [`Finding::Root`] if the log is no longer what was signed before the loss; [`Finding::Appended`]
/// with the first record that neither a checkpoint nor a seal proves.
fn check_prefix(
    found: &Foundation,
    data: &Path,
    keyring_file: &Path,
    begun: Option<u64>,
) -> Result<(), StartError> {
    let keyring = found.vault.keyring();
    let ends = match begun {
        None => *keyring.log_id(),
        Some(_) => {
            let before = found.epochs.iter().rev().nth(1);
            before.map_or(*keyring.log_id(), |epoch| epoch.begun.log_id)
        }
    };
    let head = found.log.head();
    let signer = |id| NoteSigner::new(keyring.checkpoint_seed(), id);
    let agreed_size = |archive: &Archive| {
        let agreed = archive.agreed_size(data, head, |size| found.index.root_at(size));
        agreed.map_err(CheckpointRefusal::from)
    };
    let archive = Archive::open(keyring_file, signer(&ends))?;
    let mut agreed = agreed_size(&archive)?;
    for id in keyring.log_ids() {
        let ended = Archive::of_ended(keyring_file, signer(id))?;
        agreed = agreed.max(agreed_size(&ended)?);
    }
    let sizes = archive.checkpoints().map(|signed| signed.size);
    let kept = sizes.filter(|size| begun.is_some_and(|lost_from| *size < lost_from));
    if let Some(size) = kept.max().filter(|size| *size > agreed) {
        return Err(Finding::Root { size }.into());
    }
    let seals: Vec<_> = keyring
        .log_ids()
        .map(|id| RecordSeals::of_epoch(&keyring, id))
        .collect();
    let seals: Vec<_> = seals.iter().collect();
    let unsealed = first_unsealed(&found.reader(), agreed, head, &seals);
    match unsealed.map_err(|error| StartError::Record(error.to_string()))? {
        Some(position) => Err(Finding::Appended { position }.into()),
        None => Ok(()),
    }
}

/// Appends the event that begins the epoch. Deletes the snapshots: they may contain effects of the
/// lost events.
fn append(
    found: &mut Foundation,
    data: &Path,
    lost_from: u64,
    reason: &str,
    now: Micros,
) -> Result<(), NewEpochError> {
    match std::fs::remove_file(snapshots_file(data)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(NewEpochError::Snapshots(error));
        }
        _ => {}
    }
    let mut log_id = [0; LOG_ID_BYTES];
    if !system_random(&mut log_id) {
        return Err(NewEpochError::Entropy);
    }
    let number = found.vault.keyring().log_ids().count() as u32 + 1;
    let at = now.max(found.index.tail().at);
    let event = service::log_went_on(number, log_id, lost_from, at, reason);
    Ok(found.append(&event, now)?)
}

/// Refuses a log that lacks an event known from its stream, unless a new epoch gave that event up.
///
/// # Errors
/// [`StartError::StreamKnowsMore`] with the event, and [`StartError::Witness`] if the file cannot
/// be read.
pub(super) fn check_witness(
    log: &LogReader,
    log_id: &[u8],
    keyring_file: &Path,
) -> Result<(), StartError> {
    let path = stream_witness::path(keyring_file);
    let unreadable = |reason: String| StartError::Witness {
        path: path.clone(),
        reason,
    };
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| unreadable(error.to_string()))?,
    };
    let witness: Witness =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if witness.log_id != data_encoding::HEXLOWER.encode(log_id) {
        return Ok(());
    }
    if stream_witness::has(log, &witness.event).map_err(StartError::Record)? {
        Ok(())
    } else {
        Err(StartError::StreamKnowsMore {
            published: witness.event.position,
            lost_from: witness.lost_from,
        })
    }
}
