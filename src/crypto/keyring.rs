//! The keyring file: the few keys that protect everything else.
//!
//! It is kept outside the data folder and belongs to one log. Without it no sealed value opens and
//! no checkpoint is signed; with it and the data folder, an attacker can read and forge everything.
//! It is a TOML text of a fixed shape whose last table is a check over every byte before it, which
//! detects truncation, edits and exchanged keys. The check is not a signature: a user who can write
//! the file can also compute it.

#[path = "keyring_file.rs"]
mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use file::Hex;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::derived::FileKey;
use super::key_file::{self, CreateError, ReadError};
use super::seal::{DataKey, KEY_BYTES};
use super::tag::{TAG_BYTES, derived_key, tag};

/// The number of random bytes that make a keyring: the log id and four keys.
pub const KEYRING_ENTROPY_BYTES: usize = LOG_ID_BYTES + 4 * KEY_BYTES;
/// The number of random bytes that a rotation takes: a key-encryption key and a pepper.
pub const ROTATION_ENTROPY_BYTES: usize = 2 * KEY_BYTES;
/// The longest keyring file that is read, in bytes; room for some 300 retired keys.
pub const KEYRING_FILE_BYTES_MAX: u64 = 64 * 1024;
/// The length of a log id, in bytes.
pub const LOG_ID_BYTES: usize = 16;

/// The label that derives the seeds of assertion keys.
const ASSERTION_LABEL: &[u8] = b"countersign assertion key";
/// The label that derives the keys of derived files.
const FILE_LABEL: &[u8] = b"countersign derived file ";

/// The keys of one log, read from its keyring file.
pub struct Keyring {
    log_id: [u8; LOG_ID_BYTES],
    /// The ids of the log's earlier epochs, the oldest first.
    earlier_log_ids: Vec<[u8; LOG_ID_BYTES]>,
    created_at_us: u64,
    name_key: Hex<KEY_BYTES>,
    /// Whether the file still has the key of an older build's tags, which the next write leaves
    /// out.
    has_old_tag_key: bool,
    checkpoint_seed: Hex<KEY_BYTES>,
    keks: Vec<(KeyAbout, DataKey)>,
    peppers: Vec<(KeyAbout, Hex<KEY_BYTES>)>,
}

/// Why a keyring was not read; no message contains any part of the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing, not a private file of this user, or unreadable.
    #[error("the keyring {0}")]
    File(#[from] ReadError),
    /// The file ends before its check.
    #[error("the keyring {0} is cut off: restore it from its backup")]
    Truncated(PathBuf),
    /// The file is of a version that this build does not know.
    #[error("the keyring {0} has a format that this build cannot read: use a newer build")]
    UnknownVersion(PathBuf),
    /// The file does not have the shape of a keyring.
    #[error("the keyring {path} is damaged ({what}): restore it from its backup")]
    Damaged {
        /// The file's path.
        path: PathBuf,
        /// What is wrong with the file, without quoting it.
        what: &'static str,
    },
    /// The contents do not match the check.
    #[error(
        "the keyring {0} does not match its own check, so a key or a line was changed: restore it from its backup"
    )]
    WrongCheck(PathBuf),
}

/// Why a keyring was not created.
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
    /// The key is used for new values; exactly one key of each kind is active.
    Active,
    /// The key is kept for the values that were made with it.
    Retired,
}

/// The properties of a key that may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAbout {
    /// The key's number, from 1.
    pub id: u32,
    /// Whether new values use the key.
    pub state: KeyState,
    /// When the key was made, in microseconds since the Unix epoch.
    pub created_at_us: u64,
}

impl Keyring {
    /// Creates a keyring file of mode 0600 and returns the keyring as read back from it.
    ///
    /// `entropy` must come from the operating system's generator; `now_us` is microseconds since
    /// the Unix epoch. A missing folder is made with mode 0700. The file is durable under its name
    /// when this returns; after a crash it is there completely or not at all.
    ///
    /// # Errors
    /// [`InitError::Create`] if the path exists or cannot be written, and [`InitError::Load`] if
    /// the file does not read back.
    pub fn create(
        path: &Path,
        entropy: &[u8; KEYRING_ENTROPY_BYTES],
        now_us: u64,
    ) -> Result<Self, InitError> {
        let text = file::render(&Self::new(entropy, now_us));
        key_file::create_private(path, text.as_bytes())?;
        Ok(Self::load(path)?)
    }

    /// Reads a keyring file and checks everything in it.
    ///
    /// # Errors
    /// One variant of [`LoadError`] or [`ReadError`] for each reason to refuse the file.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = key_file::read_private(path, KEYRING_FILE_BYTES_MAX)?;
        file::parse(path, &bytes)
    }

    /// Rewrites the keyring with another log id, for the next epoch of its log.
    ///
    /// The id must come from the operating system's generator. The file is durable when this
    /// returns; after a crash it is the old or the new one, complete.
    ///
    /// # Errors
    /// [`CreateError::Io`]: the old file is still in place.
    pub fn begin_epoch(
        mut self,
        path: &Path,
        log_id: [u8; LOG_ID_BYTES],
    ) -> Result<Self, CreateError> {
        self.earlier_log_ids.push(self.log_id);
        self.log_id = log_id;
        self.replace(path)
    }

    /// Rewrites the keyring with another active key-encryption key and pepper; the previous keys
    /// are kept as retired, for the values that they made. The key of older builds' tags is left
    /// out.
    ///
    /// `entropy` must come from the operating system's generator. Both keys get the number after
    /// the highest of both kinds. The file is durable when this returns; after a crash it is the
    /// old or the new one, complete.
    ///
    /// # Errors
    /// [`CreateError::Io`]: the old file is still in place, also if the new one would be too long.
    pub fn rotate(
        mut self,
        path: &Path,
        entropy: &[u8; ROTATION_ENTROPY_BYTES],
        now_us: u64,
    ) -> Result<Self, CreateError> {
        let about = KeyAbout {
            id: self.next_id(),
            state: KeyState::Active,
            created_at_us: now_us,
        };
        let (kek, pepper) = entropy.split_at(KEY_BYTES);
        let key = |bytes: &[u8]| -> [u8; KEY_BYTES] { std::array::from_fn(|at| bytes[at]) };
        for (old, _) in &mut self.keks {
            old.state = KeyState::Retired;
        }
        for (old, _) in &mut self.peppers {
            old.state = KeyState::Retired;
        }
        self.keks.push((about, DataKey::new(key(kek))));
        self.peppers.push((about, Hex(key(pepper))));
        self.replace(path)
    }

    /// Rewrites the keyring without a retired key-encryption key; `None` if the id is not one of a
    /// retired key.
    ///
    /// No copy of the key store can unwrap that key's data keys any more.
    ///
    /// # Errors
    /// The same as [`Keyring::rotate`].
    pub fn forget(mut self, path: &Path, kek_id: u32) -> Result<Option<Self>, CreateError> {
        let before = self.keks.len();
        self.keks
            .retain(|(about, _)| about.id != kek_id || about.state == KeyState::Active);
        if self.keks.len() < before {
            self.replace(path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Returns the number of the next keys.
    pub fn next_id(&self) -> u32 {
        let ids = self.keks().chain(self.peppers()).map(|about| about.id);
        // Ids come from this file's own counting, and the file's length is bounded.
        ids.max().unwrap_or(0).saturating_add(1)
    }

    fn replace(mut self, path: &Path) -> Result<Self, CreateError> {
        let text = file::render(&self);
        if text.len() as u64 > KEYRING_FILE_BYTES_MAX {
            return Err(CreateError::Io {
                path: path.to_owned(),
                source: std::io::Error::other("it is full of retired keys, forget old ones"),
            });
        }
        key_file::replace_private(path, text.as_bytes())?;
        self.has_old_tag_key = false;
        Ok(self)
    }

    fn new(entropy: &[u8; KEYRING_ENTROPY_BYTES], created_at_us: u64) -> Self {
        let (log_id, keys) = entropy.split_at(LOG_ID_BYTES);
        let key = |index: usize| -> [u8; KEY_BYTES] {
            std::array::from_fn(|at| keys[index * KEY_BYTES + at])
        };
        let about = KeyAbout {
            id: 1,
            state: KeyState::Active,
            created_at_us,
        };
        Self {
            log_id: std::array::from_fn(|at| log_id[at]),
            earlier_log_ids: Vec::new(),
            created_at_us,
            name_key: Hex(key(0)),
            has_old_tag_key: false,
            checkpoint_seed: Hex(key(1)),
            keks: vec![(about, DataKey::new(key(2)))],
            peppers: vec![(about, Hex(key(3)))],
        }
    }

    /// Returns the id of the log that this keyring belongs to.
    pub fn log_id(&self) -> &[u8; LOG_ID_BYTES] {
        &self.log_id
    }

    /// Returns the id of the log's first epoch.
    pub fn first_log_id(&self) -> &[u8; LOG_ID_BYTES] {
        self.earlier_log_ids.first().unwrap_or(&self.log_id)
    }

    /// Returns the ids of all epochs of the log, the newest last.
    pub fn log_ids(&self) -> impl Iterator<Item = &[u8; LOG_ID_BYTES]> {
        self.earlier_log_ids.iter().chain([&self.log_id])
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

    /// Returns the key-encryption key with this id, active or retired.
    pub fn kek(&self, id: u32) -> Option<&DataKey> {
        let found = self.keks.iter().find(|(about, _)| about.id == id)?;
        Some(&found.1)
    }

    /// Returns id and bytes of the pepper for new verifiers.
    pub fn active_pepper(&self) -> (u32, &[u8]) {
        let (about, pepper) = active(&self.peppers);
        (about.id, &pepper.0)
    }

    /// Returns the pepper with this id, active or retired.
    pub fn pepper(&self, id: u32) -> Option<&[u8]> {
        let found = self.peppers.iter().find(|(about, _)| about.id == id)?;
        Some(&found.1.0)
    }

    /// Returns the seeds of the Ed25519 keys that sign assertions. Each is derived from a pepper,
    /// so that every rotation replaces both.
    pub fn assertion_seeds(&self) -> impl Iterator<Item = (KeyAbout, Zeroizing<[u8; KEY_BYTES]>)> {
        self.peppers.iter().map(|(about, pepper)| {
            let seed = derived_key(&pepper.0, ASSERTION_LABEL);
            (*about, seed)
        })
    }

    /// Returns the properties of the key-encryption keys.
    pub fn keks(&self) -> impl Iterator<Item = KeyAbout> {
        self.keks.iter().map(|(about, _)| *about)
    }

    /// Returns the properties of the peppers.
    pub fn peppers(&self) -> impl Iterator<Item = KeyAbout> {
        self.peppers.iter().map(|(about, _)| *about)
    }

    /// Returns the key behind [`Self::name_hash`].
    pub fn name_key(&self) -> &[u8; KEY_BYTES] {
        &self.name_key.0
    }

    /// Returns whether the file still has the key with which builds before 2026-11-30 made tags
    /// over passwords and addresses. Nothing uses it, and the next rotation leaves it out.
    pub fn has_old_tag_key(&self) -> bool {
        self.has_old_tag_key
    }

    /// Returns the Ed25519 seed that signs checkpoints (RFC 8032 §5.1.5).
    pub fn checkpoint_seed(&self) -> &[u8; KEY_BYTES] {
        &self.checkpoint_seed.0
    }

    /// Returns the key of a derived file, by the file's label; rotations and epochs do not change
    /// it.
    pub fn file_key(&self, label: &str) -> FileKey {
        let label = [FILE_LABEL, label.as_bytes()].concat();
        FileKey::new(&derived_key(&self.checkpoint_seed.0, &label))
    }

    /// Whether another keyring has the same keys, numbers, states and ids of epochs, all of them.
    pub fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (file::render(self), file::render(other));
        ours.as_bytes().ct_eq(theirs.as_bytes()).into()
    }

    /// Returns the keyed hash by which an account is found from its username in lower case.
    pub fn name_hash(&self, username_lowercase: &str) -> [u8; TAG_BYTES] {
        tag(&self.name_key.0, &[username_lowercase.as_bytes()])
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

fn active<K>(keys: &[(KeyAbout, K)]) -> (KeyAbout, &K) {
    let found = keys
        .iter()
        .find(|(about, _)| about.state == KeyState::Active);
    let (about, key) = found.expect("a keyring without an active key is refused when read");
    (*about, key)
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
