//! The store of per-account data keys, `keys.redb`: each is wrapped by a key-encryption key.
//!
//! A key is durable before the first event that it seals: an orphan key is harmless, but a lost key
//! makes its values unreadable. So the writer stages keys, seals with them, and commits the store
//! before the log. Any number of threads read. One thread, the writer, stages, commits, discards
//! and condemns keys. One thread rewrites the file, which destroys the condemned keys.

#[path = "data_keys_copies.rs"]
mod copies;
#[path = "data_keys_error.rs"]
mod error;
#[path = "data_keys_rewriting.rs"]
mod rewriting;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use quick_cache::sync::Cache;
use redb::{Database, Durability, ReadableDatabase};

use super::key_file;
use super::key_marks::{self, Marks};
use super::key_store::{
    self, Condemned, KEYS, Name, Row, StreamKey, generation_of, is_condemned, name_of,
    stream_key_of,
};
use super::keyring::Keyring;
use super::seal::{DataKey, KEY_BYTES, NONCE_BYTES};
use crate::crash_point::reached;
use crate::durable;

pub use copies::{Erased, InCopy, KeysCopy, back_up_stopped};
pub use error::DataKeysError;
use rewriting::newest_staged;

/// How many unwrapped keys are kept in memory; about 12 MiB with their names.
pub const UNWRAPPED_KEYS_MAX: usize = 65_536;
/// How many keys may wait for one commit; a batch of the writer has at most 512 events.
pub const STAGED_KEYS_MAX: usize = 4_096;

/// The data keys of all accounts.
pub struct DataKeys {
    path: PathBuf,
    keyring: RwLock<Arc<Keyring>>,
    marks: Marks,
    /// Device and inode of the file; written while the store is locked.
    file: Mutex<(u64, u64)>,
    /// An erasure replaces the database as a whole, hence the lock; everything else only reads it.
    store: RwLock<Arc<Database>>,
    /// Locked before the store if both are.
    staged: Mutex<BTreeMap<Name, (DataKey, Row)>>,
    /// The keys that the next rewriting leaves out; no reader gets these keys any more.
    condemned: Mutex<Condemned>,
    /// The rows that were committed since a running rewriting began to copy.
    late: Mutex<Option<Vec<(Name, Row)>>>,
    unwrapped: Cache<Name, DataKey>,
    newest: Cache<StreamKey, u32>,
}

impl<E: Into<redb::Error>> From<E> for DataKeysError {
    fn from(error: E) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

impl DataKeys {
    /// Opens the key store; makes an empty one only if `create` is true and the file does not
    /// exist.
    ///
    /// Every page's checksum is read, so a damaged store is refused here and not at a later login.
    /// A key that a mark calls destroyed is never handed out. It is among the
    /// [`DataKeys::condemned_keys`], which must be proven before [`DataKeys::rewrite`].
    ///
    /// # Errors
    /// [`DataKeysError::Missing`] without a file, [`DataKeysError::NotAFile`] for a link,
    /// [`DataKeysError::InUse`] if another process has it open, [`DataKeysError::Damaged`] or
    /// [`DataKeysError::NoCheck`] if it is not a sound key store, [`DataKeysError::WrongKeyring`]
    /// if the keyring does not belong to it, [`DataKeysError::UnprovenErasure`] if a mark is not
    /// this keyring's, or [`DataKeysError::Io`].
    pub fn open(path: &Path, keyring: Arc<Keyring>, create: bool) -> Result<Self, DataKeysError> {
        let io_error = |source| DataKeysError::Io {
            path: path.to_owned(),
            source,
        };
        let staging = durable::staging(path);
        if !path.try_exists().map_err(io_error)? {
            if !create {
                return Err(DataKeysError::Missing(path.to_owned()));
            }
            drop(key_store::create(&staging, |txn| {
                key_store::put_check(txn, &keyring)
            })?);
            key_file::publish(&staging, path).map_err(|error| io_error(io::Error::other(error)))?;
        }
        if !path.symlink_metadata().map_err(io_error)?.is_file() {
            return Err(DataKeysError::NotAFile(path.to_owned()));
        }
        let store = key_store::open(path)?;
        // An interrupted erasure leaves this file; it may hold the very key to be erased.
        durable::remove_if_there(&staging).map_err(io_error)?;
        key_store::check_keyring(path, &store, &keyring)?;
        let marks = Marks::of(path, &keyring);
        marks.check(&store)?;
        let risen = key_marks::risen(&store)?;
        let file = key_file::id_of(path).map_err(io_error)?;
        Ok(Self {
            path: path.to_owned(),
            keyring: RwLock::new(keyring),
            marks,
            file: Mutex::new(file),
            store: RwLock::new(Arc::new(store)),
            staged: Mutex::new(BTreeMap::new()),
            condemned: Mutex::new(risen),
            late: Mutex::default(),
            unwrapped: Cache::new(UNWRAPPED_KEYS_MAX),
            newest: Cache::new(UNWRAPPED_KEYS_MAX),
        })
    }

    /// Returns the newest key of an account with its generation, including staged ones.
    ///
    /// # Errors
    /// [`DataKeysError::DamagedKey`] if the key does not unwrap, or [`DataKeysError::Storage`].
    pub fn current(&self, stream_key: &StreamKey) -> Result<Option<(u32, DataKey)>, DataKeysError> {
        let newest = {
            // Held while the store is read, so that no commit comes between and leaves an old
            // generation in the cache.
            let staged = self.staged();
            match newest_staged(&staged, stream_key) {
                Some(generation) => Some(generation),
                None => self.newest_durable(stream_key)?,
            }
        };
        let Some(generation) = newest else {
            return Ok(None);
        };
        // A condemned generation gives no key, so the account's next generation is begun.
        let key = self.get(stream_key, generation)?;
        Ok(key.map(|key| (generation, key)))
    }

    /// Returns one key of an account by its generation, including staged ones.
    ///
    /// # Errors
    /// [`DataKeysError::DamagedKey`] if the key does not unwrap, or [`DataKeysError::Storage`].
    pub fn get(
        &self,
        stream_key: &StreamKey,
        generation: u32,
    ) -> Result<Option<DataKey>, DataKeysError> {
        let name = name_of(stream_key, generation);
        if is_condemned(&self.condemned(), &name) {
            return Ok(None);
        }
        if let Some((key, _)) = self.staged().get(&name) {
            return Ok(Some(key.clone()));
        }
        if let Some(key) = self.unwrapped.get(&name) {
            return Ok(Some(key));
        }
        // Held until the key is in the cache, so that an erasure in between cannot miss it there.
        let store = self.store();
        let keys = store.begin_read()?.open_table(KEYS)?;
        match keys.get(&name)? {
            Some(row) => self.unwrap_and_keep(&name, row.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Makes an account's next key, visible at once and durable after [`Self::commit`].
    ///
    /// Generations count from 1 for the life of the account id. Both arguments must come from the
    /// operating system's generator.
    ///
    /// # Errors
    /// [`DataKeysError::Full`] if too many keys wait, or [`DataKeysError::Storage`].
    pub fn stage_new(
        &self,
        stream_key: &StreamKey,
        entropy: [u8; KEY_BYTES],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(u32, DataKey), DataKeysError> {
        let mut staged = self.staged();
        if staged.len() >= STAGED_KEYS_MAX {
            return Err(DataKeysError::Full);
        }
        let last = match newest_staged(&staged, stream_key) {
            Some(generation) => generation,
            None => self.last_durable(stream_key)?,
        };
        let generation = last.checked_add(1).ok_or(DataKeysError::Full)?;
        let name = name_of(stream_key, generation);
        let key = DataKey::new(entropy);
        let keyring = self.keyring();
        let (kek_id, kek) = keyring.active_kek();
        let row = key_store::wrap(kek_id, kek, &name, nonce, &key);
        staged.insert(name, (key.clone(), row));
        Ok((generation, key))
    }

    /// Makes all staged keys durable in one commit; does nothing if none is staged.
    ///
    /// # Errors
    /// [`DataKeysError::Storage`] or [`DataKeysError::Conflict`]; the keys stay staged, and events
    /// sealed with them must not be appended.
    pub fn commit(&self) -> Result<(), DataKeysError> {
        let batch = self.staged().clone();
        if batch.is_empty() {
            return Ok(());
        }
        let store = self.store();
        let mut txn = store.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut keys = txn.open_table(KEYS)?;
            for (name, (_, row)) in &batch {
                if keys
                    .insert(name, row)?
                    .is_some_and(|old| old.value() != row)
                {
                    return Err(DataKeysError::Conflict(self.path.clone()));
                }
            }
        }
        key_store::put_check(&txn, &self.keyring())?;
        reached("data-keys-written");
        txn.commit()?;
        reached("data-keys-committed");
        if let Some(late) = self.late().as_mut() {
            late.extend(batch.iter().map(|(name, (_, row))| (*name, *row)));
        }
        drop(store);
        // The keys enter the caches before they leave the staged ones, so that no reader misses
        // them in between.
        let mut staged = self.staged();
        for (name, (key, _)) in batch {
            self.newest
                .insert(stream_key_of(&name), generation_of(&name));
            self.unwrapped.insert(name, key);
            staged.remove(&name);
        }
        Ok(())
    }

    /// Forgets all staged keys; no event that they sealed may have been appended.
    pub fn discard_staged(&self) {
        self.staged().clear();
    }

    fn file(&self) -> MutexGuard<'_, (u64, u64)> {
        self.file.lock().expect("no holder of this lock panics")
    }

    fn condemned(&self) -> MutexGuard<'_, Condemned> {
        self.condemned
            .lock()
            .expect("no holder of this lock panics")
    }

    fn late(&self) -> MutexGuard<'_, Option<Vec<(Name, Row)>>> {
        self.late.lock().expect("no holder of this lock panics")
    }

    fn keyring(&self) -> Arc<Keyring> {
        let keyring = self.keyring.read();
        Arc::clone(&keyring.expect("no holder of this lock panics"))
    }

    fn store(&self) -> RwLockReadGuard<'_, Arc<Database>> {
        self.store.read().expect("no holder of this lock panics")
    }

    /// Returns the store for a read of the whole file. Under the lock, such a read would hold up
    /// every commit once a rewriting waits for the lock. After a rewriting, the reader still has
    /// the old store.
    fn store_for_long(&self) -> Arc<Database> {
        Arc::clone(&self.store())
    }

    fn staged(&self) -> MutexGuard<'_, BTreeMap<Name, (DataKey, Row)>> {
        self.staged.lock().expect("no holder of this lock panics")
    }

    fn newest_durable(&self, stream_key: &StreamKey) -> Result<Option<u32>, DataKeysError> {
        if let Some(generation) = self.newest.get(stream_key) {
            return Ok(Some(generation));
        }
        let found = key_store::newest(&self.store(), stream_key)?;
        let generation = found.map(|(name, _)| generation_of(&name));
        if let Some(generation) = generation {
            self.newest.insert(*stream_key, generation);
        }
        Ok(generation)
    }

    fn unwrap_and_keep(&self, name: &Name, row: &Row) -> Result<DataKey, DataKeysError> {
        let key = key_store::unwrap(&self.keyring(), name, row).ok_or_else(|| {
            DataKeysError::DamagedKey {
                path: self.path.clone(),
                generation: generation_of(name),
            }
        })?;
        self.unwrapped.insert(*name, key.clone());
        Ok(key)
    }
}

#[cfg(test)]
#[path = "data_keys_tests.rs"]
mod tests;
