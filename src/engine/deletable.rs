//! Files that may be deleted: the service does without their content or makes it again.

use std::path::Path;

use redb::{Database, DatabaseError};

use crate::log::Storage;

/// Opens a file or makes it; a damaged one is replaced by an empty one. `cache_bytes` is its page
/// cache.
///
/// # Errors
/// [`DatabaseError`] if the file cannot be opened and none can be made.
pub(super) fn open(
    storage: &Storage,
    path: &Path,
    cache_bytes: usize,
) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder
        .set_cache_size(cache_bytes)
        .set_check_integrity_on_open(true);
    let open = || match path.exists() {
        true => (storage.open)(&builder, path),
        false => (storage.create)(&builder, path),
    };
    open().or_else(|error| {
        let file = path.file_name().unwrap_or_default().display();
        tracing::warn!(%error, %file, "the file is damaged and is made again");
        std::fs::remove_file(path).map_err(redb::StorageError::Io)?;
        open()
    })
}
