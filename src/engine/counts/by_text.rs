//! Wrong passwords by the text that names an account, whether id or username and whichever account
//! has it, so that an unknown name has the same waits as an account.
//!
//! Each account counts its own. But a text can be one account's id and another's username, or only
//! one of the two. If each way to ask had its own count, comparing the wait of one with the answer
//! of the other would show which of them exists. So the same text has the same wait in both ways.
//!
//! The counts of an account are in the log and survive a restart, so these do too: otherwise a
//! restart would distinguish existing names from all others. They have a file of their own, since
//! the log keeps no trace of the text: at most [`TEXTS_MAX`] rows under keyed hashes of text and
//! address, each durable before its refusal leaves, and in no backup. Losing the file loses the
//! counts.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use countersign_schemas::time::Micros;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::account::{PasswordAttempts, Policy};
use crate::crypto::derived::FileKey;
use crate::engine::counts::source::Source;
use crate::engine::counts::source::SourceKey;
use crate::engine::deletable;
use crate::log::Storage;

// BUG: texts-forget-oldest: the text that is attacked may be the one remembered longest.
/// Texts whose wrong passwords are remembered; beyond that, the one remembered longest is dropped.
pub const TEXTS_MAX: usize = 65_536;
/// The file's name in a data folder; the file's key is derived with it too.
pub const FILE: &str = "texts.redb";
/// Page cache of the file, in bytes.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Keyed hash of a text → its counts as postcard, and the tag over both.
const TEXTS: TableDefinition<&[u8; 16], (&[u8], &[u8; 16])> = TableDefinition::new("texts_v1");

/// The file of the counts; every failure to read is a miss.
pub struct TextFile {
    db: Option<Database>,
    key: FileKey,
}

impl TextFile {
    /// Opens the file; a damaged one is made again, and if that fails counts last until a restart.
    pub fn open(storage: &Storage, path: &Path, key: FileKey) -> Self {
        let db = deletable::open(storage, path, CACHE_BYTES);
        if let Err(error) = &db {
            tracing::warn!(%error, "a restart will forget wrong passwords by name");
        }
        Self { db: db.ok(), key }
    }

    /// Returns the key under which a source is counted at a text; a restart does not change it.
    pub fn source_key(&self, source: &Source) -> SourceKey {
        let [kind, first, second] = source.parts();
        let tag = self.key.tag(&[b"source", kind, first, second]);
        std::array::from_fn(|at| tag[at])
    }

    fn tag(&self, text: &[u8; 16], counts: &[u8]) -> [u8; 16] {
        self.key.tag(&[b"row", text, counts])
    }

    fn read(&self) -> Result<Vec<([u8; 16], PasswordAttempts)>, redb::Error> {
        let Some(db) = &self.db else {
            return Ok(Vec::new());
        };
        let txn = db.begin_read()?;
        let table = match txn.open_table(TEXTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut rows = Vec::new();
        for row in table.iter()?.take(TEXTS_MAX) {
            let (text, row) = row?;
            let (counts, tag) = row.value();
            let is_own = self.tag(text.value(), counts) == *tag;
            match postcard::take_from_bytes(counts) {
                Ok((attempts, [])) if is_own => rows.push((*text.value(), attempts)),
                Ok(_) | Err(_) => tracing::warn!(
                    "a count of wrong passwords by name was not written by this service: it is ignored"
                ),
            }
        }
        Ok(rows)
    }

    /// Makes rows durable; `None` drops a row.
    fn write(&self, rows: &[([u8; 16], Option<&PasswordAttempts>)]) -> Result<(), redb::Error> {
        let Some(db) = &self.db else {
            return Ok(());
        };
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        {
            let mut table = txn.open_table(TEXTS)?;
            for (text, attempts) in rows {
                match attempts {
                    Some(attempts) => {
                        let counts = postcard::to_allocvec(attempts).unwrap_or_default();
                        let tag = self.tag(text, &counts);
                        table.insert(text, (counts.as_slice(), &tag))?;
                    }
                    None => {
                        table.remove(text)?;
                    }
                }
            }
        }
        Ok(txn.commit()?)
    }
}

/// The counts, by text.
#[derive(Debug, Default)]
pub struct ByText {
    attempts: HashMap<[u8; 16], PasswordAttempts>,
    order: VecDeque<[u8; 16]>,
    /// Texts whose counts changed since they were last written.
    changed: Vec<[u8; 16]>,
}

impl ByText {
    /// Reads the counts from before the last stop.
    pub fn kept(file: &TextFile) -> Self {
        let rows = file.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "wrong passwords by name are forgotten");
            Vec::new()
        });
        Self {
            order: rows.iter().map(|(text, _)| *text).collect(),
            attempts: rows.into_iter().collect(),
            changed: Vec::new(),
        }
    }

    /// Makes the changed counts durable, before any reply shows them.
    pub fn keep(&mut self, file: &TextFile) {
        if self.changed.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        let rows: Vec<_> = changed
            .iter()
            .map(|text| (*text, self.attempts.get(text)))
            .collect();
        if let Err(error) = file.write(&rows) {
            tracing::warn!(%error, "wrong passwords by name were not kept: a restart forgets them");
        }
    }

    /// Returns the seconds that a source still has to wait at a text, given as its keyed hash.
    pub fn waiting_s(&self, text: &[u8; 16], source: SourceKey, now: Micros) -> Option<u64> {
        self.attempts.get(text)?.waiting_s(source, now)
    }

    /// Counts a wrong password as an account would.
    pub fn failed(&mut self, text: [u8; 16], source: SourceKey, now: Micros, policy: &Policy) {
        if !self.attempts.contains_key(&text) {
            if self.order.len() == TEXTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.attempts.remove(&oldest);
                self.changed.push(oldest);
            }
            self.order.push_back(text);
        }
        let attempts = self.attempts.entry(text).or_default();
        let counted = attempts.counted(source, now, policy);
        attempts.failed(source, now, &counted);
        self.changed.push(text);
    }

    /// Forgets the failures of a source that gave the right password, as the account does.
    pub fn succeeded(&mut self, text: &[u8; 16], source: SourceKey) {
        if let Some(attempts) = self.attempts.get_mut(text)
            && attempts.succeeded(source)
        {
            self.changed.push(*text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn failed(by_text: &mut ByText, text: u8, times: usize) {
        for _ in 0..times {
            by_text.failed([text; 16], [7; 8], NOW, &Policy::default());
        }
    }

    #[test]
    fn an_unknown_name_waits_as_an_account_does() {
        let mut by_text = ByText::default();
        failed(&mut by_text, 1, 10);
        assert_eq!(by_text.waiting_s(&[1; 16], [7; 8], NOW), None);
        failed(&mut by_text, 1, 1);
        assert_eq!(by_text.waiting_s(&[1; 16], [7; 8], NOW), Some(5));
        assert_eq!(by_text.waiting_s(&[2; 16], [7; 8], NOW), None);
    }

    #[test]
    fn stored_counts_return_and_those_written_by_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.redb");
        let open = |key| TextFile::open(&Storage::default(), &path, FileKey::new(&[key; 32]));
        let mut by_text = ByText::default();
        failed(&mut by_text, 1, 11);
        failed(&mut by_text, 2, 11);
        let file = open(1);
        by_text.keep(&file);
        by_text.succeeded(&[2; 16], [7; 8]);
        by_text.keep(&file);
        drop(file);
        let again = ByText::kept(&open(1));
        assert_eq!(again.waiting_s(&[1; 16], [7; 8], NOW), Some(5));
        assert_eq!(again.waiting_s(&[2; 16], [7; 8], NOW), None);
        assert!(ByText::kept(&open(2)).attempts.is_empty());
    }
}
