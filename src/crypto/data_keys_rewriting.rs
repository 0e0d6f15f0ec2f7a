//! The keys to destroy, and the rewriting of the file that destroys them.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::{DataKeys, DataKeysError};
use crate::crash_point::reached;
use crate::crypto::key_file;
use crate::crypto::key_store::{
    self, Condemned, Name, Row, StreamKey, generation_of, is_condemned, name_of,
};
use crate::crypto::keyring::Keyring;
use crate::crypto::seal::DataKey;
use crate::durable;

impl DataKeys {
    /// Returns the last generation that an account's keys ever had, 0 if it never had one.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the store cannot be read.
    pub fn last_generation(&self, stream_key: &StreamKey) -> Result<u32, DataKeysError> {
        let staged = newest_staged(&self.staged(), stream_key);
        let last = match staged {
            Some(generation) => generation,
            None => self.last_durable(stream_key)?,
        };
        Ok(last)
    }

    /// Returns the last generation in the store, including destroyed ones.
    pub(super) fn last_durable(&self, stream_key: &StreamKey) -> Result<u32, DataKeysError> {
        let store = self.store();
        let newest = key_store::newest(&store, stream_key)?;
        let newest = newest.map_or(0, |(name, _)| generation_of(&name));
        Ok(newest.max(self.marks.last(&**store, stream_key)?))
    }

    /// Returns the metadata of the file under the store's name; `None` if it is not the open file.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn in_place(&self) -> io::Result<Option<Metadata>> {
        // Held, since a rewriting gives the name to another file.
        let file = self.file();
        let meta = self.path.symlink_metadata()?;
        Ok(Some(meta).filter(|meta| (meta.dev(), meta.ino()) == *file))
    }

    /// Unwraps every key; reads the whole store.
    ///
    /// # Errors
    /// [`DataKeysError::DamagedKey`] with the first key that does not unwrap, or
    /// [`DataKeysError::Storage`].
    pub fn check_keys(&self) -> Result<(), DataKeysError> {
        key_store::check_keys(&self.path, &*self.store_for_long(), &self.keyring())
    }

    /// Stops giving out an account's keys up to this generation; the next [`DataKeys::rewrite`]
    /// destroys them. This is kept in memory only: a tombstone makes it durable.
    pub fn condemn(&self, stream_key: &StreamKey, through: u32) {
        let mut condemned = self.condemned();
        let last = condemned.entry(*stream_key).or_default();
        *last = through.max(*last);
    }

    /// What waits to be destroyed, with the last generation of each account.
    pub fn condemned_keys(&self) -> BTreeMap<StreamKey, u32> {
        self.condemned().clone()
    }

    /// The refusal of an erasure that nothing proves.
    pub fn unproven(&self) -> DataKeysError {
        DataKeysError::UnprovenErasure(self.path.clone())
    }

    /// Whether keys wait to be destroyed.
    pub fn has_condemned(&self) -> bool {
        !self.condemned().is_empty()
    }

    /// Wraps new keys by another keyring's active key; the next [`DataKeys::rewrite`] wraps the
    /// others by it too. The keyring must have every key of the previous one; no key may be staged.
    pub fn use_keyring(&self, keyring: Arc<Keyring>) {
        *self.keyring.write().expect("no holder of this lock panics") = keyring;
    }

    /// Returns whether a key-encryption key other than the active one may still wrap a data key.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the store cannot be read.
    pub fn is_outdated(&self) -> Result<bool, DataKeysError> {
        key_store::is_outdated(&self.store(), &self.keyring())
    }

    /// Counts the keys by the id of the key-encryption key that wraps them; reads the whole store.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the store cannot be read.
    pub fn counts(&self) -> Result<BTreeMap<u32, u64>, DataKeysError> {
        key_store::counts(&*self.store_for_long())
    }

    /// Returns whether a key was destroyed or is about to be: then it is correct that the values it
    /// sealed cannot be read.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] if the store cannot be read.
    pub fn is_erased(
        &self,
        stream_key: &StreamKey,
        generation: u32,
    ) -> Result<bool, DataKeysError> {
        if is_condemned(&self.condemned(), &name_of(stream_key, generation)) {
            return Ok(true);
        }
        Ok(generation <= self.marks.last(&**self.store(), stream_key)?)
    }

    /// Destroys the condemned keys by rewriting the store without them; every other key is wrapped
    /// by the active key-encryption key.
    ///
    /// A mere deletion would leave the wrapped keys readable in the file's free pages. When this
    /// returns, the old file has no name any more; removing copies in backups is up to the
    /// operator. It costs a copy of the whole store, during which keys are read and committed as
    /// usual; others wait only while the keys committed meanwhile are copied. After a crash the
    /// store is the old or the new one, so an unfinished erasure is run again.
    ///
    /// # Errors
    /// [`DataKeysError::Io`] or [`DataKeysError::Storage`]; then no key is destroyed for good.
    pub fn rewrite(&self) -> Result<(), DataKeysError> {
        *self.late() = Some(Vec::new());
        let condemned = self.condemned().clone();
        let rewritten = self.rewrite_without(&condemned);
        *self.late() = None;
        rewritten
    }

    fn rewrite_without(&self, condemned: &Condemned) -> Result<(), DataKeysError> {
        let io_error = |source| DataKeysError::Io {
            path: self.path.clone(),
            source,
        };
        let keyring = self.keyring();
        let staging = durable::staging(&self.path);
        let new = key_store::create(&staging, |txn| {
            key_store::copy(condemned, Some(&keyring), &self.store_for_long(), txn)?;
            self.marks.add(condemned, txn)
        })?;
        reached("keys-copied");
        let mut staged = self.staged();
        let mut store = self.store.write().expect("no holder of this lock panics");
        let late = self.late().take().unwrap_or_default();
        if !late.is_empty() {
            key_store::add(&new, &self.keyring(), &late)?;
        }
        reached("keys-unreplaced");
        let mut file = self.file();
        let renewed = key_file::id_of(&staging).map_err(io_error)?;
        fs::rename(&staging, &self.path).map_err(io_error)?;
        *file = renewed;
        drop(file);
        reached("keys-replaced");
        *store = Arc::new(new);
        staged.retain(|name, _| !is_condemned(condemned, name));
        self.unwrapped
            .retain(|name, _| !is_condemned(condemned, name));
        self.newest
            .retain(|stream_key, _| !condemned.contains_key(stream_key));
        durable::sync_folder(durable::folder_of(&self.path)).map_err(io_error)?;
        reached("keys-rewritten");
        // Keys of a later generation that were condemned meanwhile wait for the next rewriting.
        self.condemned()
            .retain(|stream_key, through| condemned.get(stream_key) != Some(through));
        Ok(())
    }
}

/// The newest generation of an account among the staged keys.
pub(super) fn newest_staged(
    staged: &BTreeMap<Name, (DataKey, Row)>,
    stream_key: &StreamKey,
) -> Option<u32> {
    let names = name_of(stream_key, 0)..=name_of(stream_key, u32::MAX);
    let (name, _) = staged.range(names).next_back()?;
    Some(generation_of(name))
}
