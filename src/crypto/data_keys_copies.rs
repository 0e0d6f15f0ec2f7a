//! Copies of the key store for backups: the keys stay wrapped, and no free page is copied.

use std::fs;
use std::path::Path;

use redb::Database;

use super::{DataKeys, DataKeysError};
use crate::crypto::key_file;
use crate::crypto::key_store::{self, Condemned};

impl DataKeys {
    /// Copies the durable keys into another store; it has its name once it is whole.
    ///
    /// # Errors
    /// [`DataKeysError::Io`] or [`DataKeysError::Storage`]; an earlier copy is as it was.
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
    drop(copied?);
    fs::rename(&staging, target).map_err(io_error)?;
    key_file::sync_folder(folder).map_err(io_error)
}
