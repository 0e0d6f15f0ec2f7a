//! The store of per-account data keys, `keys.redb`: each wrapped by a key-encryption key.
//!
//! A key is durable before the first event sealed with it: an orphan key is harmless, a lost one
//! makes everything under it unreadable. So the writer stages keys, seals with them, and commits
//! the store before it commits the log. Any number of threads read; one thread, the writer,
//! stages, commits, discards and condemns; one thread rewrites the file, which destroys what is
//! condemned.

#[path = "data_keys_copies.rs"]
mod copies;
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

pub use copies::{Erased, InCopy, KeysCopy, back_up_stopped};
use rewriting::newest_staged;

/// Unwrapped keys that are kept in memory; about 12 MiB with their names.
pub const UNWRAPPED_KEYS_MAX: usize = 65_536;
/// Keys that may wait for one commit; a batch of the writer has at most 512 events.
pub const STAGED_KEYS_MAX: usize = 4_096;

/// The data keys of all accounts.
pub struct DataKeys {
    path: PathBuf,
    keyring: RwLock<Arc<Keyring>>,
    marks: Marks,
    /// Device and inode of the file; written while the store is locked.
    file: Mutex<(u64, u64)>,
    /// Replaced as a whole by an erasure, hence the lock; everything else only reads it.
    store: RwLock<Arc<Database>>,
    /// Locked before the store where both are.
    staged: Mutex<BTreeMap<Name, (DataKey, Row)>>,
    /// What the next rewriting leaves out; nobody is given these keys any more.
    condemned: Mutex<Condemned>,
    /// Rows that were committed since a running rewriting took its copy.
    late: Mutex<Option<Vec<(Name, Row)>>>,
    unwrapped: Cache<Name, DataKey>,
    newest: Cache<StreamKey, u32>,
}

/// Why the key store did not do what was asked; no message holds a key.
#[derive(Debug, thiserror::Error)]
pub enum DataKeysError {
    /// There is no key store where one is due.
    #[error(
        "there is no key store at {0}: restore it from its backup, without it nothing sealed can be read"
    )]
    Missing(PathBuf),
    /// A link, or no regular file.
    #[error(
        "the key store {0} is not a regular file: put the file itself there, since an erasure replaces it and would leave what a link leads to"
    )]
    NotAFile(PathBuf),
    /// Another process has it open.
    #[error("the key store {0} is open in another process: stop that one first")]
    InUse(PathBuf),
    /// The file is no key store, or is damaged.
    #[error(
        "the key store {path} is damaged or is another file ({source}): restore it from its backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The file has no check values, so it was never finished or is another file.
    #[error("the key store {0} names no key-encryption key: restore it from its backup")]
    NoCheck(PathBuf),
    /// The store was made with key-encryption keys that the keyring has not.
    #[error(
        "the key store {path} was not made with this keyring (key-encryption key {kek_id}): give the keyring that belongs to it"
    )]
    WrongKeyring {
        /// The file.
        path: PathBuf,
        /// The id of the key-encryption key that is missing or different.
        kek_id: u32,
    },
    /// One row does not unwrap, although the keyring is the right one.
    #[error("data key {generation} of one account does not unwrap: restore {path} from its backup")]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// The generation of the key.
        generation: u32,
    },
    /// A copy has a key, or knows of an erasure, that the store does not have.
    #[error(
        "the copy {0} has a data key, or knows of an erasure, that this key store has not or has damaged: keep that copy, restore from it, or name another folder"
    )]
    CopyKnowsMore(PathBuf),
    /// A copy has other checks or marks, and no keyring says whether the present ones are right.
    #[error(
        "keys were rotated or erased since the copy {0} was taken, and only the keyring tells whether that is true: name it with --keyring, or name another folder"
    )]
    CopyNeedsKeyring(PathBuf),
    /// A copy is there and cannot be opened, so nothing says what would be lost with it.
    #[error(
        "the copy {path} is there and cannot be opened ({source}): close what has it open, or move it away if it is damaged, and take the backup again"
    )]
    CopyUnread {
        /// The file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The store says that keys were erased, and nothing proves it.
    #[error(
        "the key store {0} says that keys of an account were erased, and no service with this keyring wrote that: restore it from its backup, and find out who could write to its folder"
    )]
    UnprovenErasure(PathBuf),
    /// What the log says of an erasure cannot be read.
    #[error("the log cannot be asked for an erasure: {0}")]
    Unread(String),
    /// More than [`STAGED_KEYS_MAX`] keys wait, or an account had 2³²−1 keys.
    #[error("no further data key can be staged: commit those that wait first")]
    Full,
    /// Another key has a staged key's name already; nothing was written.
    #[error("a data key of this generation exists already in {0}: restart the service")]
    Conflict(PathBuf),
    /// The file could not be created or replaced.
    #[error("the key store {path} cannot be written: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// redb failed while the store was open; what was staged is not durable.
    #[error("the key store failed: {0}")]
    Storage(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for DataKeysError {
    fn from(error: E) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

impl DataKeys {
    /// Opens the key store; makes an empty one only where `create` is true and nothing is there.
    ///
    /// Every page's checksum is read, so a damaged store is refused here and not at a later login.
    /// A key that a mark calls destroyed is given to nobody, and is among the
    /// [`DataKeys::condemned_keys`], which are to be proven before [`DataKeys::rewrite`].
    ///
    /// # Errors
    /// [`DataKeysError::Missing`], [`DataKeysError::NotAFile`], [`DataKeysError::InUse`],
    /// [`DataKeysError::Damaged`], [`DataKeysError::NoCheck`], [`DataKeysError::WrongKeyring`],
    /// [`DataKeysError::UnprovenErasure`], or [`DataKeysError::Io`].
    pub fn open(path: &Path, keyring: Arc<Keyring>, create: bool) -> Result<Self, DataKeysError> {
        let io_error = |source| DataKeysError::Io {
            path: path.to_owned(),
            source,
        };
        let staging = key_file::staging_path(path);
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
        // What an erasure that was interrupted left; it may hold the very key to be erased.
        key_file::remove_if_there(&staging).map_err(io_error)?;
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

    /// Returns the newest key of an account with its generation, staged ones included.
    ///
    /// # Errors
    /// [`DataKeysError::DamagedKey`] or [`DataKeysError::Storage`].
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
        // Of a condemned generation there is none, so the account's next one is begun.
        let key = self.get(stream_key, generation)?;
        Ok(key.map(|key| (generation, key)))
    }

    /// Returns one key of an account by its generation, staged ones included.
    ///
    /// # Errors
    /// [`DataKeysError::DamagedKey`] or [`DataKeysError::Storage`].
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

    // BUG: restored-keys-reuse-number: a key that an older store never had does not count.
    /// Makes an account's next key, visible at once and durable after [`Self::commit`].
    ///
    /// Generations count from 1 for the life of the account id. Both arguments must come from the
    /// operating system's generator.
    ///
    /// # Errors
    /// [`DataKeysError::Full`] or [`DataKeysError::Storage`].
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

    /// Makes all staged keys durable in one commit; does nothing where none is staged.
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
        // In the caches before it leaves the staged ones, so that no reader misses it in between.
        let mut staged = self.staged();
        for (name, (key, _)) in batch {
            self.newest
                .insert(stream_key_of(&name), generation_of(&name));
            self.unwrapped.insert(name, key);
            staged.remove(&name);
        }
        Ok(())
    }

    /// Forgets all staged keys; nothing may have been appended that they sealed.
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

    /// The store for a read of all of it: under the lock, that would hold up every commit once a
    /// rewriting waits for the lock. It is the old one once it has been replaced.
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
