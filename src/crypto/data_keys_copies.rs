//! Copies of the key store for backups: the keys stay wrapped, and no free page is copied.
//!
//! A copy replaces an earlier one only if the earlier one has nothing more. The file itself proves
//! little, since anyone who can write the data folder can write it: a key counts as erased only if
//! a mark of this keyring and the log both say so, and a row that differs must open.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable};

use super::{DataKeys, DataKeysError};
use crate::crypto::key_file;
use crate::crypto::key_marks::{self, Marks};
use crate::crypto::key_store::{
    self, Condemned, KEYS, Name, Row, StreamKey, generation_of, kek_id_of, stream_key_of,
};
use crate::crypto::keyring::Keyring;

/// Returns whether the log or a tombstone shows that a key of an account was erased.
pub type Erased<'a> = dyn Fn(&StreamKey, u32) -> Result<bool, String> + 'a;

impl DataKeys {
    /// Copies the durable keys into another store, which gets its name once it is complete.
    ///
    /// # Errors
    /// [`DataKeysError::CopyKnowsMore`] if an earlier copy has more,
    /// [`DataKeysError::UnprovenErasure`] for a mark that is not this keyring's,
    /// [`DataKeysError::Unread`] if the log cannot be read, [`DataKeysError::Io`] or
    /// [`DataKeysError::Storage`]; an earlier copy stays as it was.
    pub fn back_up(&self, target: &Path, erased: &Erased) -> Result<(), DataKeysError> {
        let condemned = self.condemned().clone();
        let keyring = self.keyring();
        let fill = |txn: &_| {
            key_store::copy(&condemned, None, &self.store_for_long(), txn)?;
            self.marks.add(&condemned, txn)
        };
        let keyring = Some((&*keyring, &self.marks));
        copy(fill, target, &Proof { keyring, erased })
    }
}

/// Copies the store of a stopped service. Without a keyring, only the log shows which keys were
/// erased.
///
/// # Errors
/// The same as [`DataKeys::open`] while it is opened, then the same as [`DataKeys::back_up`];
/// [`DataKeysError::CopyBeforeRotation`] without a keyring.
pub fn back_up_stopped(
    store: &Path,
    target: &Path,
    keyring: Option<&Keyring>,
    erased: &Erased,
) -> Result<(), DataKeysError> {
    let from = key_store::open(store)?;
    let marks = keyring.map(|keyring| Marks::of(store, keyring));
    if let Some((keyring, marks)) = keyring.zip(marks.as_ref()) {
        key_store::check_keyring(store, &from, keyring)?;
        marks.check(&from)?;
    }
    let fill = |txn: &_| key_store::copy(&Condemned::new(), None, &from, txn);
    let keyring = keyring.zip(marks.as_ref());
    copy(fill, target, &Proof { keyring, erased })
}

fn copy(
    fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), DataKeysError>,
    target: &Path,
    proof: &Proof,
) -> Result<(), DataKeysError> {
    let io_error = |source| DataKeysError::Io {
        path: target.to_owned(),
        source,
    };
    let folder = key_file::folder_of(target);
    key_file::create_folders(folder).map_err(io_error)?;
    let staging = key_file::staging_path(target);
    let copied = key_store::create(&staging, fill)?;
    // An unreadable copy holds nothing to lose.
    let allowed = match key_store::open_copy(target) {
        Ok(before) => proof.refuse_loss(&copied, &before, target),
        Err(_) => Ok(()),
    };
    if let Err(refused) = allowed {
        key_file::remove_if_there(&staging).map_err(io_error)?;
        return Err(refused);
    }
    drop(copied);
    fs::rename(&staging, target).map_err(io_error)?;
    key_file::sync_folder(folder).map_err(io_error)
}

/// The evidence that a key store may replace an earlier copy.
struct Proof<'a> {
    keyring: Option<(&'a Keyring, &'a Marks)>,
    erased: &'a Erased<'a>,
}

impl Proof<'_> {
    /// Refuses a new copy that lacks something of the earlier one.
    fn refuse_loss(
        &self,
        copied: &Database,
        before: &ReadOnlyDatabase,
        target: &Path,
    ) -> Result<(), DataKeysError> {
        let knows_more = || Err(DataKeysError::CopyKnowsMore(target.to_owned()));
        for (stream_key, last) in key_marks::all_claimed(before)? {
            let is_proven = self.keyring.is_none_or(|(_, marks)| {
                let proven = marks.last(before, &stream_key);
                proven.is_ok_and(|proven| proven == last)
            });
            if is_proven && key_marks::claimed(copied, &stream_key)? < last {
                return knows_more();
            }
        }
        let keys = copied.begin_read()?.open_table(KEYS)?;
        for row in before.begin_read()?.open_table(KEYS)?.iter()? {
            let (name, row) = row?;
            let (name, row) = (name.value(), row.value());
            let now = keys.get(name)?.map(|now| *now.value());
            let is_kept = match now {
                Some(now) if now == *row => true,
                _ if self.is_worthless(name, row) => true,
                Some(now) => self.is_same(name, &now, row, target)?,
                None => self.is_erased(copied, name)?,
            };
            if !is_kept {
                return knows_more();
            }
        }
        Ok(())
    }

    /// Returns whether a row of the copy opens by no key of the keyring, so that nothing is lost
    /// with it.
    fn is_worthless(&self, name: &Name, row: &Row) -> bool {
        self.keyring
            .is_some_and(|(keyring, _)| key_store::unwrap(keyring, name, row).is_none())
    }

    /// Returns whether two rows hold the same key, as after a rotation.
    fn is_same(
        &self,
        name: &Name,
        now: &Row,
        before: &Row,
        target: &Path,
    ) -> Result<bool, DataKeysError> {
        match self.keyring {
            Some((keyring, _)) => {
                let opened = |row| key_store::unwrap(keyring, name, row);
                Ok(opened(now).is_some() && opened(now) == opened(before))
            }
            None if kek_id_of(now) == kek_id_of(before) => Ok(false),
            None => Err(DataKeysError::CopyBeforeRotation(target.to_owned())),
        }
    }

    /// Returns whether a key was erased: by its mark and by the log, or a tombstone of the log.
    fn is_erased(&self, copied: &Database, name: &Name) -> Result<bool, DataKeysError> {
        let (stream_key, generation) = (stream_key_of(name), generation_of(name));
        let last = match self.keyring {
            Some((_, marks)) => marks.last(copied, &stream_key)?,
            None => key_marks::claimed(copied, &stream_key)?,
        };
        if generation > last {
            return Ok(false);
        }
        (self.erased)(&stream_key, generation).map_err(DataKeysError::Unread)
    }
}

/// What a copy holds of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InCopy {
    /// The copy has the key.
    Kept,
    /// The key was destroyed, by the copy's own unproven mark.
    Erased,
    /// The copy never had it.
    Missing,
}

/// A copy of the keys, opened for reading only.
pub struct KeysCopy {
    path: PathBuf,
    store: ReadOnlyDatabase,
}

impl KeysCopy {
    /// Opens a copy without changing it.
    ///
    /// # Errors
    /// [`DataKeysError::Damaged`], also if there is no file.
    pub fn open(path: &Path) -> Result<Self, DataKeysError> {
        let store = key_store::open_copy(path)?;
        let path = path.to_owned();
        Ok(Self { path, store })
    }

    /// Returns what the copy holds of an account's key of this generation.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the copy cannot be read.
    pub fn find(&self, stream_key: &StreamKey, generation: u32) -> Result<InCopy, DataKeysError> {
        if key_store::has(&self.store, stream_key, generation)? {
            return Ok(InCopy::Kept);
        }
        match generation <= key_marks::claimed(&self.store, stream_key)? {
            true => Ok(InCopy::Erased),
            false => Ok(InCopy::Missing),
        }
    }

    /// Counts the keys; reads the whole copy.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the copy cannot be read.
    pub fn count(&self) -> Result<u64, DataKeysError> {
        Ok(key_store::counts(&self.store)?.values().sum())
    }

    /// Unwraps every key, checks every mark of erasure, and returns how many keys there are.
    ///
    /// # Errors
    /// [`DataKeysError::WrongKeyring`] if the keyring does not belong to the copy,
    /// [`DataKeysError::DamagedKey`] with the first key that does not unwrap,
    /// [`DataKeysError::UnprovenErasure`] for a mark that is not this keyring's,
    /// [`DataKeysError::Storage`].
    pub fn check(&self, keyring: &Keyring) -> Result<u64, DataKeysError> {
        key_store::check_keyring(&self.path, &self.store, keyring)?;
        key_store::check_keys(&self.path, &self.store, keyring)?;
        Marks::of(&self.path, keyring).check(&self.store)?;
        self.count()
    }
}
