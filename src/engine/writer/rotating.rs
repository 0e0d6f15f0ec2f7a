//! Rotating the keys that protect keys; the next start completes a rotation that a crash
//! interrupted.
//!
//! ```text
//!   keyring file, durably ─▶ KeysRotated in the log ─▶ reply
//!   (writer)                 (writer, commit)           │ in the background
//!                                                       ▼
//!              keys.redb rewritten under the new key ─▶ DataKeysRewrapped in the log
//!              (key rewriter)                           (writer, commit)
//! ```
//! The numbers of keys count rotations, so the keyring and the counts of both events show together
//! how far the last rotation is.

use countersign_schemas::event::Event;
use countersign_schemas::time::Micros;

use super::Writer;
use super::batch::Batch;
use crate::account::service;
use crate::crash_point::reached;
use crate::engine::keys::rotations::is_under_way;
use crate::engine::keys::vault::VaultError;

impl Writer {
    /// Brings the keys of a rotation into use. The rotation is alone in its batch.
    ///
    /// # Errors
    /// [`VaultError`]: nothing was begun, and the batch must not be appended.
    pub(super) fn rotate(&self, key_id: u32, recorded_at: Micros) -> Result<(), VaultError> {
        // Nothing may be staged, not even the log's own first data key, which seals the reason.
        self.shared.vault.commit_keys()?;
        reached("keyring-unrotated");
        self.shared.vault.rotate(key_id, recorded_at)?;
        reached("keyring-rotated");
        // By the wall clock, which determines their age: log time may be ahead of it.
        if let Err(error) = self.shared.vault.tend_tag_keys(self.shared.now()) {
            tracing::error!(%error, "the tag keys are still wrapped by the old key; the service tries again");
        }
        tracing::info!(
            key_id,
            "the keys are rotated: copy the keyring folder again, older copies do not open what is sealed from now on"
        );
        Ok(())
    }

    /// Records the end of a rotation, once.
    pub(super) fn record_rewrapped(&mut self, key_id: u32, count: u64, batch: &mut Batch) {
        let is_recorded = batch
            .entries
            .iter()
            .any(|entry| matches!(entry.event, Event::DataKeysRewrapped(_)));
        match is_under_way(&self.shared.index) {
            Ok(true) if !is_recorded => {
                self.record_own(service::data_keys_rewrapped(key_id, count), None, batch);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the end of a rotation is not recorded yet"),
        }
    }
}
