//! Copies of the key store for backups: the keys stay wrapped, and no free page is copied.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase};

use super::{DataKeys, DataKeysError};
use crate::crypto::key_file;
use crate::crypto::key_store::{self, Condemned, StreamKey};
use crate::crypto::keyring::Keyring;

impl DataKeys {
    /// Copies the durable keys into another store; it has its name once it is whole.
    ///
    /// # Errors
    /// [`DataKeysError::CopyKnowsMore`], [`DataKeysError::Io`] or [`DataKeysError::Storage`]; an
    /// earlier copy is as it was.
    pub fn back_up(&self, target: &Path) -> Result<(), DataKeysError> {
        let condemned = self.condemned().clone();
        copy(&self.store_for_long(), &condemned, target)
    }
}

/// The same for the store of a stopped service.
///
/// # Errors
/// As [`DataKeys::open`] where it is opened, then as [`DataKeys::back_up`].
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
    // A copy that cannot be read has nothing to lose.
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

/// A copy of the keys, which is only read.
pub struct KeysCopy {
    path: PathBuf,
    store: ReadOnlyDatabase,
}

impl KeysCopy {
    /// Opens it; nothing of it is changed.
    ///
    /// # Errors
    /// [`DataKeysError::Damaged`], also where there is none.
    pub fn open(path: &Path) -> Result<Self, DataKeysError> {
        let store = key_store::open_copy(path)?;
        let path = path.to_owned();
        Ok(Self { path, store })
    }

    /// Whether it has an account's key of this generation, or knows that it was destroyed.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`].
    pub fn had(&self, stream_key: &StreamKey, generation: u32) -> Result<bool, DataKeysError> {
        let is_erased = generation <= key_store::last_erased(&self.store, stream_key)?;
        Ok(is_erased || key_store::has(&self.store, stream_key, generation)?)
    }

    /// Counts its keys; reads the whole copy.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`].
    pub fn count(&self) -> Result<u64, DataKeysError> {
        Ok(key_store::counts(&self.store)?.values().sum())
    }

    /// Unwraps every key, and counts them.
    ///
    /// # Errors
    /// [`DataKeysError::WrongKeyring`], [`DataKeysError::DamagedKey`] with the first that does not
    /// unwrap, [`DataKeysError::Storage`].
    pub fn check(&self, keyring: &Keyring) -> Result<u64, DataKeysError> {
        key_store::check_keyring(&self.path, &self.store, keyring)?;
        key_store::check_keys(&self.path, &self.store, keyring)?;
        self.count()
    }
}
