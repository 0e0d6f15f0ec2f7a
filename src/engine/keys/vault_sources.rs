//! Sealing the sources of requests, bound so that an auditor can detect a changed source.

use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::{COMMITMENT_BYTES, SALT_BYTES, SOURCE_FIELD, SourceFacts};
use countersign_schemas::sealed::Sealed;
use zeroize::Zeroizing;

use super::{Vault, VaultError, holder_of};
use crate::crypto::seal::{Place, open, seal};

/// The source of a request, as its record contains it.
pub struct SealedSource {
    /// The facts under the account's data key.
    pub sealed: Sealed<'static>,
    /// The commitment that binds the facts for readers without that key.
    pub commitment: [u8; COMMITMENT_BYTES],
}

/// The source of a request, opened.
#[derive(Debug)]
pub struct OpenedSource {
    /// The facts.
    pub facts: SourceFacts,
    /// The salt that makes the record's commitment together with the facts.
    pub salt: [u8; SALT_BYTES],
}

impl Vault {
    /// Opens the sealed source of a record, with the salt of its commitment.
    ///
    /// # Errors
    /// Those of [`Vault::open`].
    pub fn open_source(
        &self,
        stream: StreamKey,
        version: u32,
        event_type: u16,
        sealed: &Sealed,
    ) -> Result<OpenedSource, VaultError> {
        let place = Place {
            stream_key: stream.0,
            version,
            event_type,
            field: SOURCE_FIELD,
        };
        let key = self.key_of(&place, sealed.key)?;
        let bytes = open(&key, &place.aad(), sealed).map_err(|_| VaultError::Changed)?;
        Ok(OpenedSource {
            facts: postcard::from_bytes(&bytes).map_err(|_| VaultError::Changed)?,
            salt: key.salt(&place),
        })
    }

    /// Seals and binds the source of a request; returns `None` if there is nothing to seal.
    ///
    /// # Errors
    /// Those of [`Vault::seal_event`].
    pub fn seal_source(
        &self,
        stream: StreamKey,
        version: u32,
        event_type: u16,
        facts: &SourceFacts,
    ) -> Result<Option<SealedSource>, VaultError> {
        if *facts == SourceFacts::default() {
            return Ok(None);
        }
        let place = Place {
            stream_key: stream.0,
            version,
            event_type,
            field: SOURCE_FIELD,
        };
        let bytes =
            Zeroizing::new(postcard::to_allocvec(facts).expect("three optional texts encode"));
        let (generation, key) = self.current_key(&holder_of(&place))?;
        Ok(Some(SealedSource {
            sealed: seal(&key, generation, &place.aad(), self.random()?, &bytes),
            commitment: facts.commitment(&key.salt(&place)),
        }))
    }
}
