//! The keyed hashes in the log: those that recognise a repeat of a command, and those under which
//! failures from one source are counted.

use std::sync::MutexGuard;

use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;
use zeroize::Zeroizing;

use super::{Vault, VaultError};
use crate::crypto::seal::DataKey;
use crate::crypto::tag::{TAG_BYTES, derived_key, tag};
use crate::crypto::tag_keys::{TEND_ENTROPY_BYTES, TagKeys};
use crate::engine::counts::source::Source;
use crate::engine::counts::source::SourceKey;

/// The label with which source keys are derived from data keys.
const SOURCE_LABEL: &[u8] = b"countersign source key v1";

impl Vault {
    /// Makes, destroys and wraps the tag keys that are due by this time of the wall clock.
    ///
    /// # Errors
    /// [`VaultError::TagKeys`] if the file cannot be written, [`VaultError::Entropy`] if the
    /// generator fails; the old keys stay in use.
    pub fn tend_tag_keys(&self, now: Micros) -> Result<(), VaultError> {
        let keyring = self.keyring();
        let mut tag_keys = self.tag_keys();
        if tag_keys.is_due(&keyring, now.0) {
            let mut entropy = Zeroizing::new([0; TEND_ENTROPY_BYTES]);
            self.fill_random(&mut *entropy)?;
            let tended = tag_keys.tend(&keyring, now.0, &entropy);
            tended.map_err(VaultError::TagKeys)?;
        }
        Ok(())
    }

    /// Returns the tag of a command that is recorded now, over its request without its secrets.
    pub fn body_tag(&self, asked: &[u8]) -> [u8; TAG_BYTES] {
        self.tag_keys().tag(&[asked])
    }

    /// Whether a recorded tag belongs to a command; `None` if its key is destroyed.
    pub fn is_body_tag(&self, recorded: &[u8; TAG_BYTES], asked: &[u8]) -> Option<bool> {
        self.tag_keys().is_of(recorded, &[asked])
    }

    /// Returns a tag that no other process can make, and that must not reach a disk.
    pub fn process_tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        tag(&self.process_key, parts)
    }

    /// Returns the key under which failures from a source are counted. For an account it is derived
    /// from the account's data key, so that no two accounts have a source key in common and an
    /// erasure ends it. An unknown user has no data key; its source key is derived from a key of
    /// this process.
    ///
    /// # Errors
    /// [`VaultError::Keys`] if the key store cannot be read.
    /// [`VaultError::Keys`].
    pub fn source_key(
        &self,
        stream: Option<StreamKey>,
        source: &Source,
    ) -> Result<SourceKey, VaultError> {
        let key = match stream {
            Some(stream) => self.keys.current(&stream.0)?,
            None => None,
        };
        Ok(match key {
            Some((_, key)) => source_tag(&key, source),
            None => self.unknown_user_source_key(source),
        })
    }

    /// Returns the key under which failures from a source are counted at a text or an unknown name,
    /// derived from a key of this process.
    pub fn unknown_user_source_key(&self, source: &Source) -> SourceKey {
        first_bytes(self.process_tag(&source.parts()))
    }

    /// Returns the same key as [`Vault::source_key`] for a record of the account, whose first data
    /// key is staged here if it is needed.
    ///
    /// # Errors
    /// Those of [`Vault::seal_event`].
    pub fn recorded_source_key(
        &self,
        stream: StreamKey,
        source: &Source,
    ) -> Result<SourceKey, VaultError> {
        let (_, key) = self.current_key(&stream.0)?;
        Ok(source_tag(&key, source))
    }

    fn tag_keys(&self) -> MutexGuard<'_, TagKeys> {
        self.tag_keys.lock().expect("no holder of this lock panics")
    }
}

fn source_tag(key: &DataKey, source: &Source) -> SourceKey {
    let key = derived_key(key.as_bytes(), SOURCE_LABEL);
    first_bytes(tag(&key, &source.parts()))
}

fn first_bytes(tag: [u8; TAG_BYTES]) -> SourceKey {
    std::array::from_fn(|at| tag[at])
}
