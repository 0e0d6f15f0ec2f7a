//! Whether the files are still as the start found them: in the same place, the same files, and no
//! more open to others. Cheap checks by name, every few seconds.
//!
//! This process continues to write a file that was renamed or replaced, but the file has lost its
//! name: the next start would find less. The table of the start's checks is in
//! `docs/decisions/2026-11-30-copies.md`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::openness::Openness;
use crate::crypto::keyring::Keyring;
use crate::engine::copies::places::BESIDE_THE_KEYRING;
use crate::engine::data_folder::{keys_file, log_folder};
use crate::engine::keys::vault::Vault;
use crate::log::{FileId, LogReader};

struct Seen {
    openness: Openness,
    wrong: Option<String>,
}

/// The files as the start found them.
pub struct Standing {
    keyring: PathBuf,
    keys: PathBuf,
    /// The data folder and the log's folder in it. The log knows its own files.
    folders: Vec<(PathBuf, FileId)>,
    seen: Mutex<Seen>,
}

impl Standing {
    /// Takes the present folders and permissions as right: a start has just opened everything.
    pub fn of(data: &Path, keyring: &Path) -> Self {
        let (keys, log) = (keys_file(data), log_folder(data));
        let beside = BESIDE_THE_KEYRING.map(|name| keyring.with_file_name(name));
        let mut named = vec![data.to_owned(), log.clone(), keys.clone(), keyring.into()];
        named.extend(keyring.parent().map(Path::to_owned));
        named.extend(beside.clone());
        let roots = [data.to_owned()].into_iter().chain(beside).collect();
        let folders = [data.to_owned(), log].into_iter().filter_map(|path| {
            let file = FileId::of(&fs::metadata(&path).ok()?);
            Some((path, file))
        });
        let seen = Seen {
            openness: Openness::of(named, roots),
            wrong: None,
        };
        Self {
            keyring: keyring.into(),
            keys,
            folders: folders.collect(),
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
        for (path, before) in self.folders.iter().cloned().chain(log.files()) {
            let meta = fs::metadata(&path).map_err(|error| gone(&path, &error))?;
            if FileId::of(&meta) != before {
                return Err(exchanged(&path));
            }
        }
        let keys = vault.data_keys().in_place();
        if keys.map_err(|error| gone(&self.keys, &error))?.is_none() {
            return Err(exchanged(&self.keys));
        }
        self.check_keyring(&vault.keyring())?;
        seen.openness.look()
    }

    /// The next start reads the keyring's file as it is now. A rotation replaces it.
    fn check_keyring(&self, ours: &Keyring) -> Result<(), String> {
        let file = Keyring::load(&self.keyring).map_err(|error| error.to_string())?;
        if file.is_same(ours) {
            Ok(())
        } else {
            Err(exchanged(&self.keyring))
        }
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

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
