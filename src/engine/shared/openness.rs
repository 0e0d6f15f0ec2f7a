//! Whether others than the owner have got permissions on a file or folder of the service since the
//! start.
//!
//! A look takes bounded time: files with a fixed name are seen every time, and the others (one
//! tombstone for each erased account) a bounded number at a time, in rounds.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, ReadDir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many entries of folders one look may read. With the look of every 10 s, a round over
/// 100,000 tombstones takes 4 minutes.
const ENTRIES_PER_LOOK: usize = 4_096;
/// The permission bits of others than the owner.
const OTHERS: u32 = 0o077;

/// The files and folders that the service made, and what others might do with them at the start.
pub struct Openness {
    /// Paths to look at every time.
    named: Vec<PathBuf>,
    /// The folders that hold nothing but the service's own files.
    roots: Vec<PathBuf>,
    /// The bits of others that the start could not remove; paths without any have no entry.
    at_start: BTreeMap<PathBuf, u32>,
    /// The folders that the present round is in.
    round: Vec<ReadDir>,
    /// What was too open at the last look.
    opened: Option<PathBuf>,
}

impl Openness {
    /// Takes the present permissions as those of the start.
    pub fn of(named: Vec<PathBuf>, roots: Vec<PathBuf>) -> Self {
        let mut openness = Self {
            named,
            roots,
            at_start: BTreeMap::new(),
            round: Vec::new(),
            opened: None,
        };
        let mut open = BTreeMap::new();
        for path in &openness.named {
            if let Ok(meta) = fs::metadata(path) {
                open.insert(path.clone(), others(&meta));
            }
        }
        openness.begin();
        let mut unbounded = usize::MAX;
        while let Some((path, meta)) = openness.next(&mut unbounded) {
            open.insert(path, others(&meta));
        }
        open.retain(|_, others| *others != 0);
        openness.at_start = open;
        openness
    }

    /// Looks at the next files.
    ///
    /// # Errors
    /// A sentence that names the first path with more permissions for others than at the start.
    pub fn look(&mut self) -> Result<(), String> {
        let before = self.opened.take().into_iter();
        for path in before.chain(self.named.clone()) {
            // What is absent is not open; whether it may be absent is another check.
            if let Ok(meta) = fs::metadata(&path) {
                self.refuse_opened(&path, &meta)?;
            }
        }
        if self.round.is_empty() {
            self.begin();
        }
        let mut left = ENTRIES_PER_LOOK;
        while let Some((path, meta)) = self.next(&mut left) {
            self.refuse_opened(&path, &meta)?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        let folders = self.roots.iter().rev();
        self.round = folders.filter_map(|path| fs::read_dir(path).ok()).collect();
    }

    /// Returns the next file or folder of the round; `None` at the end of the round or when no
    /// entry may be read any more. Links are passed over, as the start passes over them.
    fn next(&mut self, left: &mut usize) -> Option<(PathBuf, Metadata)> {
        while let Some(folder) = self.round.last_mut() {
            let Some(entry) = folder.next() else {
                self.round.pop();
                continue;
            };
            *left = left.checked_sub(1)?;
            // A file that is gone by now was a temporary one.
            let Some((path, meta)) = entry.ok().and_then(|entry| {
                let meta = entry.metadata().ok()?;
                Some((entry.path(), meta))
            }) else {
                continue;
            };
            if meta.is_dir() {
                self.round.extend(fs::read_dir(&path));
            }
            if meta.is_dir() || meta.is_file() {
                return Some((path, meta));
            }
        }
        None
    }

    fn refuse_opened(&mut self, path: &Path, meta: &Metadata) -> Result<(), String> {
        let at_start = self.at_start.get(path).copied().unwrap_or(0);
        if others(meta) & !at_start == 0 {
            return Ok(());
        }
        self.opened = Some(path.to_owned());
        // The next round begins anew, so that the first of several is named again.
        self.round.clear();
        Err(format!(
            "{} was opened to others while the service ran: close it with `chmod go-rwx`, and find out who opened it",
            path.display()
        ))
    }
}

fn others(meta: &Metadata) -> u32 {
    meta.mode() & OTHERS
}

#[cfg(test)]
#[path = "openness_tests.rs"]
mod tests;
