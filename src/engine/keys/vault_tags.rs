//! Keyed hashes that the log keeps: by which a repeat of a command is recognised, and under which
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

/// What source keys are derived from data keys with.
const SOURCE_LABEL: &[u8] = b"countersign source key v1";

impl Vault {
    /// Makes, destroys and wraps tag keys as is due by this time of the wall clock.
    ///
    /// # Errors
    /// [`VaultError::TagKeys`] or [`VaultError::Entropy`]: the keys before are in use as ever.
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

    /// The tag of a command that is recorded now: of what it asks without its secrets.
    pub fn body_tag(&self, asked: &[u8]) -> [u8; TAG_BYTES] {
        self.tag_keys().tag(&[asked])
    }

    /// Whether a recorded tag is that of a command; none where its key is destroyed.
    pub fn is_body_tag(&self, recorded: &[u8; TAG_BYTES], asked: &[u8]) -> Option<bool> {
        self.tag_keys().is_of(recorded, &[asked])
    }

    /// A tag that no other process can make, and that must not reach a disk.
    pub fn process_tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        tag(&self.process_key, parts)
    }

    /// Under what failures from a source are counted: of an account under its data key, so that
    /// no two accounts have a source in common and an erasure ends it; of a stranger, which has no
    /// data key, under one of this process.
    ///
    /// # Errors
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
            None => self.stranger_source_key(source),
        })
    }

    /// The same for a text, whoever has it, and for a name that nobody has: under a key of this process.
    pub fn stranger_source_key(&self, source: &Source) -> SourceKey {
        first_bytes(self.process_tag(&source.parts()))
    }

    /// The same for a record of the account, whose first data key is staged here where it is due.
    ///
    /// # Errors
    /// As [`Vault::seal_event`].
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
