//! The end of the log that no checkpoint covers: the service itself must have written it.

use std::path::Path;

use super::error::StartError;
use crate::engine::epochs::epoch_at;
use crate::engine::keys::checkpoints::signer;
use crate::engine::keys::vault::Vault;
use crate::engine::record_seals::first_unsealed;
use crate::log::LogReader;
use crate::log::checkpoints::Archive;
use crate::log::index::Finding;
use crate::log::tree::{Frontier, leaf_hash};

/// What proves the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A checkpoint of this size and, after it, the seals: the index accepts sealed records only.
    Sealed(u64),
    /// Nothing, from this position on: there is no checkpoint of this epoch, or another epoch seems
    /// to begin there. The start is refused later with a better message, and never signs.
    Unchecked {
        /// The first unproven record.
        from: u64,
    },
}

/// Checks the records after the last signed checkpoint: the service itself must have written each
/// of them at its position. This comes before the index takes any of them, since a record refused
/// later would remain in the index and be signed.
///
/// The archive beside the keyring may be older than the records that an older build did not seal.
/// Then the copy of the newest note in the data folder replaces it, if it was signed for this log.
///
/// # Errors
/// [`Finding::Appended`] with the first record that the service did not write;
/// [`StartError::Record`] if one cannot be read; [`StartError::Checkpoint`] if the archive cannot
/// be written.
pub(super) fn check(
    reader: &LogReader,
    head: u64,
    vault: &Vault,
    data: &Path,
    keyring_file: &Path,
) -> Result<End, StartError> {
    let keyring = vault.keyring();
    let archive = Archive::open(keyring_file, signer(&keyring)).ok();
    let newest = |archive: &Archive| archive.newest().map(|newest| newest.size);
    let Some((mut archive, mut signed)) =
        archive.and_then(|archive| newest(&archive).map(|size| (archive, size)))
    else {
        return Ok(End::Unchecked { from: 1 });
    };
    let seals = [vault.record_seals()];
    let first_unsealed = |signed| {
        let unsealed = first_unsealed(reader, signed, head, &seals);
        unsealed.map_err(|error| StartError::Record(error.to_string()))
    };
    let mut unsealed = first_unsealed(signed)?;
    if unsealed.is_some()
        && let Some(size) = adopt_copy(&mut archive, reader, head, data)?
    {
        signed = size;
        unsealed = first_unsealed(signed)?;
    }
    let Some(position) = unsealed else {
        return Ok(End::Sealed(signed));
    };
    // This only chooses the message of the refusal: in a manipulated file, a search can find an
    // event that no page holds.
    let is_of_another =
        |at| epoch_at(reader, at).is_some_and(|epoch| epoch.begun.log_id != *keyring.log_id());
    // The event that begins an epoch is sealed by the epoch before: an unsealed one excuses
    // nothing.
    match (signed + 1..position).any(is_of_another) {
        true => Ok(End::Unchecked { from: position }),
        false => Err(Finding::Appended { position }.into()),
    }
}

/// Archives the copy of the newest note in the data folder if it is newer than the archived one and
/// both cover the first records of this log; returns its size.
fn adopt_copy(
    archive: &mut Archive,
    reader: &LogReader,
    head: u64,
    data: &Path,
) -> Result<Option<u64>, StartError> {
    let (Some(copy), Some(newest)) = (archive.copy_in(data), archive.newest()) else {
        return Ok(None);
    };
    let sizes = newest.size + 1..=head;
    if !sizes.contains(&copy.checkpoint.size) {
        return Ok(None);
    }
    // From the log itself: the index may not be open yet, and would keep the records that it took.
    let mut frontier = Frontier::default();
    let mut agrees = true;
    while frontier.size() < copy.checkpoint.size && agrees {
        let page = reader
            .read(frontier.size() + 1, usize::MAX, usize::MAX)
            .map_err(|error| StartError::Record(error.to_string()))?;
        for (_, bytes) in page.iter() {
            frontier.append(leaf_hash(bytes));
            for signed in [newest, &copy.checkpoint] {
                agrees &= signed.size != frontier.size() || signed.root == frontier.root();
            }
        }
    }
    if !agrees {
        return Ok(None);
    }
    let size = copy.checkpoint.size;
    archive.adopt(copy)?;
    tracing::warn!(
        size,
        "the checkpoints beside the keyring were older than the copy in the data folder, which was signed for this log: it is archived again"
    );
    Ok(Some(size))
}
