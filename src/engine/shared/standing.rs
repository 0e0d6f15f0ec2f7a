//! Whether the files are still as the start found them: in the same place, the same files, and no
//! more open to others. Cheap checks by name, every few seconds.
//!
//! This process continues to write a file that was renamed or replaced, but the file has lost its
//! name: the next start would find less. The table of the start's checks is in
//! `docs/decisions/2026-11-30-copies.md`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::crypto::keyring::Keyring;
use crate::engine::data_folder::{keys_file, log_folder};
use crate::engine::keys::vault::Vault;
use crate::log::LogReader;

/// The permission bits of others than the owner.
const OTHERS: u32 = 0o077;

/// The file that a path led to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    device: u64,
    inode: u64,
    others: u32,
}

impl Found {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            others: meta.mode() & OTHERS,
        }
    }

    fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

struct Seen {
    /// By path: the folders, and each segment since it was first seen.
    kept: BTreeMap<PathBuf, Found>,
    /// The permissions of others on the key store, which an erasure replaces.
    keys_others: u32,
    wrong: Option<String>,
}

/// The files as the start found them.
pub struct Standing {
    keyring: PathBuf,
    keys: PathBuf,
    log: PathBuf,
    seen: Mutex<Seen>,
}

impl Standing {
    /// Takes the present files as right: a start has just opened them.
    pub fn of(data: &Path, keyring: &Path, log: &LogReader) -> Self {
        let (keys, folder) = (keys_file(data), log_folder(data));
        let found = |path: &Path| fs::metadata(path).ok().as_ref().map(Found::of);
        let segments = segments(&folder, log);
        let named = [data.to_owned(), folder.clone()]
            .into_iter()
            .chain(segments);
        let kept = named.filter_map(|path| Some((path.clone(), found(&path)?)));
        let seen = Seen {
            kept: kept.collect(),
            keys_others: found(&keys).map_or(0, |found| found.others),
            wrong: None,
        };
        Self {
            keyring: keyring.into(),
            keys,
            log: folder,
            seen: Mutex::new(seen),
        }
    }

    /// Returns what was wrong at the last check.
    pub fn wrong(&self) -> Option<String> {
        self.seen().wrong.clone()
    }

    /// Checks the files, and logs what has become wrong or right.
    pub fn look(&self, vault: &Vault, log: &LogReader) {
        let mut seen = self.seen();
        let wrong = self.misplaced(&mut seen, vault, log).err();
        match (&wrong, &seen.wrong) {
            (Some(wrong), before) if before.as_ref() != Some(wrong) => tracing::error!(
                "ALARM: {wrong}; the service is not ready until this is undone, and commands that it acknowledges may be lost"
            ),
            (None, Some(_)) => tracing::info!("the files are again where the start found them"),
            _ => {}
        }
        seen.wrong = wrong;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
    }

    fn misplaced(&self, seen: &mut Seen, vault: &Vault, log: &LogReader) -> Result<(), String> {
        for (path, before) in &seen.kept {
            let now = look_at(path)?;
            if !now.is_same_file(*before) {
                return Err(exchanged(path));
            }
            refuse_opened(path, before.others, now.others)?;
        }
        for path in segments(&self.log, log) {
            if let Entry::Vacant(new) = seen.kept.entry(path) {
                let now = look_at(new.key())?;
                refuse_opened(new.key(), 0, now.others)?;
                new.insert(now);
            }
        }
        let keys = vault.data_keys().in_place();
        match keys.map_err(|error| gone(&self.keys, &error))? {
            Some(meta) => refuse_opened(&self.keys, seen.keys_others, Found::of(&meta).others)?,
            None => return Err(exchanged(&self.keys)),
        }
        self.check_keyring(&vault.keyring())
    }

    /// The next start reads the keyring's file as it is now. A rotation replaces it.
    fn check_keyring(&self, ours: &Keyring) -> Result<(), String> {
        let file = Keyring::load(&self.keyring).map_err(|error| error.to_string())?;
        match file.is_same(ours) {
            true => Ok(()),
            false => Err(exchanged(&self.keyring)),
        }
    }
}

fn segments(folder: &Path, log: &LogReader) -> Vec<PathBuf> {
    let segments = log.segments().unwrap_or_default().into_iter();
    segments.map(|segment| folder.join(segment.name)).collect()
}

fn look_at(path: &Path) -> Result<Found, String> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Found::of(&meta)),
        Err(error) => Err(gone(path, &error)),
    }
}

fn gone(path: &Path, error: &io::Error) -> String {
    format!(
        "{} is not where the start found it ({error}): bring it back under its name, and restart",
        path.display()
    )
}

fn exchanged(path: &Path) -> String {
    format!(
        "{} was replaced while the service ran: restore the original file under its name, and restart",
        path.display()
    )
}

fn refuse_opened(path: &Path, before: u32, now: u32) -> Result<(), String> {
    match now & !before {
        0 => Ok(()),
        _ => Err(format!(
            "{} was opened to others while the service ran: close it with `chmod go-rwx`, and find out who opened it",
            path.display()
        )),
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
