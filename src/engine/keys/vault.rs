//! Sealing the fields of events, and opening them in their place.

#[path = "vault_outcomes.rs"]
mod outcomes;
#[path = "vault_sources.rs"]
mod sources;
#[path = "vault_tags.rs"]
mod tags;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use countersign_schemas::event::{ACCOUNT_ERASED, Event};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::account::Held;
use crate::crypto::data_keys::{DataKeys, DataKeysError, Erased};
use crate::crypto::key_file::CreateError;
use crate::crypto::keyring::{Keyring, ROTATION_ENTROPY_BYTES};
use crate::crypto::seal::{DataKey, KEY_BYTES, Place, open, seal};
use crate::crypto::tag_keys::TagKeys;
use crate::crypto::tombstones::{Tombstone, TombstoneError, Tombstones};
use crate::engine::record_seals::RecordSeals;

pub use super::vault::sources::OpenedSource;

/// Why a sealed field could not be made or read. The account then answers `store.unavailable`,
/// never "2FA off".
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
    /// The account was erased, so its fields rightly cannot be read any more.
    #[error("the account was erased, and its sealed fields cannot be read any more")]
    Erased,
    /// The keyring file could not be rotated.
    #[error("the keys were not rotated: the keyring {0}")]
    Keyring(String),
    /// A tombstone could not be written.
    #[error("the erasure did not begin: the tombstone {0}")]
    Tombstone(#[from] CreateError),
    /// The ciphertext does not open in its place.
    #[error(
        "a sealed field does not open in its place: the log or keys.redb was changed, run `countersign audit verify`"
    )]
    Changed,
    /// The machine lacks memory for a password hash.
    #[error(
        "there was not enough memory for a password hash: give the service more, or lower kdf_memory_kib"
    )]
    NoMemory,
    /// The file of tag keys could not be written.
    #[error("the tag keys {0}: see that the data folder can be written")]
    TagKeys(CreateError),
    /// The operating system's generator failed.
    #[error("the operating system's random generator failed, so nothing was made")]
    Entropy,
}

/// The keyring and the data keys, as the engine uses them.
pub struct Vault {
    keyring: RwLock<Arc<Keyring>>,
    keyring_file: PathBuf,
    keys: DataKeys,
    tag_keys: Mutex<TagKeys>,
    tombstones: Tombstones,
    random: Random,
    /// Made at the start and never written, so that no other process can test its tags.
    process_key: Zeroizing<[u8; KEY_BYTES]>,
    record_seals: RecordSeals,
}

/// Fills bytes with random data; false if the generator failed, and then they must not be used.
pub type Random = fn(&mut [u8]) -> bool;

/// The operating system's random generator.
pub fn system_random(bytes: &mut [u8]) -> bool {
    SysRng.try_fill_bytes(bytes).is_ok()
}

impl Vault {
    /// Takes the opened keyring with its file, the key stores, and the source of random bytes.
    ///
    /// # Errors
    /// [`VaultError::Entropy`] if the generator fails.
    pub fn new(
        keyring: Arc<Keyring>,
        keyring_file: &Path,
        keys: DataKeys,
        tag_keys: TagKeys,
        random: Random,
    ) -> Result<Self, VaultError> {
        let record_seals = RecordSeals::of(&keyring);
        let mut process_key = Zeroizing::new([0; KEY_BYTES]);
        random(&mut *process_key)
            .then_some(())
            .ok_or(VaultError::Entropy)?;
        Ok(Self {
            keyring: RwLock::new(keyring),
            tombstones: Tombstones::beside(keyring_file),
            keyring_file: keyring_file.into(),
            keys,
            tag_keys: Mutex::new(tag_keys),
            random,
            process_key,
            record_seals,
        })
    }

    /// Returns the seals of records.
    pub fn record_seals(&self) -> &RecordSeals {
        &self.record_seals
    }

    /// Returns the path of the keyring's file.
    pub fn keyring_file(&self) -> &Path {
        &self.keyring_file
    }

    /// Fills bytes with random data.
    ///
    /// # Errors
    /// [`VaultError::Entropy`] if the generator fails; the bytes must not be used then.
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

    /// Returns the keyring.
    pub fn keyring(&self) -> Arc<Keyring> {
        let keyring = self.keyring.read();
        Arc::clone(&keyring.expect("no holder of this lock panics"))
    }

    /// Brings new keys with this number into use: in the keyring file, durably, and then in memory.
    ///
    /// No data key may be staged. [`Vault::rewrite_keys`] wraps the existing ones again.
    ///
    /// # Errors
    /// [`VaultError::Keyring`] if the file was replaced or cannot be written,
    /// [`VaultError::Entropy`] if the generator fails; the old keys stay in use.
    pub fn rotate(&self, key_id: u32, now: Micros) -> Result<(), VaultError> {
        let mut entropy = Zeroizing::new([0; ROTATION_ENTROPY_BYTES]);
        self.fill_random(&mut *entropy)?;
        let failed = |why: String| VaultError::Keyring(why);
        let file = Keyring::load(&self.keyring_file).map_err(|error| failed(error.to_string()))?;
        if file.next_id() != key_id || file.log_id() != self.keyring().log_id() {
            return Err(failed("its file was replaced while the service ran".into()));
        }
        let rotated = file.rotate(&self.keyring_file, &entropy, now.0);
        let rotated = Arc::new(rotated.map_err(|error| failed(error.to_string()))?);
        self.keys.use_keyring(Arc::clone(&rotated));
        *self.keyring.write().expect("no holder of this lock panics") = rotated;
        Ok(())
    }

    /// Whether a key-encryption key other than the active one may still wrap data keys.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if the key store cannot be read.
    pub fn is_outdated(&self) -> Result<bool, VaultError> {
        Ok(self.keys.is_outdated()?)
    }

    /// Counts the data keys by the key-encryption key that wraps them; reads the whole store.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if the key store cannot be read.
    pub fn key_counts(&self) -> Result<BTreeMap<u32, u64>, VaultError> {
        Ok(self.keys.counts()?)
    }

    /// Reads the tombstones beside the keyring.
    ///
    /// # Errors
    /// [`TombstoneError`] if one cannot be read.
    pub fn tombstones(&self) -> Result<Vec<Tombstone>, TombstoneError> {
        self.tombstones.read()
    }

    /// Opens a sealed field of an account.
    ///
    /// # Errors
    /// [`VaultError`] if its key is missing or the field does not open in its place.
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

    fn open_at(&self, place: Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self.key_of(&place, sealed.key)?;
        open(&key, &place.aad(), sealed).map_err(|_| VaultError::Changed)
    }

    /// Returns the data key of a generation that seals the field at a place.
    fn key_of(&self, place: &Place, generation: u32) -> Result<DataKey, VaultError> {
        let holder = holder_of(place);
        match self.keys.get(&holder, generation)? {
            Some(key) => Ok(key),
            None if self.keys.is_erased(&holder, generation)? => Err(VaultError::Erased),
            None => Err(VaultError::NoKey),
        }
    }

    /// Seals every protected field of an event that becomes this version of a stream.
    ///
    /// # Errors
    /// [`VaultError`] if there is no key or there are no random bytes.
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

    fn seal_at(&self, place: Place, bytes: &[u8]) -> Result<Sealed<'static>, VaultError> {
        let (generation, key) = self.current_key(&holder_of(&place))?;
        Ok(seal(&key, generation, &place.aad(), self.random()?, bytes))
    }

    /// Returns the account's newest data key; a stream's first one is staged here and durable after
    /// [`Vault::commit_keys`].
    fn current_key(&self, stream: &[u8; 16]) -> Result<(u32, DataKey), VaultError> {
        match self.keys.current(stream)? {
            Some(current) => Ok(current),
            None => Ok(self
                .keys
                .stage_new(stream, self.random()?, self.random()?)?),
        }
    }

    /// Checks that a stream has a data key that seals.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] if it has none, or only destroyed ones; [`VaultError::Keys`] if the
    /// store cannot be read.
    pub fn expect_key(&self, stream: StreamKey) -> Result<(), VaultError> {
        match self.keys.current(&stream.0)? {
            Some(_) => Ok(()),
            None => Err(VaultError::NoKey),
        }
    }

    /// Copies the key store while it is in use; the copy opens as a key store.
    ///
    /// # Errors
    /// Those of [`DataKeys::back_up`].
    pub fn back_up_keys(&self, target: &Path, erased: &Erased) -> Result<(), DataKeysError> {
        self.keys.back_up(target, erased)
    }

    /// Returns the data keys themselves, for the checks of a start.
    pub(in crate::engine) fn data_keys(&self) -> &DataKeys {
        &self.keys
    }

    /// Writes a tombstone, durably.
    ///
    /// # Errors
    /// [`VaultError::Tombstone`] if it cannot be written; nothing is changed.
    pub fn entomb(&self, tombstone: &Tombstone) -> Result<(), VaultError> {
        Ok(self.tombstones.write(tombstone)?)
    }

    /// Withdraws a tombstone whose writing failed: it may be on the disk nevertheless.
    pub fn withdraw(&self, tombstone: &Tombstone) {
        if let Err(error) = self.tombstones.withdraw(tombstone) {
            tracing::error!(
                %error,
                "ALARM: the tombstone of a refused erasure may be beside the keyring: delete the newest file there, or the next start erases that account"
            );
        }
    }

    /// Stops handing out the keys of a stream up to this generation.
    pub fn condemn(&self, stream: StreamKey, through: u32) {
        self.keys.condemn(&stream.0, through);
    }

    /// Whether keys wait to be destroyed.
    pub fn has_condemned(&self) -> bool {
        self.keys.has_condemned()
    }

    /// Whether a stream's key of this generation is destroyed or about to be.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if the key store cannot be read.
    pub fn is_erased(&self, stream: StreamKey, generation: u32) -> Result<bool, VaultError> {
        Ok(self.keys.is_erased(&stream.0, generation)?)
    }

    /// Returns the last generation that a stream's keys ever had, 0 before the first.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if the key store cannot be read.
    pub fn last_generation(&self, stream: StreamKey) -> Result<u32, VaultError> {
        Ok(self.keys.last_generation(&stream.0)?)
    }

    /// Rewrites the key store, which destroys the condemned keys.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if it cannot be written; nothing is destroyed for good.
    pub fn rewrite_keys(&self) -> Result<(), VaultError> {
        Ok(self.keys.rewrite()?)
    }

    /// Makes new data keys durable; must come before the commit of what they seal.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if they cannot be written; the batch must not be appended.
    pub fn commit_keys(&self) -> Result<(), VaultError> {
        Ok(self.keys.commit()?)
    }
}

/// Returns the stream whose data key seals the field at a place: the account's own, except for its
/// erasure, since auditors must be able to read its reason and its author after that key is gone.
fn holder_of(place: &Place) -> [u8; 16] {
    holder(place.event_type, place.stream_key)
}

/// Returns the stream whose data key seals the fields of an event in a stream.
pub fn holder(event_type: u16, stream: [u8; 16]) -> [u8; 16] {
    match event_type {
        ACCOUNT_ERASED => StreamKey::LOG.0,
        _ => stream,
    }
}
