//! Where everything is in a data folder.

use std::path::{Path, PathBuf};

/// Where the log is in a data folder.
pub fn log_folder(data: &Path) -> PathBuf {
    data.join("log")
}

/// Where the data keys are in a data folder.
pub fn keys_file(data: &Path) -> PathBuf {
    data.join("keys.redb")
}

/// Where the index is in a data folder.
pub fn index_file(data: &Path) -> PathBuf {
    data.join("index.redb")
}

/// Where the tag keys are in a data folder.
pub fn tag_keys_file(data: &Path) -> PathBuf {
    data.join("tag-keys")
}

/// Where the snapshots are in a data folder.
pub fn snapshots_file(data: &Path) -> PathBuf {
    data.join("snapshots.redb")
}

/// Where the views are in a data folder.
pub fn views_file(data: &Path) -> PathBuf {
    data.join("views.redb")
}
