//! The paths of the files in a data folder.

use std::path::{Path, PathBuf};

/// Returns the path of the log in a data folder.
pub fn log_folder(data: &Path) -> PathBuf {
    data.join("log")
}

/// Returns the path of the data keys in a data folder.
pub fn keys_file(data: &Path) -> PathBuf {
    data.join("keys.redb")
}

/// Returns the path of the index in a data folder.
pub fn index_file(data: &Path) -> PathBuf {
    data.join("index.redb")
}

/// Returns the path of the tag keys in a data folder.
pub fn tag_keys_file(data: &Path) -> PathBuf {
    data.join("tag-keys")
}

/// Returns the path of the snapshots in a data folder.
pub fn snapshots_file(data: &Path) -> PathBuf {
    data.join("snapshots.redb")
}

/// Returns the path of the views in a data folder.
pub fn views_file(data: &Path) -> PathBuf {
    data.join("views.redb")
}
