//! Where the service may write to a path that it was given. Files are compared by device and inode,
//! since a link, a mount or `..` gives one file several names.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::log::{MANIFEST, Part};

/// The files with names of their own beside the keyring file.
pub const BESIDE_THE_KEYRING: [&str; 4] = [
    "checkpoint",
    "checkpoint-history",
    "stream-witness",
    "tombstones",
];
/// Files that only a data folder, its log or copies of them hold.
const MARKS: [&str; 3] = ["index.redb", "keys.redb", "00000001.redb"];
/// Files that a folder further up may hold by chance, but that are not made beside another
/// program's file.
const WEAK_MARKS: [&str; 7] = [
    "views.redb",
    "snapshots.redb",
    "tag-keys",
    "keyring.toml",
    "checkpoint-history",
    "tombstones",
    MANIFEST,
];
/// The files that show a keyring's folder when the keyring is not named.
const KEYRING_MARKS: [&str; 2] = ["keyring.toml", "checkpoint-history"];
/// The ending of a file's name until the file is complete.
const UNFINISHED: &str = ".new";
/// The folder that the system makes at the top of a disk.
const OF_THE_SYSTEM: &str = "lost+found";

/// Why a keyring is not accepted at its path.
#[derive(Debug, thiserror::Error)]
pub enum KeyringPlaceError {
    /// It lies in the data folder, under this or another name.
    #[error(
        "the keyring must lie outside the data folder {0}: a person who has both can read every secret"
    )]
    Inside(PathBuf),
    /// It has the name of another file that the service keeps in that folder.
    #[error(
        "{0} is the name of another file that the service keeps beside the keyring: give the keyring another name"
    )]
    Name(PathBuf),
    /// Its path cannot be resolved.
    #[error(transparent)]
    Unknown(#[from] PlaceError),
}

/// Why the service does not write to a path.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is, or lies in, a folder of the installation.
    #[error("{path} is in {ours}, which is the service's own: name a folder outside of it")]
    Inside {
        /// The path.
        path: PathBuf,
        /// The folder.
        ours: PathBuf,
    },
    /// It holds a file of the installation, under this or another name.
    #[error("{path} is {ours}, which the service uses: name another folder")]
    Ours {
        /// The file in the target.
        path: PathBuf,
        /// The file of the installation that it is.
        ours: PathBuf,
    },
    /// A keyring is beside it or further up.
    #[error(
        "{0} is in {1}, where a keyring is: a person who copies that folder has log, data keys and keyring, so name a folder elsewhere"
    )]
    BesideKeyring(PathBuf, PathBuf),
    /// It holds something that no backup wrote.
    #[error(
        "{0} was not written by a backup: name an empty folder, or the one of earlier backups of this log"
    )]
    Foreign(PathBuf),
    /// Two targets are the same folder, or one lies in the other.
    #[error(
        "{0} and {1} are the same folder, or one of them lies in the other: name two folders that are apart"
    )]
    Together(PathBuf, PathBuf),
    /// A path cannot be resolved.
    #[error("the path {path} cannot be used ({source}): name a folder that exists or can be made")]
    Io {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

type Id = (u64, u64);

fn id(meta: &Metadata) -> Id {
    (meta.dev(), meta.ino())
}

/// The files and folders of one installation.
pub struct Ours(BTreeMap<Id, PathBuf>);

impl Ours {
    /// Collects those of a data folder and, if a keyring is named, its files and its folder.
    ///
    /// # Errors
    /// [`PlaceError::Io`] if a path cannot be resolved.
    pub fn of(data: &Path, keyring: Option<&Path>) -> Result<Self, PlaceError> {
        let mut ours = Self(BTreeMap::new());
        ours.add(data)?;
        for file in keyring.into_iter().flat_map(|keyring| {
            let beside = BESIDE_THE_KEYRING.map(|name| keyring.with_file_name(name));
            beside.into_iter().chain([keyring.to_owned()])
        }) {
            ours.add(&file)?;
        }
        if let Some(keyring) = keyring {
            // Only the folder, not the other files in it: it may hold much else.
            ours.add_alone(folder_of(keyring))?;
        }
        Ok(ours)
    }

    fn add_alone(&mut self, path: &Path) -> Result<(), PlaceError> {
        match fs::metadata(path) {
            Ok(meta) => _ = self.0.insert(id(&meta), path.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(path, error)),
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> Result<(), PlaceError> {
        let failed = |source| io_error(path, source);
        let meta = match fs::metadata(path) {
            // Gone since its folder was listed, or a link to nothing: nothing that could be lost.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta.map_err(failed)?,
        };
        let is_new = self.0.insert(id(&meta), path.into()).is_none();
        if meta.is_dir() && is_new {
            for entry in fs::read_dir(path).map_err(failed)? {
                self.add(&entry.map_err(failed)?.path())?;
            }
        }
        Ok(())
    }

    /// Refuses a folder for copies that is one of ours, lies in one, lies in any installation's
    /// data folder or beside its keyring, or holds anything but copies of that part.
    ///
    /// # Errors
    /// [`PlaceError`] with the path and the reason.
    pub fn refuse(&self, target: &Path, part: Part) -> Result<(), PlaceError> {
        let (existing, _) = resolved(target)?;
        for folder in existing.ancestors() {
            let meta = fs::metadata(folder).map_err(|source| io_error(folder, source))?;
            if let Some(ours) = self.0.get(&id(&meta)) {
                let (path, ours) = (target.into(), ours.clone());
                return Err(PlaceError::Inside { path, ours });
            }
            if KEYRING_MARKS.iter().any(|mark| folder.join(mark).exists()) {
                return Err(PlaceError::BesideKeyring(target.into(), folder.into()));
            }
        }
        // The copies have the same names as the files that they copy.
        let (at, rest) = resolved(target)?;
        let above = if rest.as_os_str().is_empty() { 1 } else { 0 };
        let is_data = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).exists());
        if let Some(folder) = at.ancestors().skip(above).find(is_data) {
            return Err(inside(target, folder));
        }
        self.refuse_contents(target, part)
    }

    fn refuse_contents(&self, target: &Path, part: Part) -> Result<(), PlaceError> {
        let has_manifest = target.join(MANIFEST).exists();
        self.refuse_entries(target, &|name, is_folder| {
            let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
            match (name, is_folder) {
                (OF_THE_SYSTEM, true) | (MANIFEST, false) => true,
                ("log", true) => part == Part::Log && has_manifest,
                ("keys.redb", false) => part == Part::Keys && has_manifest,
                _ => false,
            }
        })?;
        self.refuse_entries(&target.join("log"), &|name, is_folder| {
            let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
            !is_folder && is_segment(name)
        })
    }

    fn refuse_entries(
        &self,
        folder: &Path,
        is_expected: &dyn Fn(&str, bool) -> bool,
    ) -> Result<(), PlaceError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|source| io_error(folder, source))?,
        };
        for entry in entries {
            let path = entry.map_err(|source| io_error(folder, source))?.path();
            // A link is not followed: no backup writes one.
            let meta = fs::symlink_metadata(&path).map_err(|source| io_error(&path, source))?;
            if let Some(ours) = self.0.get(&id(&meta)) {
                let ours = ours.clone();
                return Err(PlaceError::Ours { path, ours });
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_plain = meta.is_dir() || meta.is_file();
            if !is_plain || !is_expected(&name, meta.is_dir()) {
                return Err(PlaceError::Foreign(path));
            }
        }
        Ok(())
    }
}

/// Refuses a folder that holds anything but copies of that part. The folder is only read.
///
/// # Errors
/// [`PlaceError`] with the path and the reason.
pub fn refuse_other_contents(folder: &Path, part: Part) -> Result<(), PlaceError> {
    Ours(BTreeMap::new()).refuse_contents(folder, part)
}

/// Refuses to make a keyring or a data folder in a folder of copies, or below it.
///
/// # Errors
/// [`PlaceError::Inside`] if it would be there; [`PlaceError::Io`] if a path cannot be resolved.
pub fn refuse_in_copies(path: &Path) -> Result<(), PlaceError> {
    let (existing, _) = resolved(folder_of(path))?;
    let is_of_copies = |folder: &&Path| folder.join(MANIFEST).exists();
    match existing.ancestors().find(is_of_copies) {
        Some(folder) => Err(inside(path, folder)),
        None => Ok(()),
    }
}

/// Refuses two folders that are the same, or of which one lies in the other.
///
/// # Errors
/// [`PlaceError::Together`] if they are not apart; [`PlaceError::Io`] if a path cannot be resolved.
pub fn refuse_together(one: &Path, other: &Path) -> Result<(), PlaceError> {
    match lies_in(one, other)? || lies_in(other, one)? {
        true => Err(PlaceError::Together(one.into(), other.into())),
        false => Ok(()),
    }
}

/// Whether a path is a folder or lies in it; either may not exist yet.
///
/// # Errors
/// [`PlaceError::Io`] if a path cannot be resolved.
pub fn lies_in(path: &Path, folder: &Path) -> Result<bool, PlaceError> {
    let ((at, rest), (above, below)) = (resolved(path)?, resolved(folder)?);
    if at.join(&rest).starts_with(above.join(&below)) {
        return Ok(true);
    }
    if !below.as_os_str().is_empty() {
        return Ok(false);
    }
    let wanted = fs::metadata(&above).map_err(|source| io_error(&above, source))?;
    let is_it = |at: &Path| fs::metadata(at).is_ok_and(|meta| id(&meta) == id(&wanted));
    Ok(at.ancestors().any(is_it))
}

/// Refuses to make a file among an installation's files: in a data folder, its log, a keyring's
/// folder, or copies.
///
/// # Errors
/// [`PlaceError::Inside`] if it would be there; [`PlaceError::Io`] if a path cannot be resolved.
/// [`PlaceError::Inside`] and [`PlaceError::Io`].
pub fn refuse_among_ours(file: &Path) -> Result<(), PlaceError> {
    refuse_below_ours(file)?;
    let folder = folder_of(file);
    match WEAK_MARKS.iter().any(|mark| folder.join(mark).exists()) {
        true => Err(inside(file, folder)),
        false => Ok(()),
    }
}

/// Refuses to make something in a data folder, its log or copies, at any depth.
///
/// # Errors
/// [`PlaceError::Inside`] if it would be there; [`PlaceError::Io`] if a path cannot be resolved.
pub fn refuse_below_ours(path: &Path) -> Result<(), PlaceError> {
    let (existing, _) = resolved(folder_of(path))?;
    let is_ours = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).exists());
    match existing.ancestors().find(is_ours) {
        Some(folder) => Err(inside(path, folder)),
        None => Ok(()),
    }
}

fn inside(path: &Path, ours: &Path) -> PlaceError {
    PlaceError::Inside {
        path: path.into(),
        ours: ours.into(),
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Refuses a keyring in the data folder, and one that the next checkpoint would overwrite.
///
/// # Errors
/// [`KeyringPlaceError`] with the path and the reason.
pub fn refuse_keyring(keyring: &Path, data: &Path) -> Result<(), KeyringPlaceError> {
    if lies_in(keyring, data)? {
        return Err(KeyringPlaceError::Inside(data.into()));
    }
    let name = keyring.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(UNFINISHED).unwrap_or(&name);
    match BESIDE_THE_KEYRING.contains(&name) {
        true => Err(KeyringPlaceError::Name(keyring.into())),
        false => Ok(()),
    }
}

fn is_segment(name: &str) -> bool {
    name.strip_suffix(".redb")
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Splits a path into the part that exists, without links, and the rest that is to be made.
fn resolved(path: &Path) -> Result<(PathBuf, PathBuf), PlaceError> {
    let failed = |source| io_error(path, source);
    let mut existing = std::path::absolute(path).map_err(failed)?;
    let mut rest = PathBuf::new();
    loop {
        match existing.canonicalize() {
            Ok(real) => return Ok((real, rest)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            // A link to nothing.
            Err(error) if fs::symlink_metadata(&existing).is_ok() => return Err(failed(error)),
            Err(error) => {
                // `..` below a folder that does not exist cannot be resolved.
                let Some(Component::Normal(name)) = existing.components().next_back() else {
                    return Err(failed(error));
                };
                rest = match rest.as_os_str().is_empty() {
                    true => name.into(),
                    false => Path::new(name).join(&rest),
                };
                existing.pop();
            }
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> PlaceError {
    PlaceError::Io {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
