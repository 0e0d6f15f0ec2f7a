//! Copies of the key store for backups: the keys stay wrapped, and no free page is copied.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase};

use super::{DataKeys, DataKeysError};
use crate::crypto::key_file;
use crate::crypto::key_store::{self, Condemned, StreamKey};
use crate::crypto::keyring::Keyring;

impl DataKeys {
    /// Copies the durable keys into another store, which gets its name once it is complete.
    ///
    /// # Errors
    /// [`DataKeysError::CopyKnowsMore`] if an earlier copy has a key that the store does not have,
    /// [`DataKeysError::Io`] or [`DataKeysError::Storage`]; an earlier copy stays as it was.
    pub fn back_up(&self, target: &Path) -> Result<(), DataKeysError> {
        let condemned = self.condemned().clone();
        copy(&self.store_for_long(), &condemned, target)
    }
}

/// Copies the store of a stopped service.
///
/// # Errors
/// The same as [`DataKeys::open`] while it is opened, then the same as [`DataKeys::back_up`].
pub fn back_up_stopped(store: &Path, target: &Path) -> Result<(), DataKeysError> {
    copy(&key_store::open(store)?, &Condemned::new(), target)
}

fn copy(from: &Database, condemned: &Condemned, target: &Path) -> Result<(), DataKeysError> {
    let io_error = |source| DataKeysError::Io {
        path: target.to_owned(),
        source,
    };
    let folder = key_file::folder_of(target);
    key_file::create_folders(folder).map_err(io_error)?;
    let staging = key_file::staging_path(target);
    let copied = key_store::create(&staging, |txn| key_store::copy(condemned, None, from, txn));
    let copied = copied?;
    // An unreadable copy holds nothing to lose.
    if let Ok(before) = key_store::open_copy(target)
        && key_store::lacks(&copied, &before)?
    {
        key_file::remove_if_there(&staging).map_err(io_error)?;
        return Err(DataKeysError::CopyKnowsMore(target.to_owned()));
    }
    drop(copied);
    fs::rename(&staging, target).map_err(io_error)?;
    key_file::sync_folder(folder).map_err(io_error)
}

/// A copy of the keys, opened for reading only.
pub struct KeysCopy {
    path: PathBuf,
    store: ReadOnlyDatabase,
}

impl KeysCopy {
    /// Opens a copy without changing it.
    ///
    /// # Errors
    /// [`DataKeysError::Damaged`], also if there is no file.
    pub fn open(path: &Path) -> Result<Self, DataKeysError> {
        let store = key_store::open_copy(path)?;
        let path = path.to_owned();
        Ok(Self { path, store })
    }

    /// Returns whether the copy has an account's key of this generation, or knows that it was
    /// destroyed.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the copy cannot be read.
    pub fn had(&self, stream_key: &StreamKey, generation: u32) -> Result<bool, DataKeysError> {
        let is_erased = generation <= key_store::last_erased(&self.store, stream_key)?;
        Ok(is_erased || key_store::has(&self.store, stream_key, generation)?)
    }

    /// Counts the keys; reads the whole copy.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the copy cannot be read.
    pub fn count(&self) -> Result<u64, DataKeysError> {
        Ok(key_store::counts(&self.store)?.values().sum())
    }

    /// Unwraps every key, and returns how many there are.
    ///
    /// # Errors
    /// [`DataKeysError::WrongKeyring`] if the keyring does not belong to the copy,
    /// [`DataKeysError::DamagedKey`] with the first key that does not unwrap,
    /// [`DataKeysError::Storage`].
    pub fn check(&self, keyring: &Keyring) -> Result<u64, DataKeysError> {
        key_store::check_keyring(&self.path, &self.store, keyring)?;
        key_store::check_keys(&self.path, &self.store, keyring)?;
        self.count()
    }
}
