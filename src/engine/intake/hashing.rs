//! Argon2id for commands: comparing passwords, making verifiers, and replacing outdated ones.

use countersign_schemas::sealed::Protected;
use countersign_schemas::secret::SecretText;

use super::evidence::Inquiry;
use crate::account::{Kept, Policy, ProofEvidence};
use crate::crypto::password::{INPUT_BYTES_MAX, KdfParams, SALT_BYTES, Verifier, derive, verify};
use crate::engine::keys::vault::VaultError;

impl Inquiry<'_> {
    /// Compares a password and reports whether its verifier is up to date; an account without a
    /// password costs the same Argon2id.
    pub(super) fn password(
        &self,
        password: &SecretText,
    ) -> Result<(ProofEvidence, Kept), VaultError> {
        let input = password.reveal().as_bytes();
        let (Some(credential), Some(stream)) =
            (&self.account.credential, self.account.stream_key())
        else {
            self.dummy_hash(input)?;
            let proof = ProofEvidence::Compared {
                credential: 0,
                right: false,
            };
            return Ok((proof, Kept::AsPolicyAsks));
        };
        let bytes = self.shared.vault.open(stream, &credential.verifier)?;
        let right = self.matches(input, &bytes)?;
        let proof = ProofEvidence::Compared {
            credential: credential.version,
            right,
        };
        Ok((proof, self.kept(&bytes)?))
    }

    /// Checks whether a verifier uses the active pepper and is as strong as the policy demands now.
    fn kept(&self, encoded: &[u8]) -> Result<Kept, VaultError> {
        let verifier = Verifier::decode(encoded).map_err(|_| VaultError::Changed)?;
        let (pepper_id, _) = self.shared.vault.keyring().active_pepper();
        let is_weak = verifier
            .params()
            .is_weaker_than(params(&self.shared.policy));
        match verifier.pepper_id() == pepper_id && !is_weak {
            true => Ok(Kept::AsPolicyAsks),
            false => Ok(Kept::Outdated),
        }
    }

    pub(super) fn matches(&self, input: &[u8], encoded: &[u8]) -> Result<bool, VaultError> {
        let verifier = Verifier::decode(encoded).map_err(|_| VaultError::Changed)?;
        let keyring = self.shared.vault.keyring();
        let pepper = keyring
            .pepper(verifier.pepper_id())
            .ok_or(VaultError::NoKey)?;
        self.shared.gauges.hashes();
        verify(input, &verifier, pepper).map_err(|_| VaultError::NoMemory)
    }

    pub(super) fn dummy_hash(&self, input: &[u8]) -> Result<(), VaultError> {
        // Longer inputs than the hash accepts are refused as quickly for an existing account.
        if input.len() <= INPUT_BYTES_MAX {
            self.derive(input)?;
        }
        Ok(())
    }

    pub(super) fn derive(&self, input: &[u8]) -> Result<Verifier, VaultError> {
        let mut salt = [0; SALT_BYTES];
        self.shared.vault.fill_random(&mut salt)?;
        let keyring = self.shared.vault.keyring();
        let (pepper_id, pepper) = keyring.active_pepper();
        self.shared.gauges.hashes();
        derive(input, params(&self.shared.policy), pepper_id, pepper, salt)
            .map_err(|_| VaultError::NoMemory)
    }

    pub(super) fn new_verifier(&self, password: &SecretText) -> Result<Protected, VaultError> {
        let verifier = self.derive(password.reveal().as_bytes())?;
        Ok(Protected::Clear(verifier.encode()))
    }
}

fn params(policy: &Policy) -> KdfParams {
    KdfParams {
        memory_kib: policy.kdf_memory_kib,
        passes: policy.kdf_passes,
        lanes: policy.kdf_lanes,
    }
}
