//! Closes the data folder to everyone but the service, also if it was made open to others.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The mode of a folder of the service.
const FOLDER_MODE: u32 = 0o700;
/// The mode of a file of the service.
const FILE_MODE: u32 = 0o600;
/// The permission bits of others than the owner.
const OTHERS: u32 = 0o077;

// BUG: foreign-owner-warned: a folder of another owner only raises a warning.
/// Removes all permissions of others than the owner on a data folder and everything in it.
///
/// Links are left as they are. A permission that cannot be changed is logged and does not stop a
/// start: a folder may belong to another user who gave the service its place in it.
pub fn make_private(data: &Path) {
    let mut wide = Vec::new();
    if let Err((path, error)) = narrow(data, &mut wide) {
        tracing::warn!(%error, path = %path.display(), "others may read this file or folder, and its mode cannot be changed");
    }
    if let Some(first) = wide.first() {
        tracing::warn!(
            count = wide.len(),
            first = %first.display(),
            "others could read or write files of the service; now only its owner can"
        );
    }
}

fn narrow(path: &Path, wide: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (path.to_owned(), error);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(failed)?,
    };
    let mode = match (meta.is_dir(), meta.is_file()) {
        (true, _) => FOLDER_MODE,
        (_, true) => FILE_MODE,
        _ => return Ok(()),
    };
    if meta.permissions().mode() & OTHERS != 0 {
        let kept = meta.permissions().mode() & mode;
        fs::set_permissions(path, Permissions::from_mode(kept)).map_err(failed)?;
        wide.push(path.to_owned());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            narrow(&entry.map_err(failed)?.path(), wide)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_could_read_is_closed_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let (wide, closed) = (folder.path().join("wide"), folder.path().join("closed"));
        for (file, mode) in [(&wide, 0o640), (&closed, 0o400)] {
            fs::write(file, b"").unwrap();
            fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        for expected in [vec![wide.clone()], vec![]] {
            let mut named = Vec::new();
            narrow(folder.path(), &mut named).unwrap();
            assert_eq!(named, expected);
        }
        let mode = |file| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&wide), mode(&closed)), (0o600, 0o400));
    }
}
