//! Marks of erasure in `keys.redb`: the last generation of an account's keys that was destroyed.
//!
//! Row: `stream key` → `generation (little-endian) ‖ tag`. The tag is made under a key of the
//! keyring over both, so an attacker who can write only the file cannot make a mark. A mark proves
//! only that a service made it: it may have been copied from another store, so a key that is still
//! there beside its mark is destroyed only if the log or a tombstone says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableError, WriteTransaction,
};
use subtle::ConstantTimeEq;

use super::data_keys::DataKeysError;
use super::derived::{FILE_TAG_BYTES, FileKey};
use super::key_store::{Condemned, KEYS, StreamKey, generation_of, stream_key_of};
use super::keyring::Keyring;

const MARKS: TableDefinition<&StreamKey, &Mark> = TableDefinition::new("erased_v2");
/// What the key of the tags is derived with.
const LABEL: &str = "keys.redb";

pub(super) type Mark = [u8; 4 + FILE_TAG_BYTES];

/// Makes marks, and distinguishes this keyring's from others.
pub(super) struct Marks {
    path: PathBuf,
    key: FileKey,
}

impl Marks {
    /// Returns the marks of a store by its keyring; rotations and epochs do not change them.
    pub fn of(path: &Path, keyring: &Keyring) -> Self {
        Self {
            path: path.to_owned(),
            key: keyring.file_key(LABEL),
        }
    }

    fn make(&self, stream_key: &StreamKey, last: u32) -> Mark {
        let mut mark = [0; 4 + FILE_TAG_BYTES];
        mark[..4].copy_from_slice(&last.to_le_bytes());
        mark[4..].copy_from_slice(&self.key.tag(&[stream_key, &last.to_le_bytes()]));
        mark
    }

    fn read(&self, stream_key: &StreamKey, mark: &Mark) -> Result<u32, DataKeysError> {
        let last = last_of(mark);
        match self.make(stream_key, last).ct_eq(mark).into() {
            true => Ok(last),
            false => Err(DataKeysError::UnprovenErasure(self.path.clone())),
        }
    }

    /// Returns the last generation of an account's keys that was destroyed, 0 if none was.
    ///
    /// # Errors
    /// [`DataKeysError::UnprovenErasure`] if the mark is not this keyring's,
    /// [`DataKeysError::Storage`].
    pub fn last(
        &self,
        store: &impl ReadableDatabase,
        stream_key: &StreamKey,
    ) -> Result<u32, DataKeysError> {
        let Some(marks) = marks(&store.begin_read()?)? else {
            return Ok(0);
        };
        match marks.get(stream_key)? {
            Some(mark) => self.read(stream_key, mark.value()),
            None => Ok(0),
        }
    }

    /// Checks every mark.
    pub fn check(&self, store: &impl ReadableDatabase) -> Result<(), DataKeysError> {
        let Some(marks) = marks(&store.begin_read()?)? else {
            return Ok(());
        };
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            self.read(stream_key.value(), mark.value())?;
        }
        Ok(())
    }

    /// Adds marks for the keys to destroy to a store that is being written.
    ///
    /// # Errors
    /// [`DataKeysError::UnprovenErasure`] if an existing mark is not this keyring's,
    /// [`DataKeysError::Storage`].
    pub fn add(&self, condemned: &Condemned, txn: &WriteTransaction) -> Result<(), DataKeysError> {
        let mut marks = txn.open_table(MARKS)?;
        for (stream_key, through) in condemned {
            let before = marks.get(stream_key)?;
            let before = before.map_or(Ok(0), |mark| self.read(stream_key, mark.value()))?;
            marks.insert(stream_key, &self.make(stream_key, before.max(*through)))?;
        }
        Ok(())
    }
}

/// Makes the table of a new store.
pub(super) fn make_table(txn: &WriteTransaction) -> Result<(), DataKeysError> {
    txn.open_table(MARKS)?;
    Ok(())
}

/// Copies all marks as they are.
pub(super) fn copy(from: &ReadTransaction, into: &WriteTransaction) -> Result<(), DataKeysError> {
    let mut copied = into.open_table(MARKS)?;
    if let Some(marks) = marks(from)? {
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            copied.insert(stream_key.value(), mark.value())?;
        }
    }
    Ok(())
}

/// Returns the last generation of an account's keys that a store claims was destroyed, proven or
/// not; 0 without a claim.
pub(super) fn claimed(
    store: &impl ReadableDatabase,
    stream_key: &StreamKey,
) -> Result<u32, DataKeysError> {
    match marks(&store.begin_read()?)? {
        Some(marks) => {
            let mark = marks.get(stream_key)?;
            Ok(mark.map_or(0, |mark| last_of(mark.value())))
        }
        None => Ok(0),
    }
}

/// All marks as they stand, whether they are to be believed or not.
pub(super) fn all(
    store: &impl ReadableDatabase,
) -> Result<BTreeMap<StreamKey, Mark>, DataKeysError> {
    let mut all = BTreeMap::new();
    if let Some(marks) = marks(&store.begin_read()?)? {
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            all.insert(*stream_key.value(), *mark.value());
        }
    }
    Ok(all)
}

/// The keys that stand although a mark says that they were destroyed: the highest generation of
/// each account.
pub(super) fn risen(store: &impl ReadableDatabase) -> Result<Condemned, DataKeysError> {
    let mut risen = Condemned::new();
    let txn = store.begin_read()?;
    let Some(marks) = marks(&txn)? else {
        return Ok(risen);
    };
    if marks.is_empty()? {
        return Ok(risen);
    }
    // In the order of their names: of one account the highest generation comes last.
    for row in txn.open_table(KEYS)?.iter()? {
        let name = *row?.0.value();
        let (stream_key, generation) = (stream_key_of(&name), generation_of(&name));
        if let Some(mark) = marks.get(&stream_key)?
            && generation <= last_of(mark.value())
        {
            risen.insert(stream_key, generation);
        }
    }
    Ok(risen)
}

/// Refuses a copy, or a store about to be copied, in which a key is still there beside its mark.
pub(super) fn refuse_risen(
    path: &Path,
    store: &impl ReadableDatabase,
) -> Result<(), DataKeysError> {
    match risen(store)?.is_empty() {
        true => Ok(()),
        false => Err(DataKeysError::UnprovenErasure(path.to_owned())),
    }
}

fn marks(
    txn: &ReadTransaction,
) -> Result<Option<ReadOnlyTable<&'static StreamKey, &'static Mark>>, DataKeysError> {
    // A store of an older build has none.
    match txn.open_table(MARKS) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn last_of(mark: &Mark) -> u32 {
    let bytes = mark.first_chunk().expect("a mark is longer than 4 bytes");
    u32::from_le_bytes(*bytes)
}

#[cfg(test)]
#[path = "key_marks_tests.rs"]
mod tests;
