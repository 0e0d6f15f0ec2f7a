//! The keyring file: the few keys from which everything else is protected.
//!
//! It stands outside the data folder and belongs to one log. Without it no sealed value opens and
//! no checkpoint is signed; whoever has it and the data folder has everything. It is a TOML text
//! of a fixed shape whose last table is a check over every byte before it, which finds truncation,
//! edits and exchanged keys. The check is no signature: who can write the file can also compute it.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::key_file::{self, CreateError, ReadError};
use super::seal::{DataKey, KEY_BYTES};

/// Random bytes that make a keyring: the log id and five keys.
pub const KEYRING_ENTROPY_BYTES: usize = LOG_ID_BYTES + 5 * KEY_BYTES;
/// Longest keyring file that is read, in bytes; room for some 300 retired keys.
pub const KEYRING_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Length of a log id in bytes.
pub const LOG_ID_BYTES: usize = 16;
/// Length of a name hash and of a body tag in bytes.
pub const TAG_BYTES: usize = 16;

const FORMAT: &str = "1";
const FORMAT_PREFIX: &str = "format = ";
const CHECK_HEADER: &str = "\n[check]\n";
const CHECK_PREFIX: &str = "sha256 = \"";
const CHECK_SUFFIX: &str = "\"\n";
const CHECK_HEX_CHARS: usize = 64;
const CHECK_LINE_BYTES: usize = CHECK_PREFIX.len() + CHECK_HEX_CHARS + CHECK_SUFFIX.len();
const NOTICE: &str = "\
# The Countersign keyring: whoever has this file and the data folder can read every secret.
# Keep a copy offline and apart from the data. Do not edit it: the check at the end covers
# every byte before it.
";

/// The keys of one log, read from its keyring file.
pub struct Keyring {
    log_id: [u8; LOG_ID_BYTES],
    created_at_us: u64,
    name_key: Hex<KEY_BYTES>,
    body_tag_key: Hex<KEY_BYTES>,
    checkpoint_seed: Hex<KEY_BYTES>,
    keks: Vec<(KeyAbout, DataKey)>,
    peppers: Vec<(KeyAbout, Hex<KEY_BYTES>)>,
}

/// Why no keyring was read; no message holds any part of the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing, not a private file of ours, or unreadable.
    #[error("the keyring {0}")]
    File(#[from] ReadError),
    /// The file ends before its check.
    #[error("the keyring {0} is cut off: restore it from its backup")]
    Truncated(PathBuf),
    /// The file is of a version that this build does not know.
    #[error("the keyring {0} has a format that this build does not read: use a newer build")]
    UnknownVersion(PathBuf),
    /// The file has not the shape of a keyring.
    #[error("the keyring {path} is damaged ({what}): restore it from its backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without quoting it.
        what: &'static str,
    },
    /// The contents are not those that the check was made over.
    #[error(
        "the keyring {0} does not match its own check, so a key or a line was changed: restore it from its backup"
    )]
    WrongCheck(PathBuf),
}

/// Why no keyring was created.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The file exists or cannot be written.
    #[error("the keyring {0}")]
    Create(#[from] CreateError),
    /// The file was written but does not read back.
    #[error("the new keyring does not read back: {0}")]
    Load(#[from] LoadError),
}

/// Whether a key is used for new values or only for old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Used for new values; exactly one key of each kind is.
    Active,
    /// Kept for the values that were made with it.
    Retired,
}

/// What may be shown of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAbout {
    /// Its number, from 1.
    pub id: u32,
    /// Whether new values use it.
    pub state: KeyState,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at_us: u64,
}

impl Keyring {
    /// Creates a keyring file of mode 0600 and returns what reads back from it.
    ///
    /// `entropy` must come from the operating system's generator; `now_us` is microseconds since
    /// the Unix epoch. A missing folder is made with mode 0700. The file is durable, under its
    /// name, when this returns; after a crash it is there whole or not at all.
    ///
    /// # Errors
    /// [`InitError::Create`] where anything exists at the path or it cannot be written.
    pub fn create(
        path: &Path,
        entropy: &[u8; KEYRING_ENTROPY_BYTES],
        now_us: u64,
    ) -> Result<Self, InitError> {
        let body = new_body(entropy, now_us);
        let check = check_of(&body);
        let text =
            Zeroizing::new([&body, CHECK_HEADER, CHECK_PREFIX, &check, CHECK_SUFFIX].concat());
        key_file::create_private(path, text.as_bytes())?;
        Ok(Self::load(path)?)
    }

    /// Reads a keyring file and believes nothing about it that was not checked.
    ///
    /// # Errors
    /// One variant of [`LoadError`] or [`ReadError`] for each reason to refuse it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = key_file::read_private(path, KEYRING_FILE_BYTES_MAX)?;
        let damaged = |what| LoadError::Damaged {
            path: path.to_owned(),
            what,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
        // The version line first: a later format may end differently.
        let version = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .find_map(|line| line.strip_prefix(FORMAT_PREFIX));
        if version.is_some_and(|version| version != FORMAT) {
            return Err(LoadError::UnknownVersion(path.to_owned()));
        }
        let (body, check_line) = text
            .rsplit_once(CHECK_HEADER)
            .ok_or_else(|| LoadError::Truncated(path.to_owned()))?;
        if check_line.len() < CHECK_LINE_BYTES {
            return Err(LoadError::Truncated(path.to_owned()));
        }
        let check = check_line
            .strip_prefix(CHECK_PREFIX)
            .and_then(|rest| rest.strip_suffix(CHECK_SUFFIX))
            .filter(|check| check.len() == CHECK_HEX_CHARS)
            .ok_or_else(|| damaged("its check line has another form"))?;
        if check != check_of(body) {
            return Err(LoadError::WrongCheck(path.to_owned()));
        }
        // The parser's own complaint quotes the line, and lines hold keys.
        let stored: StoredKeyring =
            toml::from_str(body).map_err(|_| damaged("its lines are not those of a keyring"))?;
        stored.into_keyring().map_err(damaged)
    }

    /// Returns the id of the log that this keyring belongs to.
    pub fn log_id(&self) -> &[u8; LOG_ID_BYTES] {
        &self.log_id
    }

    /// Returns when the keyring was created, in microseconds since the Unix epoch.
    pub fn created_at_us(&self) -> u64 {
        self.created_at_us
    }

    /// Returns id and key of the key-encryption key that wraps new data keys.
    pub fn active_kek(&self) -> (u32, &DataKey) {
        let (about, kek) = active(&self.keks);
        (about.id, kek)
    }

    /// Returns the key-encryption key of this id, active or retired.
    pub fn kek(&self, id: u32) -> Option<&DataKey> {
        let found = self.keks.iter().find(|(about, _)| about.id == id)?;
        Some(&found.1)
    }

    /// Returns id and bytes of the pepper for new verifiers.
    pub fn active_pepper(&self) -> (u32, &[u8]) {
        let (about, pepper) = active(&self.peppers);
        (about.id, &pepper.0)
    }

    /// Returns the pepper of this id, active or retired.
    pub fn pepper(&self, id: u32) -> Option<&[u8]> {
        let found = self.peppers.iter().find(|(about, _)| about.id == id)?;
        Some(&found.1.0)
    }

    /// Returns what may be shown of the key-encryption keys.
    pub fn keks(&self) -> impl Iterator<Item = KeyAbout> {
        self.keks.iter().map(|(about, _)| *about)
    }

    /// Returns what may be shown of the peppers.
    pub fn peppers(&self) -> impl Iterator<Item = KeyAbout> {
        self.peppers.iter().map(|(about, _)| *about)
    }

    /// Returns the key behind [`Self::name_hash`].
    pub fn name_key(&self) -> &[u8; KEY_BYTES] {
        &self.name_key.0
    }

    /// Returns the key behind [`Self::body_tag`].
    pub fn body_tag_key(&self) -> &[u8; KEY_BYTES] {
        &self.body_tag_key.0
    }

    /// Returns the Ed25519 seed that signs checkpoints (RFC 8032 §5.1.5).
    pub fn checkpoint_seed(&self) -> &[u8; KEY_BYTES] {
        &self.checkpoint_seed.0
    }

    /// Returns the keyed hash by which an account is found from its username in lower case.
    pub fn name_hash(&self, username_lowercase: &str) -> [u8; TAG_BYTES] {
        tag(&self.name_key, &[username_lowercase.as_bytes()])
    }

    /// Returns the tag by which two bodies of one command id are told apart.
    ///
    /// Each part counts with its length, so no two different lists of parts share their input.
    pub fn body_tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        tag(&self.body_tag_key, parts)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("log_id", &HEXLOWER.encode(&self.log_id))
            .field("keks", &self.keks().collect::<Vec<_>>())
            .field("peppers", &self.peppers().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The text form of a keyring without its check; its names are the format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeyring {
    #[serde(rename = "format")]
    _format: u32,
    created_at_us: u64,
    log_id: Hex<LOG_ID_BYTES>,
    name_key: Hex<KEY_BYTES>,
    body_tag_key: Hex<KEY_BYTES>,
    checkpoint_seed: Hex<KEY_BYTES>,
    kek: Vec<StoredKey>,
    pepper: Vec<StoredKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: u32,
    state: KeyState,
    created_at_us: u64,
    key: Hex<KEY_BYTES>,
}

impl StoredKeyring {
    fn into_keyring(self) -> Result<Keyring, &'static str> {
        refuse_ambiguous(&self.kek)?;
        refuse_ambiguous(&self.pepper)?;
        Ok(Keyring {
            log_id: self.log_id.0,
            created_at_us: self.created_at_us,
            name_key: self.name_key,
            body_tag_key: self.body_tag_key,
            checkpoint_seed: self.checkpoint_seed,
            keks: self
                .kek
                .into_iter()
                .map(|stored| (stored.about(), DataKey::new(stored.key.0)))
                .collect(),
            peppers: self
                .pepper
                .into_iter()
                .map(|stored| (stored.about(), stored.key))
                .collect(),
        })
    }
}

impl StoredKey {
    fn about(&self) -> KeyAbout {
        KeyAbout {
            id: self.id,
            state: self.state,
            created_at_us: self.created_at_us,
        }
    }
}

fn refuse_ambiguous(keys: &[StoredKey]) -> Result<(), &'static str> {
    let actives = keys.iter().filter(|key| key.state == KeyState::Active);
    if actives.count() != 1 {
        return Err("not exactly one key of each kind is active");
    }
    let mut ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    ids.sort_unstable();
    if ids[0] == 0 || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("key ids repeat or are zero");
    }
    Ok(())
}

fn active<K>(keys: &[(KeyAbout, K)]) -> (KeyAbout, &K) {
    let found = keys
        .iter()
        .find(|(about, _)| about.state == KeyState::Active);
    let (about, key) = found.expect("a keyring without an active key is refused when read");
    (*about, key)
}

fn new_body(entropy: &[u8; KEYRING_ENTROPY_BYTES], now_us: u64) -> Zeroizing<String> {
    let (log_id, keys) = entropy.split_at(LOG_ID_BYTES);
    let hex = |index: usize| {
        let key = &keys[index * KEY_BYTES..(index + 1) * KEY_BYTES];
        Zeroizing::new(HEXLOWER.encode(key))
    };
    // Large enough from the start, so that growing leaves no copy behind.
    let mut body = Zeroizing::new(String::with_capacity(4096));
    write!(
        body,
        "{NOTICE}{FORMAT_PREFIX}{FORMAT}\ncreated_at_us = {now_us}\nlog_id = \"{}\"\n\
         name_key = \"{}\"\nbody_tag_key = \"{}\"\ncheckpoint_seed = \"{}\"\n",
        HEXLOWER.encode(log_id),
        *hex(0),
        *hex(1),
        *hex(2),
    )
    .expect("a String takes every write");
    for (kind, index) in [("kek", 3), ("pepper", 4)] {
        write!(
            body,
            "\n[[{kind}]]\nid = 1\nstate = \"active\"\ncreated_at_us = {now_us}\nkey = \"{}\"\n",
            *hex(index),
        )
        .expect("a String takes every write");
    }
    body
}

fn check_of(body: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(body.as_bytes()))
}

fn tag(key: &Hex<KEY_BYTES>, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    std::array::from_fn(|at| digest[at])
}

/// Bytes that stand as lower-case hex in the file; never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let mut bytes = [0; N];
        if text.len() != 2 * N || HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_err() {
            return Err(de::Error::custom("not lower-case hex of the right length"));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
