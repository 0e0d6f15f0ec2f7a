//! The secrets in answers that may be repeated, sealed while this process runs.

use countersign_schemas::ids::CommandKey;
use countersign_schemas::sealed::Sealed;
use zeroize::Zeroizing;

use super::{Vault, VaultError};
use crate::crypto::seal::{DataKey, open, seal};
use crate::crypto::tag::derived_key;

/// The label with which the key of kept secrets is derived from the process's key.
const KEPT_LABEL: &[u8] = b"countersign kept outcome v1";
/// The key has no generations: it ends with the process.
const GENERATION: u32 = 0;

impl Vault {
    /// Seals the secrets in a command's answer, which its repeat may receive again.
    ///
    /// # Errors
    /// [`VaultError::Entropy`] if the generator fails.
    pub fn seal_kept(
        &self,
        command: &CommandKey,
        secret: &[u8],
    ) -> Result<Sealed<'static>, VaultError> {
        let nonce = self.random()?;
        Ok(seal(
            &self.kept_key(),
            GENERATION,
            &command.0,
            nonce,
            secret,
        ))
    }

    /// Opens what [`Vault::seal_kept`] sealed for this command.
    ///
    /// # Errors
    /// [`VaultError::Changed`] if it does not open.
    pub fn open_kept(
        &self,
        command: &CommandKey,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        open(&self.kept_key(), &command.0, sealed).map_err(|_| VaultError::Changed)
    }

    fn kept_key(&self) -> DataKey {
        DataKey::new(*derived_key(&self.process_key, KEPT_LABEL))
    }
}
