//! Snapshots of accounts with a long history: a deletable file that saves folding it again.
//!
//! A snapshot is trusted only by a build whose fold is the same to the letter: its key begins with a
//! fingerprint of the fold's own source, so it is told apart before anything is decoded.

use std::path::Path;
use std::sync::LazyLock;

use countersign_schemas::ids::StreamKey;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::log::Storage;

/// A history longer than this since the last snapshot is worth another.
pub const TAIL_MAX: usize = 128;
/// Page cache of the file.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// The largest snapshot that is kept.
const SNAPSHOT_BYTES_MAX: usize = 256 * 1024;

/// Fingerprint of the fold, and stream key.
type Key<'a> = ([u8; 8], &'a [u8; 16]);
/// Version, and the account with its fields sealed.
type Row<'a> = (u32, &'a [u8]);

const SNAPSHOTS: TableDefinition<Key, Row> = TableDefinition::new("snapshots_v1");

/// Changes with any change of what an account is or how it folds.
static FINGERPRINT: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let sources = [
        include_str!("../account/mod.rs"),
        include_str!("../account/erasure.rs"),
        include_str!("../account/evolve.rs"),
        include_str!("../account/attempts.rs"),
        include_str!("../account/clear.rs"),
        include_str!("../account/passwords.rs"),
        include_str!("../account/reset.rs"),
        include_str!("../account/suspension.rs"),
        include_str!("../../schemas/src/sealed.rs"),
    ];
    let digest = sources
        .iter()
        .fold(Sha256::new(), Sha256::chain_update)
        .finalize();
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&digest[..8]);
    fingerprint
});

/// The snapshots; every failure is a miss, since the log has everything.
pub struct Snapshots {
    db: Option<Database>,
}

impl Snapshots {
    /// Opens the file; one that is damaged is made anew, and without one it goes on.
    /// `storage` is the default one but in harnesses that break disks.
    pub fn open(storage: &Storage, path: &Path) -> Self {
        let mut builder = Database::builder();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true);
        let open = || match path.exists() {
            true => (storage.open)(&builder, path),
            false => (storage.create)(&builder, path),
        };
        let db = open().or_else(|error| {
            tracing::warn!(%error, "the snapshots are made anew");
            std::fs::remove_file(path).map_err(redb::StorageError::Io)?;
            open()
        });
        if let Err(error) = &db {
            tracing::warn!(%error, "there are no snapshots: long histories are folded again each time");
        }
        Self { db: db.ok() }
    }

    /// The newest snapshot of a stream with at most that version.
    pub fn load(&self, stream: StreamKey, version_max: u32) -> Option<Account> {
        let txn = self.db.as_ref()?.begin_read().ok()?;
        let table = txn.open_table(SNAPSHOTS).ok()?;
        let row = table.get((*FINGERPRINT, &stream.0)).ok()??;
        let (version, bytes) = row.value();
        if version > version_max {
            return None;
        }
        let account: Account = postcard::from_bytes(bytes).ok()?;
        (account.version == version && account.stream_key() == Some(stream)).then_some(account)
    }

    /// Keeps accounts; what a crash takes back is folded again.
    pub fn save(&self, accounts: &[(StreamKey, Account)]) {
        let Some(db) = &self.db else { return };
        let saved = (|| -> Result<(), redb::Error> {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            txn.set_quick_repair(true);
            {
                let mut table = txn.open_table(SNAPSHOTS)?;
                for (stream, account) in accounts {
                    let bytes = postcard::to_allocvec(account).unwrap_or_default();
                    if (1..=SNAPSHOT_BYTES_MAX).contains(&bytes.len()) {
                        table.insert(
                            (*FINGERPRINT, &stream.0),
                            (account.version, bytes.as_slice()),
                        )?;
                    }
                }
            }
            Ok(txn.commit()?)
        })();
        if let Err(error) = saved {
            tracing::warn!(%error, "snapshots were not kept");
        }
    }
}
