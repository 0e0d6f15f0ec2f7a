//! What a crash left of a rotation of the keys, completed.

use countersign_schemas::time::Micros;

use super::error::StartError;
use super::foundation::Foundation;
use crate::account::service;
use crate::engine::keys::rotations::Recorded;

/// Records the rotations that the keyring went through and the log does not have.
///
/// # Errors
/// [`StartError::OldKeyring`] when the log has more than the keyring; others when it does not take
/// them.
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
            tracing::info!(key_id, "a rotation that was cut short is recorded");
        }
    }
    Ok(())
}
