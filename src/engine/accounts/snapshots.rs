//! Snapshots of accounts with a long history: a deletable file that saves folding them again.
//!
//! A snapshot is trusted only by a build with the same fold, to the letter: its key begins with a
//! fingerprint of the fold's own source, so other builds' snapshots are recognised before anything
//! is decoded. It also needs a tag under the keyring over everything in it: the stream, the
//! version, the account, and the event that it ends with, which the caller compares with the log.

use std::path::Path;
use std::sync::LazyLock;

use countersign_schemas::ids::StreamKey;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::crypto::derived::FileKey;
use crate::engine::deletable;
use crate::log::Storage;
use crate::log::index::Place;

/// Events since the last snapshot after which a new one is worth its cost.
pub const TAIL_MAX: usize = 128;
/// Page cache of the file.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// The largest snapshot that is kept.
const SNAPSHOT_BYTES_MAX: usize = 256 * 1024;

/// Fingerprint of the fold, and stream key.
type Key<'a> = ([u8; 8], &'a [u8; 16]);
/// Version, position of the event of that version and the first bytes of its leaf hash, the account
/// with its fields sealed, and the tag over all of that and the key.
type Row<'a> = (u32, u64, &'a [u8; 16], &'a [u8], &'a [u8; 16]);

/// A stream, the place of its last event, and its account.
pub type Snapshot = (StreamKey, Place, Account);

const SNAPSHOTS: TableDefinition<Key, Row> = TableDefinition::new("snapshots_v2");

/// Changes whenever the type of an account or its fold changes.
static FINGERPRINT: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let sources = [
        include_str!("../../account/state.rs"),
        include_str!("../../account/rules/erasure.rs"),
        include_str!("../../account/evolve.rs"),
        include_str!("../../account/attempts.rs"),
        include_str!("../../account/rules/clear.rs"),
        include_str!("../../account/passwords.rs"),
        include_str!("../../account/rules/reset.rs"),
        include_str!("../../account/rules/suspension.rs"),
        include_str!("../../../schemas/src/sealed.rs"),
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
    key: FileKey,
}

impl Snapshots {
    /// Opens the file; a damaged one is made again, and if that fails the service works without
    /// snapshots. `storage` is the default one except in harnesses that break disks; `key` is the
    /// file's own.
    pub fn open(storage: &Storage, path: &Path, key: FileKey) -> Self {
        let db = deletable::open(storage, path, CACHE_BYTES);
        if let Err(error) = &db {
            tracing::warn!(%error, "there are no snapshots: long histories are folded again each time");
        }
        Self { db: db.ok(), key }
    }

    /// Returns the newest snapshot of a stream with at most that version, and the place that it
    /// names for its last event, which the caller compares with the log. A snapshot that the
    /// service did not write is a miss.
    pub fn load(&self, stream: StreamKey, version_max: u32) -> Option<(Place, Account)> {
        let txn = self.db.as_ref()?.begin_read().ok()?;
        let table = txn.open_table(SNAPSHOTS).ok()?;
        let row = table.get((*FINGERPRINT, &stream.0)).ok()??;
        let (version, position, leaf, bytes, tag) = row.value();
        if version > version_max {
            return None;
        }
        let leaf = *leaf;
        let place = Place { position, leaf };
        let account = self.authentic(stream, version, &place, bytes, tag);
        if account.is_none() {
            tracing::warn!(
                "a snapshot was changed by something other than this service; its account is folded from the log"
            );
        }
        Some((place, account?))
    }

    fn authentic(
        &self,
        stream: StreamKey,
        version: u32,
        place: &Place,
        bytes: &[u8],
        tag: &[u8; 16],
    ) -> Option<Account> {
        if self.tag(stream, version, place, bytes) != *tag {
            return None;
        }
        let (account, rest): (Account, _) = postcard::take_from_bytes(bytes).ok()?;
        let is_whole = rest.is_empty() && version > 0 && account.version == version;
        (is_whole && account.stream_key() == Some(stream)).then_some(account)
    }

    fn tag(&self, stream: StreamKey, version: u32, place: &Place, bytes: &[u8]) -> [u8; 16] {
        self.key.tag(&[
            &*FINGERPRINT,
            &stream.0,
            &version.to_le_bytes(),
            &place.position.to_le_bytes(),
            &place.leaf,
            bytes,
        ])
    }

    /// Stores snapshots of accounts; those that a crash loses are folded again.
    pub fn save(&self, accounts: &[Snapshot]) {
        let Some(db) = &self.db else { return };
        let saved = (|| -> Result<(), redb::Error> {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            txn.set_quick_repair(true);
            {
                let mut table = txn.open_table(SNAPSHOTS)?;
                for (stream, place, account) in accounts {
                    let bytes = postcard::to_allocvec(account).unwrap_or_default();
                    if (1..=SNAPSHOT_BYTES_MAX).contains(&bytes.len()) {
                        let version = account.version;
                        let tag = self.tag(*stream, version, place, &bytes);
                        table.insert(
                            (*FINGERPRINT, &stream.0),
                            (version, place.position, &place.leaf, bytes.as_slice(), &tag),
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
