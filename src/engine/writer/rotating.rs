//! Rotating the keys that protect keys, and completing at start what a crash left of it.
//!
//! ```text
//!   keyring file, durably ─▶ KeysRotated in the log ─▶ reply
//!   (writer)                 (writer, commit)           │ in the background
//!                                                       ▼
//!              keys.redb rewritten under the new key ─▶ DataKeysRewrapped in the log
//!              (keeper)                                 (writer, commit)
//! ```
//! The numbers of keys count rotations, so the keyring and the counts of both events say together
//! how far the last one came.

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;

use super::Writer;
use super::batch::Batch;
use crate::account::service;
use crate::crash_point::reached;
use crate::engine::Shared;
use crate::engine::intake::subject::unavailable;
use crate::engine::keys::vault::VaultError;
use crate::engine::start::error::StartError;
use crate::engine::start::foundation::Foundation;
use crate::log::index::{Index, IndexError};

/// How many rotations are recorded, and how many are recorded as done.
struct Recorded {
    begun: u64,
    done: u64,
}

impl Recorded {
    fn of(index: &Index) -> Result<Self, IndexError> {
        let counts = index.counts()?;
        let of = |example: &Event| counts.get(&example.type_code()).map_or(0, |(n, _)| *n);
        Ok(Self {
            begun: of(&service::keys_rotated(0)),
            done: of(&service::data_keys_rewrapped(0, 0)),
        })
    }
}

/// Whether a rotation is recorded whose end is not.
///
/// # Errors
/// [`IndexError`] when the index cannot be read.
pub fn is_under_way(index: &Index) -> Result<bool, IndexError> {
    let recorded = Recorded::of(index)?;
    Ok(recorded.done < recorded.begun)
}

/// The number that a rotation would give to its keys; none for other commands, and while the last
/// rotation is under way.
///
/// # Errors
/// `store.unavailable` when the index cannot be read.
pub fn next_key_id(shared: &Shared, command: &Command) -> Result<Option<u32>, ErrorCode> {
    let Command::RotateKeys(_) = command else {
        return Ok(None);
    };
    let busy = is_under_way(&shared.index).map_err(|error| unavailable(&error))?;
    Ok((!busy).then(|| shared.vault.keyring().next_id()))
}

impl Writer {
    /// Brings the keys of a rotation into use; any other batch is left as it is. The rotation is
    /// alone in its batch.
    ///
    /// # Errors
    /// [`VaultError`]: nothing was begun, and the batch must not be appended.
    pub(super) fn rotate(&self, batch: &Batch) -> Result<(), VaultError> {
        let Some(entry) = batch.entries.last() else {
            return Ok(());
        };
        let Event::KeysRotated(rotated) = &entry.event else {
            return Ok(());
        };
        // Nothing may be staged: the log's own first data key, perhaps, which seals the reason.
        self.shared.vault.commit_keys()?;
        reached("keyring-unrotated");
        self.shared
            .vault
            .rotate(rotated.key_id, entry.record.recorded_at)?;
        reached("keyring-rotated");
        // By the wall clock, which ages them: log time may be ahead of it.
        if let Err(error) = self.shared.vault.tend_tag_keys(self.shared.now()) {
            tracing::error!(%error, "the tag keys are still wrapped by the key before; it is tried again");
        }
        tracing::info!(
            key_id = rotated.key_id,
            "the keys are rotated: copy the keyring file again, older copies do not open what is sealed from now on"
        );
        Ok(())
    }

    /// Records the end of a rotation, once.
    pub(super) fn record_rewrapped(&mut self, key_id: u32, count: u64, batch: &mut Batch) {
        let told = batch
            .entries
            .iter()
            .any(|entry| matches!(entry.event, Event::DataKeysRewrapped(_)));
        match is_under_way(&self.shared.index) {
            Ok(true) if !told => {
                self.record_own(service::data_keys_rewrapped(key_id, count), None, batch);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the end of a rotation is not recorded yet"),
        }
    }
}

/// Records the rotations that the keyring went through and the log does not have.
///
/// # Errors
/// [`StartError::OldKeyring`] when the log has more than the keyring; others when it does not take
/// them.
pub(in crate::engine) fn complete(found: &mut Foundation, now: Micros) -> Result<(), StartError> {
    let active = found.vault.keyring().active_kek().0;
    let recorded = Recorded::of(&found.index)?.begun;
    if recorded >= u64::from(active) {
        return Err(StartError::OldKeyring {
            in_log: recorded,
            in_keyring: active - 1,
        });
    }
    for key_id in 2..=active {
        if u64::from(key_id) > recorded + 1 {
            found.append(&service::keys_rotated(key_id), now)?;
            tracing::info!(key_id, "a rotation that was cut short is recorded");
        }
    }
    Ok(())
}
