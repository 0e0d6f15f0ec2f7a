//! Which files the segments are, as they were created or opened: a file that is exchanged later,
//! even before anybody looked at it, is another file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LogReader;
use super::folder;

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Returns the file that this metadata is of.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }

    /// Returns the file that a path leads to; `None` where there is none, as with a storage that
    /// keeps no files.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

/// The files of the segments, oldest first.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Vec<Option<FileId>>>);

impl Files {
    /// Takes the files of a folder's segments. Called before the first is opened: what is
    /// exchanged from then on differs.
    pub(super) fn found(folder: &Path, count: u32) -> Self {
        let at = |number| FileId::at(&folder::segment_path(folder, number));
        Self(Mutex::new((1..=count).map(at).collect()))
    }

    /// Adds the file of the next segment.
    pub(super) fn add(&self, file: Option<FileId>) {
        self.lock().push(file);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<FileId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader {
    /// Returns the path of each segment, oldest first, and the file that was created or opened
    /// there; without those that have no file.
    pub fn files(&self) -> Vec<(PathBuf, FileId)> {
        let shared = self.shared();
        let files = shared.files.lock().clone();
        let named = (1..).zip(files);
        let named =
            named.map(|(number, file)| Some((folder::segment_path(&shared.folder, number), file?)));
        named.flatten().collect()
    }
}
