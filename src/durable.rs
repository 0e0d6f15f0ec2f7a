//! Files that a crash leaves complete: written beside their place, synced, and only then named.
//!
//! ```text
//!   PATH.new ──write, fsync──▶ rename to PATH ──fsync of the folder──▶ durable
//! ```
//! A crash leaves the old file or the new one, and at most `PATH.new`, which may be deleted. Every
//! file and folder is made for its owner alone, whatever the umask is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The ending of a name under which a file is not complete.
pub(crate) const STAGING: &str = ".new";

/// Returns the path beside `path` at which its contents are prepared.
pub(crate) fn staging(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(STAGING);
    PathBuf::from(name)
}

/// Creates an empty file of mode 0600 for reading and writing; fails if the file exists.
pub(crate) fn new_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Removes a file; succeeds if the file does not exist.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives the complete, synced file or folder at [`staging`] its name, durably, in place of the one
/// that has it.
pub(crate) fn publish(path: &Path) -> io::Result<()> {
    fs::rename(staging(path), path)?;
    sync_folder(folder_of(path))
}

/// Replaces a file of mode 0600, so that after a crash it is the old or the new one, complete.
///
/// It is durable under its name when this returns.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let staging = staging(path);
    remove_if_there(&staging)?;
    let mut file = new_private(&staging)?;
    file.write_all(contents)?;
    file.sync_all()?;
    publish(path)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a folder and its missing parents, durably and with mode 0700.
pub(crate) fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    create_folders(parent)?;
    DirBuilder::new().mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    sync_folder(parent)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_replaced_file_is_ours_alone_and_an_unfinished_one_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(staging(&path), "cut off by a cra").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert!(!staging(&path).exists());
    }

    #[test]
    fn a_folder_that_is_made_is_ours_alone_and_one_that_was_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        create_folders(&open.join("a/b")).unwrap();
        let made = [open.join("a"), open.join("a/b")];
        assert_eq!(made.map(|path| mode(&path)), [0o700, 0o700]);
        assert_eq!(mode(&open), 0o755);
    }

    #[test]
    fn a_bare_name_is_in_the_folder_of_the_process() {
        assert_eq!(folder_of(Path::new("keys")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/keys")), Path::new("a"));
    }

    #[test]
    fn what_cannot_be_removed_is_not_taken_for_absent() {
        let folder = tempfile::tempdir().unwrap();
        remove_if_there(&folder.path().join("absent")).unwrap();
        remove_if_there(folder.path()).unwrap_err();
        assert!(folder.path().exists());
    }
}
