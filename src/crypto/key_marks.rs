//! Marks of erasure in `keys.redb`: the last generation of an account's keys that was destroyed.
//!
//! Row: `stream key` → `generation (little-endian) ‖ tag`. The tag is made under a key of the
//! keyring over both, so an attacker who can only write the file cannot make a mark. A store of an
//! older build has marks without a tag. These are claims, and a starting service adopts them if the
//! log or a tombstone confirms them.

use std::path::{Path, PathBuf};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition, TableError, WriteTransaction,
};
use subtle::ConstantTimeEq;

use super::data_keys::DataKeysError;
use super::derived::{FILE_TAG_BYTES, FileKey};
use super::key_store::{Condemned, KEYS, StreamKey, generation_of, stream_key_of};
use super::keyring::Keyring;

const MARKS: TableDefinition<&StreamKey, &Mark> = TableDefinition::new("erased_v2");
/// The marks of builds before 2026-12-01.
const CLAIMS: TableDefinition<&StreamKey, u32> = TableDefinition::new("erased_v1");
/// The label that derives the key of the tags.
const LABEL: &str = "keys.redb";

type Mark = [u8; 4 + FILE_TAG_BYTES];

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

    /// Checks every mark; returns the accounts that have a key although its mark names it as
    /// destroyed, because an older copy brought it back.
    ///
    /// # Errors
    /// [`DataKeysError::UnprovenErasure`] if a mark is not this keyring's,
    /// [`DataKeysError::Storage`].
    pub fn check(&self, store: &impl ReadableDatabase) -> Result<Condemned, DataKeysError> {
        let mut risen = Condemned::new();
        let txn = store.begin_read()?;
        let Some(marks) = marks(&txn)? else {
            return Ok(risen);
        };
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            self.read(stream_key.value(), mark.value())?;
        }
        if marks.is_empty()? {
            return Ok(risen);
        }
        for row in txn.open_table(KEYS)?.iter()? {
            let name = *row?.0.value();
            let stream_key = stream_key_of(&name);
            if let Some(mark) = marks.get(&stream_key)?
                && generation_of(&name) <= last_of(mark.value())
            {
                risen.insert(stream_key, last_of(mark.value()));
            }
        }
        Ok(risen)
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

    /// Adopts the marks of an older build that `says` confirms, in one durable commit.
    ///
    /// `says` returns whether an account's keys up to a generation were erased.
    ///
    /// # Errors
    /// [`DataKeysError::UnprovenErasure`] if `says` does not confirm a mark,
    /// [`DataKeysError::Storage`], and the error of `says`.
    pub fn adopt<E: From<DataKeysError>>(
        &self,
        store: &Database,
        mut says: impl FnMut(&StreamKey, u32) -> Result<bool, E>,
    ) -> Result<(), E> {
        let claimed = claims(store)?;
        if claimed.is_empty() {
            return Ok(());
        }
        for (stream_key, through) in &claimed {
            if !says(stream_key, *through)? {
                return Err(DataKeysError::UnprovenErasure(self.path.clone()).into());
            }
        }
        Ok(self.replace_claims(store, &claimed)?)
    }

    fn replace_claims(&self, store: &Database, claimed: &Condemned) -> Result<(), DataKeysError> {
        let mut txn = store.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        self.add(claimed, &txn)?;
        txn.delete_table(CLAIMS)?;
        Ok(txn.commit()?)
    }
}

/// Makes the table of a new store.
pub(super) fn make_table(txn: &WriteTransaction) -> Result<(), DataKeysError> {
    txn.open_table(MARKS)?;
    Ok(())
}

/// Copies all marks and claims as they are.
pub(super) fn copy(from: &ReadTransaction, into: &WriteTransaction) -> Result<(), DataKeysError> {
    let mut copied = into.open_table(MARKS)?;
    if let Some(marks) = marks(from)? {
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            copied.insert(stream_key.value(), mark.value())?;
        }
    }
    if let Some(claims) = table_of(from.open_table(CLAIMS))? {
        let mut copied = into.open_table(CLAIMS)?;
        for row in claims.iter()? {
            let (stream_key, last) = row?;
            copied.insert(stream_key.value(), last.value())?;
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
    let txn = store.begin_read()?;
    let mark = match marks(&txn)? {
        Some(marks) => marks.get(stream_key)?.map(|mark| last_of(mark.value())),
        None => None,
    };
    let claim = match table_of(txn.open_table(CLAIMS))? {
        Some(claims) => claims.get(stream_key)?.map(|last| last.value()),
        None => None,
    };
    Ok(mark.unwrap_or(0).max(claim.unwrap_or(0)))
}

/// Returns everything that [`claimed`] finds, by account.
pub(super) fn all_claimed(store: &impl ReadableDatabase) -> Result<Condemned, DataKeysError> {
    let mut all = claims(store)?;
    if let Some(marks) = marks(&store.begin_read()?)? {
        for row in marks.iter()? {
            let (stream_key, mark) = row?;
            let last = all.entry(*stream_key.value()).or_default();
            *last = last_of(mark.value()).max(*last);
        }
    }
    Ok(all)
}

fn claims(store: &impl ReadableDatabase) -> Result<Condemned, DataKeysError> {
    let mut all = Condemned::new();
    if let Some(claims) = table_of(store.begin_read()?.open_table(CLAIMS))? {
        for row in claims.iter()? {
            let (stream_key, last) = row?;
            all.insert(*stream_key.value(), last.value());
        }
    }
    Ok(all)
}

fn marks(
    txn: &ReadTransaction,
) -> Result<Option<ReadOnlyTable<&'static StreamKey, &'static Mark>>, DataKeysError> {
    table_of(txn.open_table(MARKS))
}

/// A store of an older build has no table of marks, and a newer one has no table of claims.
fn table_of<T>(opened: Result<T, TableError>) -> Result<Option<T>, DataKeysError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn last_of(mark: &Mark) -> u32 {
    let bytes = mark.first_chunk().expect("a mark is longer than 4 bytes");
    u32::from_le_bytes(*bytes)
}

#[cfg(test)]
#[path = "key_marks_tests.rs"]
mod tests;
