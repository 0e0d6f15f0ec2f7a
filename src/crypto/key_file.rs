//! Files that hold keys: written completely or not at all, read only if no other user can read
//! them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::durable;

/// Why a key file was not read; each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no file at the path.
    #[error("{0} does not exist: create it with `countersign init`, or restore it from its backup")]
    Missing(PathBuf),
    /// The path leads to a symbolic link, folder, pipe or device.
    #[error("{0} is not a regular file: name the file itself, not a link to it")]
    NotAFile(PathBuf),
    /// Others may read or write the file, or its owner may execute it.
    #[error("{path} has mode {mode:04o}: make it readable by its owner alone with `chmod 600`")]
    Mode {
        /// The file's path.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The file belongs to another user than the one this process runs as.
    #[error(
        "{path} belongs to user {owner}, but this process is user {ours}: `chown` it or run as {owner}"
    )]
    Owner {
        /// The file's path.
        path: PathBuf,
        /// The id of the user that the file belongs to.
        owner: u32,
        /// The effective user id of this process.
        ours: u32,
    },
    /// The file is longer than any key file.
    #[error("{path} is longer than {bytes_max} bytes: it is another file, name the right one")]
    TooLong {
        /// The file's path.
        path: PathBuf,
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// The operating system refused.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Why a key file was not written; the path is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A file is already at the path; it is never overwritten.
    #[error(
        "{0} already exists and is never overwritten: name another path, or use the existing file"
    )]
    Exists(PathBuf),
    /// An earlier creation was interrupted, or another one is running now.
    #[error("{0} is left over from an interrupted creation: delete it and try again")]
    LeftOver(PathBuf),
    /// The operating system refused.
    #[error("{path} cannot be written: {source}")]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Reads a regular file of this user that no other user may read or write, up to `bytes_max` bytes.
pub(super) fn read_private(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let ours = rustix::process::geteuid().as_raw();
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.to_owned()),
        _ => ReadError::Io {
            path: path.to_owned(),
            source,
        },
    };
    // Checked before opening, because opening a pipe would block; checked again afterwards, because
    // the path may lead elsewhere by then.
    let named = fs::symlink_metadata(path).map_err(io_error)?;
    refuse_unsafe(path, &named, ours)?;
    let file = File::open(path).map_err(io_error)?;
    let opened = file.metadata().map_err(io_error)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    refuse_unsafe(path, &opened, ours)?;

    let mut bytes = Zeroizing::new(Vec::with_capacity(
        opened.size().min(bytes_max) as usize + 1,
    ));
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    if read.map_err(io_error)? as u64 > bytes_max {
        return Err(ReadError::TooLong {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(bytes)
}

fn refuse_unsafe(path: &Path, file: &Metadata, ours: u32) -> Result<(), ReadError> {
    if !file.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    if file.uid() != ours {
        return Err(ReadError::Owner {
            path: path.to_owned(),
            owner: file.uid(),
            ours,
        });
    }
    let mode = file.mode() & 0o7777;
    if !matches!(mode, 0o600 | 0o400) {
        return Err(ReadError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Creates a file of mode 0600 with these contents, complete and durable, or leaves no file there.
///
/// Missing folders are made with mode 0700. A crash leaves at most `PATH.new`.
pub(super) fn create_private(path: &Path, contents: &[u8]) -> Result<(), CreateError> {
    let io_error = |source| CreateError::Io {
        path: path.to_owned(),
        source,
    };
    // The link below would refuse too; refusing first leaves no folder and no secret behind.
    if fs::symlink_metadata(path).is_ok() {
        return Err(CreateError::Exists(path.to_owned()));
    }
    durable::create_folders(durable::folder_of(path)).map_err(io_error)?;
    let staging = durable::staging(path);
    let mut file = match durable::new_private(&staging) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CreateError::LeftOver(staging));
        }
        other => other.map_err(io_error)?,
    };
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    let published = written
        .map_err(io_error)
        .and_then(|()| publish(&staging, path));
    if published.is_err() {
        // The first error is the one to report; the next attempt names a file that is left here.
        let _ = fs::remove_file(&staging);
    }
    published
}

/// Replaces a file of mode 0600, so that after a crash it is the old or the new one, complete.
///
/// It is durable under its name when this returns.
pub(super) fn replace_private(path: &Path, contents: &[u8]) -> Result<(), CreateError> {
    durable::replace(path, contents).map_err(|source| CreateError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Gives a finished, synced file its name durably, without ever replacing another.
pub(super) fn publish(staging: &Path, path: &Path) -> Result<(), CreateError> {
    let linked = fs::hard_link(staging, path)
        .and_then(|()| fs::remove_file(staging))
        .and_then(|()| durable::sync_folder(durable::folder_of(path)));
    linked.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CreateError::Exists(path.to_owned()),
        _ => CreateError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// Returns device and inode of the file that a path leads to.
pub(super) fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_created_file_is_ours_alone_and_so_is_its_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/keys");
        create_private(&path, b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
        assert_eq!(**read_private(&path, 6).unwrap(), *b"secret");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_or_dangling_link_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create_private(&path, b"first").unwrap();
        let second = create_private(&path, b"second");
        assert!(matches!(second, Err(CreateError::Exists(_))));
        assert_eq!(**read_private(&path, 64).unwrap(), *b"first");

        let link = folder.path().join("link");
        symlink(folder.path().join("nowhere"), &link).unwrap();
        let through = create_private(&link, b"second");
        assert!(matches!(through, Err(CreateError::Exists(_))));
    }

    #[test]
    fn a_name_taken_while_the_file_was_written_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(durable::staging(&path), b"second").unwrap();
        fs::write(&path, b"first").unwrap();
        let published = publish(&durable::staging(&path), &path);
        assert!(matches!(published, Err(CreateError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn the_rest_of_an_interrupted_creation_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(durable::staging(&path), b"half").unwrap();
        let created = create_private(&path, b"second");
        assert!(matches!(created, Err(CreateError::LeftOver(_))));
        assert!(!path.exists());
    }

    #[test]
    fn what_the_system_refuses_is_said_as_it_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let too_long = folder.path().join("x".repeat(255));
        let refused = create_private(&too_long, b"secret");
        assert!(
            matches!(refused, Err(CreateError::Io { .. })),
            "{refused:?}"
        );
        assert!(durable::remove_if_there(folder.path()).is_err());
        assert!(durable::remove_if_there(&folder.path().join("nothing")).is_ok());
        assert!(durable::sync_folder(&folder.path().join("nothing")).is_err());
    }

    #[test]
    fn a_bare_name_is_in_the_working_folder() {
        assert_eq!(durable::folder_of(Path::new("keys")), Path::new("."));
        assert_eq!(durable::folder_of(Path::new("a/keys")), Path::new("a"));
        assert_eq!(durable::folder_of(Path::new("/")), Path::new("."));
    }

    #[test]
    fn only_owner_modes_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create_private(&path, b"secret").unwrap();
        let read_at = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_private(&path, 64)
        };
        assert!(read_at(0o600).is_ok());
        assert!(read_at(0o400).is_ok());
        for mode in [
            0o640, 0o620, 0o604, 0o602, 0o660, 0o644, 0o444, 0o700, 0o4600, 0o200,
        ] {
            let refused = read_at(mode);
            assert!(matches!(refused, Err(ReadError::Mode { mode: said, .. }) if said == mode));
        }
    }

    #[test]
    fn a_link_a_folder_and_nothing_are_each_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create_private(&path, b"secret").unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let refused = |path: &Path| read_private(path, 64).unwrap_err();
        assert!(matches!(refused(&link), ReadError::NotAFile(_)));
        assert!(matches!(refused(folder.path()), ReadError::NotAFile(_)));
        let nothing = folder.path().join("nothing");
        assert!(matches!(refused(&nothing), ReadError::Missing(_)));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create_private(&path, b"secret").unwrap();
        let file = fs::metadata(&path).unwrap();
        assert!(refuse_unsafe(&path, &file, file.uid()).is_ok());
        let refused = refuse_unsafe(&path, &file, file.uid() + 1);
        assert!(matches!(refused, Err(ReadError::Owner { .. })));
    }

    #[test]
    fn a_file_over_the_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create_private(&path, &[b'x'; 65]).unwrap();
        assert!(read_private(&path, 65).is_ok());
        assert!(matches!(
            read_private(&path, 64),
            Err(ReadError::TooLong { .. })
        ));
    }
}
