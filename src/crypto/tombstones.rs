//! Tombstones: files beside the keyring that order the destruction of an account's data keys.
//!
//! A tombstone is durable before the log records the erasure. So after a crash at any later step,
//! and with a restored old `keys.redb`, the start finds it and erases again. Tombstones are kept
//! for as long as such a copy may be restored: for ever, unless an operator removes them together
//! with the backups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::key_file::{self, CreateError, ReadError};
use crate::durable;

/// The longest tombstone, in bytes: the longest record in base64 and a few lines.
const TOMBSTONE_BYTES_MAX: u64 = 128 * 1024;
const FOLDER: &str = "tombstones";
const FORMAT: &str = "countersign tombstone 1";
const STREAM_KEY_BYTES: usize = 16;

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The account's stream.
    pub stream_key: [u8; STREAM_KEY_BYTES],
    /// The account's data keys up to this generation are to be destroyed.
    pub through: u32,
    /// The position of the erasure's record in the log.
    pub position: u64,
    /// The erasure's record, as the log must have it.
    pub record: Vec<u8>,
}

/// The folder of tombstones beside a keyring file.
#[derive(Debug)]
pub struct Tombstones {
    folder: PathBuf,
}

/// Why the tombstones were not read.
#[derive(Debug, thiserror::Error)]
pub enum TombstoneError {
    /// The folder cannot be read.
    #[error("the tombstones in {folder} cannot be read: {source}")]
    Io {
        /// The folder's path.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One is not a private file of this user.
    #[error("the tombstone {0}")]
    File(#[from] ReadError),
    /// One is not in the form in which it was written.
    #[error(
        "the tombstone {0} is damaged: restore it from a copy of the keyring's folder, or delete it if `countersign audit timeline` shows its account as erased and no older keys.redb will be restored"
    )]
    Damaged(PathBuf),
}

impl Tombstones {
    /// Returns the folder in the keyring file's folder; it need not exist.
    pub fn beside(keyring_file: &Path) -> Self {
        Self {
            folder: durable::folder_of(keyring_file).join(FOLDER),
        }
    }

    /// Writes a tombstone, durable under its name when this returns; an earlier one of the same
    /// keys is replaced.
    ///
    /// # Errors
    /// [`CreateError::Io`]: the earlier file is still in place, or the new one is but may not be
    /// durable.
    pub fn write(&self, tombstone: &Tombstone) -> Result<(), CreateError> {
        let path = self.folder.join(name_of(tombstone));
        durable::create_folders(&self.folder).map_err(|source| CreateError::Io {
            path: self.folder.clone(),
            source,
        })?;
        key_file::replace_private(&path, render(tombstone).as_bytes())
    }

    /// Withdraws a tombstone that may or may not be durable, because the erasure was not begun.
    ///
    /// # Errors
    /// The error of the operating system; the next start may then erase the account.
    pub fn withdraw(&self, tombstone: &Tombstone) -> io::Result<()> {
        match self.folder.is_dir() {
            true => {
                durable::remove_if_there(&self.folder.join(name_of(tombstone)))?;
                durable::sync_folder(&self.folder)
            }
            false => Ok(()),
        }
    }

    /// Reads all tombstones, in no particular order, and removes the remains of an interrupted
    /// write.
    ///
    /// # Errors
    /// [`TombstoneError`]; an unreadable tombstone may belong to an unfinished erasure.
    pub fn read(&self) -> Result<Vec<Tombstone>, TombstoneError> {
        self.each(|path| fs::remove_file(path))
    }

    /// The same beside a service that may be running: nothing is removed.
    ///
    /// # Errors
    /// As [`Tombstones::read`].
    pub fn list(&self) -> Result<Vec<Tombstone>, TombstoneError> {
        self.each(|_| Ok(()))
    }

    fn each(
        &self,
        half_written: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Vec<Tombstone>, TombstoneError> {
        let io_error = |source| TombstoneError::Io {
            folder: self.folder.clone(),
            source,
        };
        let files = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error)?,
        };
        let mut tombstones = Vec::new();
        for file in files {
            let path = file.map_err(io_error)?.path();
            if path.extension().is_some_and(|ending| ending == "new") {
                half_written(&path).map_err(io_error)?;
                continue;
            }
            let bytes = key_file::read_private(&path, TOMBSTONE_BYTES_MAX)?;
            let named = |found: &Tombstone| path.file_name() == Some(name_of(found).as_ref());
            let tombstone = parse(&bytes).filter(named);
            tombstones.push(tombstone.ok_or(TombstoneError::Damaged(path))?);
        }
        Ok(tombstones)
    }
}

fn name_of(tombstone: &Tombstone) -> String {
    let stream = HEXLOWER.encode(&tombstone.stream_key);
    format!("{stream}-{}", tombstone.through)
}

fn render(tombstone: &Tombstone) -> String {
    let body = format!(
        "{FORMAT}\n{}\n{}\n{}\n{}\n",
        HEXLOWER.encode(&tombstone.stream_key),
        tombstone.through,
        tombstone.position,
        BASE64.encode(&tombstone.record),
    );
    let check = check_of(&body);
    format!("{body}{check}\n")
}

fn parse(bytes: &[u8]) -> Option<Tombstone> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, check) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    let lines: Vec<_> = body.lines().collect();
    let [FORMAT, stream, through, position, record] = lines[..] else {
        return None;
    };
    let stream = HEXLOWER.decode(stream.as_bytes()).ok()?;
    let tombstone = Tombstone {
        stream_key: stream.try_into().ok()?,
        through: through.parse().ok()?,
        position: position.parse().ok()?,
        record: BASE64.decode(record.as_bytes()).ok()?,
    };
    (check == check_of(&body)).then_some(tombstone)
}

fn check_of(body: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        Tombstone {
            stream_key: [0xab; 16],
            through: 3,
            position: 4711,
            record: (0..=255).collect(),
        }
    }

    fn beside(folder: &Path) -> Tombstones {
        Tombstones::beside(&folder.join("keyring.toml"))
    }

    #[test]
    fn what_is_written_is_read_and_a_second_writing_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let tombstones = beside(folder.path());
        assert_eq!(tombstones.read().unwrap(), []);
        tombstones.write(&tombstone()).unwrap();
        let later = Tombstone {
            position: 4712,
            ..tombstone()
        };
        tombstones.write(&later).unwrap();
        assert_eq!(tombstones.read().unwrap(), [later]);
    }

    #[test]
    fn one_that_is_withdrawn_is_gone_and_so_is_one_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let tombstones = beside(folder.path());
        tombstones.withdraw(&tombstone()).unwrap();
        tombstones.write(&tombstone()).unwrap();
        for _ in 0..2 {
            tombstones.withdraw(&tombstone()).unwrap();
            assert_eq!(tombstones.read().unwrap(), []);
        }
    }

    #[test]
    fn the_rest_of_an_interrupted_writing_is_no_tombstone() {
        let folder = tempfile::tempdir().unwrap();
        let tombstones = beside(folder.path());
        tombstones.write(&tombstone()).unwrap();
        let left = folder.path().join("tombstones").join("half.new");
        fs::write(&left, b"half").unwrap();
        assert_eq!(tombstones.read().unwrap(), [tombstone()]);
        assert!(!left.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_not_one_without_tombstones() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FOLDER), b"a file").unwrap();
        let refused = beside(folder.path()).read();
        assert!(matches!(refused, Err(TombstoneError::Io { .. })));
    }

    #[test]
    fn each_erasure_has_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let tombstones = beside(folder.path());
        let others = [
            Tombstone {
                through: 4,
                ..tombstone()
            },
            Tombstone {
                stream_key: [0xcd; 16],
                ..tombstone()
            },
        ];
        tombstones.write(&tombstone()).unwrap();
        for other in &others {
            tombstones.write(other).unwrap();
        }
        assert_eq!(tombstones.read().unwrap().len(), 3);
    }

    #[test]
    fn one_that_was_cut_altered_or_renamed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tombstones = beside(folder.path());
        tombstones.write(&tombstone()).unwrap();
        let path = folder.path().join("tombstones").join(name_of(&tombstone()));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 1;
            for bytes in [&altered[..], &good[..at]] {
                fs::write(&path, bytes).unwrap();
                let refused = tombstones.read();
                assert!(matches!(refused, Err(TombstoneError::Damaged(_))), "{at}");
            }
        }
        fs::write(&path, &good).unwrap();
        fs::rename(&path, path.with_file_name(format!("{}-3", "0".repeat(32)))).unwrap();
        let refused = tombstones.read();
        assert!(matches!(refused, Err(TombstoneError::Damaged(_))));
    }
}
