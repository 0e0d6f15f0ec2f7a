//! The file of the index: `index.redb`, derived from the log, deletable at any time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Value, WriteTransaction,
};

use super::CommandPlace;
use super::buckets::{Bucketed, Covered};
use super::cover::{Seals, changed};
use super::layers::{Counts, IndexError, Layer, Place, Tail};
use super::tables::{
    CASES, CHALLENGES, COMMANDS, COUNTS, FRONTIER, NAMES, READ_AT_START, REQUESTS, STREAMS, TAIL,
    TILES, write_layer,
};
use crate::log::hashes::TileError;
use crate::log::tiles::tile_width;
use crate::log::tree::HASH_BYTES;

/// The place of a walk over the buckets of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    table: u8,
    bucket: u16,
}

impl Cursor {
    /// The place before the first bucket.
    pub const START: Self = Self {
        table: STREAMS.id,
        bucket: 0,
    };
}

pub(in crate::log) struct IndexFile {
    pub(super) path: PathBuf,
    pub(super) db: Database,
    pub(super) seals: Seals,
    /// Whether a row was found that the service did not write.
    pub(super) is_changed: AtomicBool,
}

impl IndexFile {
    /// Returns the last record that is stored.
    pub fn tail(&self) -> Tail {
        self.sealed_tail().map_or(Tail::default(), |(tail, _)| tail)
    }

    /// Returns whether a row was found that the service did not write.
    pub fn is_changed(&self) -> bool {
        self.is_changed.load(Ordering::Acquire)
    }

    /// Marks the file, so that the next open rebuilds it.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be written.
    pub fn distrust(&self) -> Result<(), IndexError> {
        self.read(|| {
            let txn = durable(&self.db)?;
            txn.open_table(TAIL)?.remove(())?;
            Ok(txn.commit()?)
        })
    }

    /// Returns the Merkle frontier at the last stored record; `None` if none is stored.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn frontier(&self) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(FRONTIER)?;
            Ok(table.get(())?.map(|row| row.value().to_vec()))
        })
    }

    /// Returns a stored tile; `None` if the stored tree does not have it.
    ///
    /// # Errors
    /// [`TileError`] if the tile was changed, or the file cannot be read.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, TileError> {
        let read = self.read(|| {
            let txn = self.db.begin_read()?;
            let tail = txn.open_table(TAIL)?.get(())?;
            let width = tile_width(level, index, tail.map_or(0, |row| row.value().0));
            if width == 0 {
                return Ok(None);
            }
            // A tile that is missing, or narrower than when it was last stored, is a changed row.
            let row = txn.open_table(TILES)?.get((level, index))?;
            let row = row.ok_or_else(changed)?;
            let (tag, bytes) = row.value();
            let is_right = self.seals.tile_tag(level, index, bytes) == *tag;
            if is_right && bytes.len() == width * HASH_BYTES {
                Ok(Some(bytes.to_vec()))
            } else {
                Err(changed())
            }
        });
        read.map_err(|error| TileError::new(level, index, error))
    }

    pub fn places(
        &self,
        stream: &StreamKey,
        after: u32,
        through: u32,
    ) -> Result<Vec<Place>, IndexError> {
        if after >= through {
            return Ok(Vec::new());
        }
        self.covered(&STREAMS, &(&stream.0, 0), |table| {
            let mut places = Vec::new();
            let range = (&stream.0, after + 1)..=(&stream.0, through);
            for (due, row) in (after + 1..).zip(table.range(range)?) {
                let (key, value) = row?;
                if key.value() != (&stream.0, due) {
                    return Err(changed());
                }
                let (position, leaf) = value.value();
                let leaf = *leaf;
                places.push(Place { position, leaf });
            }
            Ok(places)
        })
    }

    pub fn version(&self, stream: &StreamKey) -> Result<u32, IndexError> {
        self.covered(&STREAMS, &(&stream.0, 0), |table| {
            let mut range = table.range((&stream.0, 0)..=(&stream.0, u32::MAX))?;
            let Some(row) = range.next_back() else {
                return Ok(0);
            };
            let (key, _) = row?;
            let (found, version) = key.value();
            if *found == stream.0 {
                Ok(version)
            } else {
                Err(changed())
            }
        })
    }

    pub fn command(&self, key: &CommandKey) -> Result<Option<CommandPlace>, IndexError> {
        self.covered(&COMMANDS, &&key.0, |table| {
            let row = table.get(&key.0)?;
            Ok(row.map(|row| {
                let (first, len, at) = row.value();
                CommandPlace {
                    first,
                    len,
                    at: Micros(at),
                }
            }))
        })
    }

    pub fn name(&self, name: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.covered(&NAMES, &name, |table| {
            Ok(table.get(name)?.map(|row| StreamKey(*row.value())))
        })
    }

    pub fn challenge(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.covered(&CHALLENGES, &hash, |table| {
            Ok(table.get(hash)?.map(|row| StreamKey(*row.value().0)))
        })
    }

    pub fn case(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.covered(&CASES, &hash, |table| {
            Ok(table.get(hash)?.map(|row| StreamKey(*row.value())))
        })
    }

    /// Returns positions and times, ascending.
    ///
    /// # Errors
    /// [`IndexError`] if a row was changed, or the file cannot be read.
    pub fn requests(&self, agent: &[u8; 16]) -> Result<Vec<(u64, Micros)>, IndexError> {
        self.covered(&REQUESTS, &(agent, 0), |table| {
            let rows = table.range((agent, 0)..=(agent, u64::MAX))?;
            rows.map(|row| {
                let (key, at) = row?;
                let (found, position) = key.value();
                if found == agent {
                    Ok((position, Micros(at.value())))
                } else {
                    Err(changed())
                }
            })
            .collect()
        })
    }

    pub fn counts(&self) -> Result<Counts, IndexError> {
        self.covered(&COUNTS, &0, |table| {
            let rows = table.iter()?.map(|row| {
                let (event_type, count) = row?;
                Ok((event_type.value(), count.value()))
            });
            rows.collect()
        })
    }

    pub fn read_at_start(&self, event_type: u16) -> Result<BTreeSet<u64>, IndexError> {
        self.covered(&READ_AT_START, &(0, 0), |table| {
            let rows = table.range((event_type, 0)..=(event_type, u64::MAX))?;
            rows.map(|row| Ok(row?.0.value().1)).collect()
        })
    }

    /// Reads from a covered table, once the key's bucket is checked against its seal.
    fn covered<K: Bucketed, V: Value, T>(
        &self,
        covered: &Covered<K, V>,
        key: &K::SelfType<'_>,
        work: impl FnOnce(&ReadOnlyTable<K, V>) -> Result<T, redb::Error>,
    ) -> Result<T, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(covered.definition)?;
            let checked = self.seals.check(covered, &table, K::bucket(key))?;
            checked.map_err(|_| changed())?;
            work(&table)
        })
    }

    /// Checks this many buckets against their seals, from one of them on; returns where to
    /// continue.
    ///
    /// # Errors
    /// [`IndexError`] if a row was changed, or the file cannot be read.
    pub fn check_buckets(&self, from: Cursor, count: usize) -> Result<Option<Cursor>, IndexError> {
        let (mut at, mut left) = (from, count);
        loop {
            let next = match at.table {
                table if table == STREAMS.id => self.check_from(&STREAMS, at.bucket, &mut left)?,
                table if table == COMMANDS.id => {
                    self.check_from(&COMMANDS, at.bucket, &mut left)?
                }
                table if table == NAMES.id => self.check_from(&NAMES, at.bucket, &mut left)?,
                table if table == CHALLENGES.id => {
                    self.check_from(&CHALLENGES, at.bucket, &mut left)?
                }
                table if table == CASES.id => self.check_from(&CASES, at.bucket, &mut left)?,
                table if table == REQUESTS.id => {
                    self.check_from(&REQUESTS, at.bucket, &mut left)?
                }
                _ => return Ok(None),
            };
            if let Some(bucket) = next {
                return Ok(Some(Cursor { bucket, ..at }));
            }
            at = Cursor {
                table: at.table + 1,
                bucket: 0,
            };
        }
    }

    /// Checks buckets of one table against their seals, if they have a row or a seal; returns the
    /// next one once that is enough.
    fn check_from<K: Bucketed, V: Value>(
        &self,
        covered: &Covered<K, V>,
        from: u16,
        left: &mut usize,
    ) -> Result<Option<u16>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(covered.definition)?;
            let mut from = from;
            while let Some(bucket) = self.seals.next_bucket(covered, &table, from)? {
                if *left == 0 {
                    return Ok(Some(bucket));
                }
                *left -= 1;
                let checked = self.seals.check(covered, &table, bucket)?;
                checked.map_err(|_| changed())?;
                from = bucket + 1;
            }
            Ok(None)
        })
    }

    fn read<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
        work().map_err(|source| {
            if matches!(source, redb::Error::Corrupted(_)) {
                self.is_changed.store(true, Ordering::Release);
            }
            IndexError {
                path: self.path.clone(),
                source: Box::new(source),
            }
        })
    }

    // BUG: erasure-walks-names: after an erasure this walks over all names.
    /// Writes a layer in key order, in one transaction.
    ///
    /// # Errors
    /// [`IndexError`] if a changed row was found, or the file cannot be written; then nothing is
    /// written.
    pub fn write(
        &self,
        layer: &Layer,
        is_durable: bool,
        now: Micros,
        record: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<(), IndexError> {
        self.read(|| {
            let mut txn = durable(&self.db)?;
            if !is_durable {
                txn.set_quick_repair(false);
                txn.set_durability(Durability::None)
                    .map_err(redb::Error::from)?;
            }
            let sealed = write_layer(&txn, layer, &self.seals, now, &record)?;
            txn.commit()?;
            self.seals.committed(sealed);
            Ok(())
        })
    }
}

/// Begins a transaction that, once committed, survives a crash without a repair.
pub(super) fn durable(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}
