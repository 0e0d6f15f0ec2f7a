//! Sealing the fields of events, and opening them where they stand.

use std::sync::Arc;

use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::{SOURCE_FIELD, SourceFacts};
use countersign_schemas::sealed::{Protected, Sealed};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::account::Held;
use crate::crypto::data_keys::{DataKeys, DataKeysError};
use crate::crypto::keyring::Keyring;
use crate::crypto::seal::{DataKey, Place, open, seal};

/// A sealed field could not be made or read. The account answers `store.unavailable`: never
/// "2FA off".
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key store failed.
    #[error(transparent)]
    Keys(#[from] DataKeysError),
    /// The account's data key is not in the key store.
    #[error(
        "the data key of a stream is missing from keys.redb: restore keys.redb from its backup"
    )]
    NoKey,
    /// The ciphertext does not open where it stands.
    #[error(
        "a sealed field does not open where it stands: the log or keys.redb was changed, run `countersign audit verify`"
    )]
    Changed,
    /// The machine has no memory for a password hash.
    #[error(
        "there was no memory for a password hash: give the service more, or lower kdf_memory_kib"
    )]
    NoMemory,
    /// The operating system's generator failed.
    #[error("the operating system's random generator failed, so nothing was made")]
    Entropy,
}

/// The keyring and the data keys, as the engine uses them.
pub struct Vault {
    keyring: Arc<Keyring>,
    keys: DataKeys,
    random: Random,
}

/// Fills bytes at random; false when the generator failed, and then nothing may be made of them.
pub type Random = fn(&mut [u8]) -> bool;

/// The operating system's generator.
pub fn system_random(bytes: &mut [u8]) -> bool {
    SysRng.try_fill_bytes(bytes).is_ok()
}

impl Vault {
    /// Takes the opened keyring and key store, and where random bytes come from.
    pub fn new(keyring: Arc<Keyring>, keys: DataKeys, random: Random) -> Self {
        Self {
            keyring,
            keys,
            random,
        }
    }

    /// Fills bytes at random.
    ///
    /// # Errors
    /// [`VaultError::Entropy`] when the generator fails; nothing may be made then.
    pub fn fill_random(&self, bytes: &mut [u8]) -> Result<(), VaultError> {
        (self.random)(bytes)
            .then_some(())
            .ok_or(VaultError::Entropy)
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], VaultError> {
        let mut bytes = [0; N];
        self.fill_random(&mut bytes)?;
        Ok(bytes)
    }

    /// The keyring.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens a field of an account.
    ///
    /// # Errors
    /// [`VaultError`] when its key is missing or it does not open where it stands.
    pub fn open(&self, stream: StreamKey, held: &Held) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let place = Place {
            stream_key: stream.0,
            version: held.version,
            event_type: held.event_type,
            field: held.field,
        };
        match &held.value {
            Protected::Clear(bytes) => Ok(bytes.clone()),
            Protected::Sealed(sealed) => self.open_at(place, sealed),
        }
    }

    /// Opens the sealed source of a record.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_source(
        &self,
        stream: StreamKey,
        version: u32,
        event_type: u16,
        sealed: &Sealed,
    ) -> Result<SourceFacts, VaultError> {
        let place = Place {
            stream_key: stream.0,
            version,
            event_type,
            field: SOURCE_FIELD,
        };
        let bytes = self.open_at(place, sealed)?;
        postcard::from_bytes(&bytes).map_err(|_| VaultError::Changed)
    }

    fn open_at(&self, place: Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self
            .keys
            .get(&place.stream_key, sealed.key)?
            .ok_or(VaultError::NoKey)?;
        open(&key, &place.aad(), sealed).map_err(|_| VaultError::Changed)
    }

    /// Seals every protected field of an event that becomes this version of a stream.
    ///
    /// # Errors
    /// [`VaultError`] when no key or no random bytes are to be had.
    pub fn seal_event(
        &self,
        stream: StreamKey,
        version: u32,
        event: &mut Event,
    ) -> Result<(), VaultError> {
        let event_type = event.type_code();
        for (field, value) in event.protected() {
            if let Protected::Clear(bytes) = value {
                let place = Place {
                    stream_key: stream.0,
                    version,
                    event_type,
                    field,
                };
                *value = Protected::Sealed(self.seal_at(place, bytes)?);
            }
        }
        Ok(())
    }

    /// Seals where a request came from; nothing to seal gives none.
    ///
    /// # Errors
    /// As [`Vault::seal_event`].
    pub fn seal_source(
        &self,
        stream: StreamKey,
        version: u32,
        event_type: u16,
        facts: &SourceFacts,
    ) -> Result<Option<Sealed>, VaultError> {
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
        self.seal_at(place, &bytes).map(Some)
    }

    fn seal_at(&self, place: Place, bytes: &[u8]) -> Result<Sealed, VaultError> {
        let (generation, key) = self.current_key(&place.stream_key)?;
        Ok(seal(&key, generation, &place.aad(), self.random()?, bytes))
    }

    /// The account's newest data key; a stream's first is staged here and durable with
    /// [`Vault::commit_keys`].
    fn current_key(&self, stream: &[u8; 16]) -> Result<(u32, DataKey), VaultError> {
        match self.keys.current(stream)? {
            Some(current) => Ok(current),
            None => Ok(self
                .keys
                .stage_new(stream, self.random()?, self.random()?)?),
        }
    }

    /// Copies the key store beside itself being used; the copy opens as a key store.
    ///
    /// # Errors
    /// [`VaultError::Keys`].
    pub fn back_up_keys(&self, target: &std::path::Path) -> Result<(), VaultError> {
        Ok(self.keys.back_up(target)?)
    }

    /// Makes new data keys durable; must come before the commit of what they seal.
    ///
    /// # Errors
    /// [`VaultError::Keys`]: the batch must not be appended.
    pub fn commit_keys(&self) -> Result<(), VaultError> {
        Ok(self.keys.commit()?)
    }
}
