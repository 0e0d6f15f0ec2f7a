//! The log's folder: the names in it, and who may read them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenLogError;
use crate::durable::{self, create_folders, new_private};

/// Returns the path of a segment's file: `00000001.redb` and up.
pub(super) fn segment_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08}.redb"))
}

/// Makes an empty file that only its owner may read, unless it exists; redb itself makes files that
/// everybody may read.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    match new_private(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes a folder and its missing parents, for their owner alone whatever the umask is; an existing
/// folder is closed to everybody but its owner.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    create_folders(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Removes every permission on a copy except its owner's.
pub(super) fn narrow(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// Refuses a folder that is absent, a symbolic link, or read-only.
pub(super) fn check(folder: &Path) -> Result<(), OpenLogError> {
    let meta = fs::symlink_metadata(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenLogError::Missing(folder.to_owned()),
        _ => io_error(folder, &error),
    })?;
    if !meta.is_dir() {
        return Err(OpenLogError::NotPlain(folder.to_owned()));
    }
    if meta.permissions().readonly() {
        return Err(OpenLogError::ReadOnly(folder.to_owned()));
    }
    Ok(())
}

/// Reserves the folder for this process until this is dropped.
#[derive(Debug)]
pub(super) struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is being started holds a copy of the
        // descriptor, and with it the lock, until it has become another program.
        let _ = self.0.unlock();
    }
}

/// Reserves the folder for this process until the returned lock is dropped.
///
/// redb locks the segment that takes writes. But while one segment is sealed and the next one does
/// not exist yet, a second process would find nothing locked.
pub(super) fn lock(folder: &Path) -> Result<FolderLock, OpenLogError> {
    let file = File::open(folder).map_err(|error| io_error(folder, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenLogError::AlreadyOpen(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(folder, &error)),
    }
}

/// Counts the segments, which must be numbered 1, 2, … without a gap and be plain files.
pub(super) fn count_segments(folder: &Path) -> Result<u32, OpenLogError> {
    let mut numbers = Vec::new();
    for name in names(folder)? {
        let Some(number) = segment_number(&name) else {
            continue;
        };
        let path = folder.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(|error| io_error(&path, &error))?;
        if !meta.is_file() {
            return Err(OpenLogError::NotPlain(path));
        }
        if meta.permissions().readonly() {
            return Err(OpenLogError::ReadOnly(path));
        }
        numbers.push(number);
    }
    numbers.sort_unstable();
    let in_order = (1..).zip(&numbers).take_while(|(n, found)| n == *found);
    let count = in_order.map(|(n, _)| n).last().unwrap_or(0);
    if count == 0 || usize::try_from(count) != Ok(numbers.len()) {
        return Err(OpenLogError::MissingSegment {
            folder: folder.to_owned(),
            number: count + 1,
        });
    }
    Ok(count)
}

/// Deletes the remains of a segment that a crash kept from being published.
pub(super) fn sweep(folder: &Path) -> Result<(), OpenLogError> {
    for name in names(folder)? {
        if name
            .strip_suffix(durable::STAGING)
            .and_then(segment_number)
            .is_some()
        {
            let path = folder.join(&name);
            fs::remove_file(&path).map_err(|error| io_error(&path, &error))?;
        }
    }
    Ok(())
}

/// Makes the unpublished folder of a new log, and deletes the remains of an interrupted creation.
pub(super) fn begin(folder: &Path) -> Result<PathBuf, OpenLogError> {
    if fs::symlink_metadata(folder).is_ok() {
        return Err(OpenLogError::AlreadyExists(folder.to_owned()));
    }
    let staging = durable::staging(folder);
    if fs::symlink_metadata(&staging).is_ok() {
        check(&staging)?;
        let first = segment_path(&staging, 1);
        match fs::remove_file(&first) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&first, &error));
            }
            _ => fs::remove_dir(&staging).map_err(|error| io_error(&staging, &error))?,
        }
    }
    let made = DirBuilder::new().mode(0o700).create(&staging);
    made.and_then(|()| fs::set_permissions(&staging, fs::Permissions::from_mode(0o700)))
        .map_err(|error| io_error(&staging, &error))?;
    Ok(staging)
}

pub(super) fn names(folder: &Path) -> Result<Vec<String>, OpenLogError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| io_error(folder, &error))?;
    let names = entries.into_iter().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

/// Returns a segment's number from its name; `None` for any other name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".redb")?;
    let plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> OpenLogError {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => OpenLogError::ReadOnly(path.to_owned()),
        _ => OpenLogError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
