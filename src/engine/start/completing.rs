//! Completes a rotation of the keys that a crash interrupted.

use countersign_schemas::time::Micros;

use super::error::StartError;
use super::foundation::Foundation;
use crate::account::service;
use crate::engine::keys::rotations::Recorded;

/// Records the rotations that the keyring has and the log does not.
///
/// # Errors
/// [`StartError::OldKeyring`] if the log has more than the keyring; another [`StartError`] if the
/// log cannot be read or appended to.
pub fn complete(found: &mut Foundation, now: Micros) -> Result<(), StartError> {
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
            tracing::info!(key_id, "an interrupted rotation is recorded");
        }
    }
    Ok(())
}
