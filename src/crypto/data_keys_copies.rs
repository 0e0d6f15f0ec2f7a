//! Copies of the key store for backups: the keys stay wrapped, and no free page is copied.
//!
//! A copy replaces an earlier one that does not hold more. The file itself proves little of that,
//! since anyone who can write the data folder can write it: a key is gone for good only if a mark
//! of this keyring and the log say so, and a row that the earlier copy does not have must open.
//! Without the keyring a true row cannot be distinguished from a false one, so no copy is replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable};

use super::{DataKeys, DataKeysError};
use crate::crypto::key_marks::{self, Marks};
use crate::crypto::key_store::{
    self, Condemned, KEYS, Name, Row, StreamKey, generation_of, stream_key_of,
};
use crate::crypto::keyring::Keyring;
use crate::crypto::seal::DataKey;
use crate::durable;

/// Returns whether the log or a tombstone shows that a key of an account was erased.
pub type Erased<'a> = dyn Fn(&StreamKey, u32) -> Result<bool, String> + 'a;

impl DataKeys {
    /// Copies the durable keys into another store, which gets its name once it is complete.
    ///
    /// # Errors
    /// [`DataKeysError::CopyKnowsMore`], [`DataKeysError::CopyUnread`],
    /// [`DataKeysError::UnprovenErasure`], [`DataKeysError::Unread`], [`DataKeysError::Io`] or
    /// [`DataKeysError::Storage`]; an earlier copy is as it was.
    pub fn back_up(&self, target: &Path, erased: &Erased) -> Result<(), DataKeysError> {
        let condemned = self.condemned().clone();
        let keyring = self.keyring();
        let fill = |txn: &_| {
            key_store::copy(&condemned, None, &self.store_for_long(), txn)?;
            self.marks.add(&condemned, txn)
        };
        let by_keyring = ByKeyring {
            keyring: &keyring,
            marks: &self.marks,
            erased,
        };
        copy(fill, &self.path, target, Some(&by_keyring))
    }
}

/// The same for the store of a stopped service. Without a keyring there must be no earlier copy.
///
/// # Errors
/// As [`DataKeys::open`] where it is opened, then as [`DataKeys::back_up`];
/// [`DataKeysError::CopyNeedsKeyring`] without a keyring.
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
    let by_keyring = keyring.zip(marks.as_ref());
    let by_keyring = by_keyring.map(|(keyring, marks)| ByKeyring {
        keyring,
        marks,
        erased,
    });
    copy(fill, store, target, by_keyring.as_ref())
}

fn copy(
    fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), DataKeysError>,
    store: &Path,
    target: &Path,
    by_keyring: Option<&ByKeyring>,
) -> Result<(), DataKeysError> {
    let io_error = |source| DataKeysError::Io {
        path: target.to_owned(),
        source,
    };
    let folder = durable::folder_of(target);
    durable::create_folders(folder).map_err(io_error)?;
    let staging = durable::staging(target);
    let copied = key_store::create(&staging, fill)?;
    let allowed = key_marks::refuse_risen(store, &copied)
        .and_then(|()| compare(&copied, store, target, by_keyring));
    if let Err(refused) = allowed {
        durable::remove_if_there(&staging).map_err(io_error)?;
        return Err(refused);
    }
    drop(copied);
    fs::rename(&staging, target).map_err(io_error)?;
    durable::sync_folder(folder).map_err(io_error)
}

/// Refuses a new copy that lacks something of the previous one, or has a row that nobody wrote.
fn compare(
    copied: &Database,
    store: &Path,
    target: &Path,
    by_keyring: Option<&ByKeyring>,
) -> Result<(), DataKeysError> {
    let found = target.symlink_metadata();
    let is_first = found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    // One that cannot be opened now may have everything: it is in use, or its disk fails.
    let before = (!is_first).then(|| key_store::open_copy(target));
    let before = before.transpose().map_err(|error| match error {
        DataKeysError::Damaged { path, source } => DataKeysError::CopyUnread { path, source },
        other => other,
    })?;
    let Some(by_keyring) = by_keyring else {
        return match before {
            Some(_) => Err(DataKeysError::CopyNeedsKeyring(target.to_owned())),
            None => Ok(()),
        };
    };
    if let Some(before) = &before {
        by_keyring.refuse_loss(copied, before, target)?;
    }
    by_keyring.refuse_made_up(copied, before.as_ref(), store)
}

/// By what a key store is believed when it takes the place of an earlier copy.
struct ByKeyring<'a> {
    keyring: &'a Keyring,
    marks: &'a Marks,
    erased: &'a Erased<'a>,
}

impl ByKeyring<'_> {
    fn refuse_loss(
        &self,
        copied: &Database,
        before: &ReadOnlyDatabase,
        target: &Path,
    ) -> Result<(), DataKeysError> {
        let knows_more = || Err(DataKeysError::CopyKnowsMore(target.to_owned()));
        for (stream_key, mark) in key_marks::all(before)? {
            let last = key_marks::last_of(&mark);
            let is_proven = self.marks.last(before, &stream_key).is_ok();
            if is_proven && key_marks::claimed(copied, &stream_key)? < last {
                return knows_more();
            }
        }
        let keys = copied.begin_read()?.open_table(KEYS)?;
        for row in before.begin_read()?.open_table(KEYS)?.iter()? {
            let (name, row) = row?;
            let (name, row) = (name.value(), row.value());
            let now = keys.get(name)?.map(|now| *now.value());
            // A row of the copy that does not open may be wrapped by a key that was forgotten: it
            // is given up only where the store has another row, and that one opens.
            let is_kept = match now {
                Some(now) if now == *row => true,
                Some(now) => {
                    let was = self.open(name, row);
                    was.is_none() || self.open(name, &now) == was
                }
                None => self.is_erased(copied, name)?,
            };
            if !is_kept {
                return knows_more();
            }
        }
        Ok(())
    }

    /// Refuses rows that no service with this keyring wrote, unless the earlier copy has the same.
    fn refuse_made_up(
        &self,
        copied: &Database,
        before: Option<&ReadOnlyDatabase>,
        store: &Path,
    ) -> Result<(), DataKeysError> {
        let before = match before {
            Some(before) => Some(before.begin_read()?.open_table(KEYS)?),
            None => None,
        };
        for row in copied.begin_read()?.open_table(KEYS)?.iter()? {
            let (name, row) = row?;
            let (name, row) = (name.value(), row.value());
            let was = before.as_ref().map(|before| before.get(name)).transpose()?;
            let is_same = was.flatten().is_some_and(|was| was.value() == row);
            if !is_same && self.open(name, row).is_none() {
                return Err(DataKeysError::DamagedKey {
                    path: store.to_owned(),
                    generation: generation_of(name),
                });
            }
        }
        Ok(())
    }

    /// The key in a row; none where no key of the keyring opens it.
    fn open(&self, name: &Name, row: &Row) -> Option<DataKey> {
        key_store::unwrap(self.keyring, name, row)
    }

    /// Returns whether a key was erased: by its mark and by the log, or a tombstone of the log.
    fn is_erased(&self, copied: &Database, name: &Name) -> Result<bool, DataKeysError> {
        let (stream_key, generation) = (stream_key_of(name), generation_of(name));
        if generation > self.marks.last(copied, &stream_key)? {
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
        if generation <= key_marks::claimed(&self.store, stream_key)? {
            Ok(InCopy::Erased)
        } else {
            Ok(InCopy::Missing)
        }
    }

    /// Counts the keys; reads the whole copy.
    ///
    /// # Errors
    /// [`DataKeysError::UnprovenErasure`] if a key is still there beside its mark;
    /// [`DataKeysError::Storage`].
    pub fn count(&self) -> Result<u64, DataKeysError> {
        key_marks::refuse_risen(&self.path, &self.store)?;
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
