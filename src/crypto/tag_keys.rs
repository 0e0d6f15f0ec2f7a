//! The keys behind the tags of recorded commands, in a small file of their own. Each key is used
//! for a day and destroyed a day later, when a command that it tagged can no longer be repeated.
//!
//! File: magic ‖ rows of `id ‖ made at (µs, little-endian) ‖ kek id (little-endian) ‖ nonce ‖
//! wrapped key`, wrapped with associated data label ‖ log id ‖ id ‖ made at ‖ kek id. A tag begins
//! with the id of its key, so a tag under a destroyed key is not mistaken for a wrong one. No
//! backup contains the file. A lost or damaged file is replaced: then repeats of earlier commands
//! are not recognised as such, but no command is executed twice.

use std::io;
use std::path::{Path, PathBuf};

use countersign_schemas::sealed::Sealed;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::key_file::{self, CreateError, ReadError};
use super::keyring::Keyring;
use super::seal::{DataKey, KEY_BYTES, NONCE_BYTES, TAG_BYTES as SEAL_TAG_BYTES, open, seal};
use super::tag::{TAG_BYTES, tag};
use crate::durable;

/// How long a key tags commands, in seconds: a day.
pub const USED_S: u64 = 24 * 3_600;
/// How old a key gets, in seconds: the last command that it tagged may be repeated for another day.
pub const KEPT_S: u64 = 2 * USED_S;
/// The most keys in the file: the one in use, and those whose day is over.
pub const KEYS_MAX: usize = 3;
/// How far in the future a key's creation may seem to be before its age is counted again, in
/// seconds.
const CLOCK_BACK_S: u64 = 60;
/// How long after a failure to write the file the next attempt is made, in seconds.
const RETRY_S: u64 = 60;
/// The number of random bytes that a change of the file takes: a key, its id, and a nonce for each
/// row.
pub const TEND_ENTROPY_BYTES: usize = KEY_BYTES + ID_BYTES + KEYS_MAX * NONCE_BYTES;

/// The length of a key's id, in bytes; the rest of a tag is HMAC.
const ID_BYTES: usize = 4;
const MAGIC: &[u8; 8] = b"CSTAGK01";
const LABEL: &[u8] = b"countersign tag key v1\0";
const ROW_BYTES: usize = ID_BYTES + 8 + 4 + NONCE_BYTES + KEY_BYTES + SEAL_TAG_BYTES;
const FILE_BYTES_MAX: u64 = (MAGIC.len() + KEYS_MAX * ROW_BYTES) as u64;
const SECOND_US: u64 = 1_000_000;

/// The keys, oldest first, and the file that holds them.
pub struct TagKeys {
    path: PathBuf,
    keys: Vec<TagKey>,
    /// The key-encryption key that wraps them in the file; `None` if the file must be written.
    wrapped_by: Option<u32>,
    /// When writing the file failed last, in microseconds of the wall clock.
    failed_at_us: Option<u64>,
}

#[derive(Clone)]
struct TagKey {
    id: [u8; ID_BYTES],
    made_at_us: u64,
    key: DataKey,
}

/// Why the file's keys were not accepted; no message contains a key.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    File(#[from] ReadError),
    #[error("{0} is not a file of tag keys, or is damaged")]
    Form(PathBuf),
    #[error("the keyring does not open {0}")]
    Keyring(PathBuf),
}

impl TagKeys {
    /// Reads the file. Without a valid file there are no keys yet.
    ///
    /// # Errors
    /// The error of the operating system, if the remains of an interrupted write cannot be removed.
    pub fn read(path: &Path, keyring: &Keyring) -> io::Result<Self> {
        // It may hold a key that was to be destroyed.
        durable::remove_if_there(&durable::staging(path))?;
        let (keys, wrapped_by) = match read_rows(path, keyring) {
            Ok((keys, wrapped_by)) => (keys, Some(wrapped_by)),
            Err(Unreadable::File(ReadError::Missing(_))) => (Vec::new(), None),
            Err(why) => {
                tracing::warn!(%why, "the tag keys are replaced: repeats of earlier commands cannot be recognised and are answered with outcome.unseen");
                (Vec::new(), None)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            keys,
            wrapped_by,
            failed_at_us: None,
        })
    }

    /// Returns whether [`Self::tend`] has anything to do at this time of the wall clock.
    pub fn is_due(&self, keyring: &Keyring, now_us: u64) -> bool {
        let is_failed = |at: u64| now_us.abs_diff(at) < RETRY_S * SECOND_US;
        !self.failed_at_us.is_some_and(is_failed)
            && (self.wrapped_by != Some(keyring.active_kek().0)
                || self
                    .keys
                    .last()
                    .is_none_or(|key| key.is_older(USED_S, now_us))
                || self.keys.iter().any(|key| {
                    key.is_older(KEPT_S, now_us)
                        || key.made_at_us > now_us.saturating_add(CLOCK_BACK_S * SECOND_US)
                }))
    }

    // BUG: clock-ahead-ends-tag-keys: a clock that jumps ahead destroys keys early.
    /// Makes the next key if the newest one's day is over, destroys those that are two days old,
    /// and wraps all by the active key-encryption key.
    ///
    /// `entropy` must come from the operating system's generator; `now_us` is the wall clock. If
    /// the clock was set back, a key's age is counted from then: log time may stand still for as
    /// long as the clock was ahead, and no key may live as long. The file is durable when this
    /// returns.
    ///
    /// # Errors
    /// [`CreateError::Io`]: the previous keys are in use, and still in the file.
    pub fn tend(
        &mut self,
        keyring: &Keyring,
        now_us: u64,
        entropy: &[u8; TEND_ENTROPY_BYTES],
    ) -> Result<(), CreateError> {
        let (new, nonces) = entropy.split_at(KEY_BYTES + ID_BYTES);
        let mut keys = self.keys.clone();
        for key in &mut keys {
            key.made_at_us = key.made_at_us.min(now_us);
        }
        keys.retain(|key| !key.is_older(KEPT_S, now_us));
        if keys.last().is_none_or(|key| key.is_older(USED_S, now_us)) {
            keys.push(TagKey {
                id: std::array::from_fn(|at| new[KEY_BYTES + at]),
                made_at_us: now_us,
                key: DataKey::new(std::array::from_fn(|at| new[at])),
            });
        }
        keys.drain(..keys.len().saturating_sub(KEYS_MAX));
        let mut file = MAGIC.to_vec();
        for (key, nonce) in keys.iter().zip(nonces.as_chunks().0) {
            file.extend_from_slice(&key.row(keyring, *nonce));
        }
        self.failed_at_us = Some(now_us);
        key_file::replace_private(&self.path, &file)?;
        self.failed_at_us = None;
        self.keys = keys;
        self.wrapped_by = Some(keyring.active_kek().0);
        Ok(())
    }

    /// Returns the tag of a command that is recorded now; without any key all zeros, which match no
    /// command.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        self.keys
            .last()
            .map_or([0; TAG_BYTES], |key| key.tag(parts))
    }

    /// Returns whether a stored tag belongs to these parts; `None` if its key is destroyed.
    pub fn is_of(&self, stored: &[u8; TAG_BYTES], parts: &[&[u8]]) -> Option<bool> {
        let key = self.keys.iter().find(|key| stored.starts_with(&key.id))?;
        Some(key.tag(parts).ct_eq(stored).into())
    }
}

impl TagKey {
    fn is_older(&self, seconds: u64, now_us: u64) -> bool {
        now_us >= self.made_at_us.saturating_add(seconds * SECOND_US)
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut whole = tag(self.key.as_bytes(), parts);
        whole[..ID_BYTES].copy_from_slice(&self.id);
        whole
    }

    fn row(&self, keyring: &Keyring, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let (kek_id, kek) = keyring.active_kek();
        let aad = aad(keyring, self.id, self.made_at_us, kek_id);
        let sealed = seal(kek, kek_id, &aad, nonce, self.key.as_bytes());
        let mut row = Vec::with_capacity(ROW_BYTES);
        row.extend_from_slice(&self.id);
        row.extend_from_slice(&self.made_at_us.to_le_bytes());
        row.extend_from_slice(&kek_id.to_le_bytes());
        row.extend_from_slice(&nonce);
        row.extend_from_slice(&sealed.ciphertext);
        row
    }
}

/// The keys of the file and the key-encryption key that wraps all of them.
fn read_rows(path: &Path, keyring: &Keyring) -> Result<(Vec<TagKey>, u32), Unreadable> {
    let bytes = key_file::read_private(path, FILE_BYTES_MAX)?;
    let form = || Unreadable::Form(path.to_owned());
    let rows = bytes.strip_prefix(MAGIC).ok_or_else(form)?;
    let (rows, []) = rows.as_chunks::<ROW_BYTES>() else {
        return Err(form());
    };
    let closed = || Unreadable::Keyring(path.to_owned());
    let mut keys = Vec::with_capacity(rows.len());
    let mut wrapped_by = None;
    for row in rows {
        let (key, kek_id) = unwrap(keyring, row).ok_or_else(closed)?;
        if wrapped_by.is_some_and(|other| other != kek_id) {
            return Err(form());
        }
        wrapped_by = Some(kek_id);
        keys.push(key);
    }
    Ok((keys, wrapped_by.ok_or_else(form)?))
}

fn unwrap(keyring: &Keyring, row: &[u8; ROW_BYTES]) -> Option<(TagKey, u32)> {
    let (id, rest) = row.split_first_chunk::<ID_BYTES>()?;
    let (made_at_us, rest) = rest.split_first_chunk::<8>()?;
    let (kek_id, rest) = rest.split_first_chunk::<4>()?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let made_at_us = u64::from_le_bytes(*made_at_us);
    let kek_id = u32::from_le_bytes(*kek_id);
    let sealed = Sealed {
        key: kek_id,
        nonce: *nonce,
        ciphertext: ciphertext.into(),
    };
    let aad = aad(keyring, *id, made_at_us, kek_id);
    let bytes: Zeroizing<Vec<u8>> = open(keyring.kek(kek_id)?, &aad, &sealed).ok()?;
    let key = DataKey::new(bytes.as_slice().try_into().ok()?);
    let id = *id;
    Some((
        TagKey {
            id,
            made_at_us,
            key,
        },
        kek_id,
    ))
}

/// The first epoch's log id, since a new epoch keeps the tags of earlier commands.
fn aad(keyring: &Keyring, id: [u8; ID_BYTES], made_at_us: u64, kek_id: u32) -> Vec<u8> {
    let mut aad = LABEL.to_vec();
    aad.extend_from_slice(keyring.first_log_id());
    aad.extend_from_slice(&id);
    aad.extend_from_slice(&made_at_us.to_le_bytes());
    aad.extend_from_slice(&kek_id.to_le_bytes());
    aad
}

#[cfg(test)]
#[path = "tag_keys_tests.rs"]
mod tests;
