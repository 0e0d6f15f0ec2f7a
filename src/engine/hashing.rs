//! Argon2id on behalf of commands: passwords compared, kept anew, and made.

use countersign_schemas::sealed::Protected;
use countersign_schemas::secret::SecretText;

use super::evidence::Inquiry;
use super::vault::VaultError;
use crate::account::{Policy, ProofEvidence};
use crate::crypto::password::{INPUT_BYTES_MAX, KdfParams, SALT_BYTES, Verifier, derive, verify};

impl Inquiry<'_> {
    /// Compares a password; an account without one, or none at all, costs the same Argon2id.
    pub(super) fn password(
        &self,
        password: Option<&SecretText>,
    ) -> Result<ProofEvidence, VaultError> {
        let Some(password) = password else {
            return Ok(if self.shared.vouched {
                ProofEvidence::Vouched
            } else {
                ProofEvidence::Absent
            });
        };
        if let Some(right) = self.request.directory {
            return Ok(ProofEvidence::Elsewhere { right });
        }
        let vault = &self.shared.vault;
        let source = vault.source_key(self.account.stream_key(), self.request.source())?;
        if self
            .account
            .passwords
            .waiting_s(source, self.shared.log_time())
            .is_some()
        {
            return Ok(ProofEvidence::NotCompared);
        }
        let input = password.reveal().as_bytes();
        let (Some(credential), Some(stream)) =
            (&self.account.credential, self.account.stream_key())
        else {
            self.dummy_hash(input)?;
            return Ok(ProofEvidence::Compared {
                credential: 0,
                right: false,
            });
        };
        let bytes = self.shared.vault.open(stream, &credential.verifier)?;
        let right = self.matches(input, &bytes)?;
        Ok(ProofEvidence::Compared {
            credential: credential.version,
            right,
        })
    }

    /// A second Argon2id for a password that was right and whose verifier is not of the active
    /// pepper or is weaker than policy asks for now.
    pub(super) fn rehashed(
        &self,
        password: Option<&SecretText>,
        proof: ProofEvidence,
    ) -> Result<Option<Protected>, VaultError> {
        let ProofEvidence::Compared { right: true, .. } = proof else {
            return Ok(None);
        };
        let (Some(password), Some(credential), Some(stream)) = (
            password,
            &self.account.credential,
            self.account.stream_key(),
        ) else {
            return Ok(None);
        };
        let bytes = self.shared.vault.open(stream, &credential.verifier)?;
        let verifier = Verifier::decode(&bytes).map_err(|_| VaultError::Changed)?;
        let keyring = self.shared.vault.keyring();
        let (pepper_id, _) = keyring.active_pepper();
        let is_current = verifier.pepper_id() == pepper_id;
        match is_current
            && !verifier
                .params()
                .is_weaker_than(params(&self.shared.policy))
        {
            true => Ok(None),
            false => Ok(Some(self.new_verifier(password)?)),
        }
    }

    pub(super) fn matches(&self, input: &[u8], encoded: &[u8]) -> Result<bool, VaultError> {
        let verifier = Verifier::decode(encoded).map_err(|_| VaultError::Changed)?;
        let keyring = self.shared.vault.keyring();
        let pepper = keyring
            .pepper(verifier.pepper_id())
            .ok_or(VaultError::NoKey)?;
        verify(input, &verifier, pepper).map_err(|_| VaultError::NoMemory)
    }

    pub(super) fn dummy_hash(&self, input: &[u8]) -> Result<(), VaultError> {
        // An input beyond what a hash takes is refused as quickly for an account that exists.
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
