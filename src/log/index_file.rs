//! The file of the index: `index.redb`, derived from the log, deletable at any time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use super::index::CommandPlace;
use super::index_tables::{
    CASES, CHALLENGES, COMMANDS, COMMANDS_FROM, COUNTS, FRONTIER, NAMES, READ_AT_START, REQUESTS,
    STREAMS, TAIL, TILES, forget_old_commands, write_layer,
};
use super::layers::{Counts, Layer};
use super::segment::Storage;
use super::tiles::{TileError, Tree};
use super::tree::Frontier;

/// The index could not be read or written. The log is not concerned.
#[derive(Debug, thiserror::Error)]
#[error(
    "the index {path} cannot be used ({source}): stop the service and delete the file, it is rebuilt from the log"
)]
pub struct IndexError {
    path: PathBuf,
    source: Box<redb::Error>,
}

/// The last record that an index has taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Its position; 0 before the first.
    pub position: u64,
    /// When it was recorded.
    pub at: Micros,
    /// Its command, to tell this log from another.
    pub command: [u8; 16],
}

impl Tail {
    /// The tail that a record makes.
    pub(super) fn of(position: u64, record: &Record) -> Self {
        Self {
            position,
            at: record.recorded_at,
            command: record.command_key.0,
        }
    }
}

pub(super) struct IndexFile {
    path: PathBuf,
    db: Database,
}

impl IndexFile {
    /// Opens the file, and the tree as it was stored in it; see [`super::index::Index::open`].
    pub fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        record: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<(Self, Tree), IndexError> {
        let found = path.exists();
        let reason = match Self::open_as_is(storage, path, cache_bytes) {
            Ok(file) => match file.tree_of(&record) {
                Some(tree) => return Ok((file, tree)),
                None => "it is of another log or another build".to_owned(),
            },
            Err(error) if !found || matches!(*error.source, redb::Error::DatabaseAlreadyOpen) => {
                return Err(error);
            }
            Err(error) => error.source.to_string(),
        };
        tracing::warn!(%reason, "index.redb is rebuilt from the log");
        std::fs::remove_file(path).map_err(|error| IndexError {
            path: path.into(),
            source: Box::new(redb::Error::Io(error)),
        })?;
        let file = Self::open_as_is(storage, path, cache_bytes)?;
        Ok((file, Tree::default()))
    }

    /// Every page's checksum is read: an index that lost an entry would let a used code live again.
    fn open_as_is(storage: &Storage, path: &Path, cache_bytes: usize) -> Result<Self, IndexError> {
        let failed = |source: redb::Error| IndexError {
            path: path.into(),
            source: Box::new(source),
        };
        let mut builder = Database::builder();
        builder
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(true);
        let open = match path.exists() {
            true => &storage.open,
            false => &storage.create,
        };
        let db = open(&builder, path).map_err(|error| failed(error.into()))?;
        let made = (|| -> Result<(), redb::Error> {
            let txn = durable(&db)?;
            txn.open_table(STREAMS)?;
            txn.open_table(COMMANDS)?;
            txn.open_table(NAMES)?;
            txn.open_table(CHALLENGES)?;
            txn.open_table(CASES)?;
            txn.open_table(REQUESTS)?;
            txn.open_table(TAIL)?;
            txn.open_table(TILES)?;
            txn.open_table(FRONTIER)?;
            txn.open_table(COUNTS)?;
            txn.open_table(READ_AT_START)?;
            txn.open_table(COMMANDS_FROM)?;
            Ok(txn.commit()?)
        })();
        made.map_err(failed)?;
        Ok(Self {
            path: path.into(),
            db,
        })
    }

    /// The tree as it was stored; none unless the record that was last taken in still stands where
    /// it stood and the tree ends with it.
    fn tree_of(&self, record: &impl Fn(u64) -> Option<Record<'static>>) -> Option<Tree> {
        let tail = self.tail();
        if tail.position == 0 {
            return self.has_no_stream().then(Tree::default);
        }
        let last = record(tail.position).filter(|r| Tail::of(tail.position, r) == tail)?;
        let frontier = Frontier::decode(&self.frontier().ok()??).ok()?;
        let read = |level, index| {
            let missing = || TileError::new(level, index, "it is not in the index");
            self.tile(level, index)?.ok_or_else(missing)
        };
        let ends_here = frontier.size() == tail.position;
        let tree = Tree::resume(frontier, &last.encode().ok()?, read).ok()?;
        ends_here.then_some(tree)
    }

    /// Whether nothing was ever taken in, by this build or an older one.
    fn has_no_stream(&self) -> bool {
        let read = || -> Result<bool, redb::Error> {
            let table = self.db.begin_read()?.open_table(STREAMS)?;
            Ok(table.first()?.is_none())
        };
        read().unwrap_or(false)
    }

    fn frontier(&self) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(FRONTIER)?;
            Ok(table.get(())?.map(|row| row.value().to_vec()))
        })
    }

    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, TileError> {
        let read = self.read(|| {
            let table = self.db.begin_read()?.open_table(TILES)?;
            Ok(table.get((level, index))?.map(|row| row.value().to_vec()))
        });
        read.map_err(|error| TileError::new(level, index, error))
    }

    /// The last record that is in; an unreadable row counts as none, and the file is then made anew.
    pub fn tail(&self) -> Tail {
        let read = || -> Result<Option<Tail>, redb::Error> {
            let table = self.db.begin_read()?.open_table(TAIL)?;
            let row = table.get(())?;
            Ok(row.map(|row| {
                let (position, at, command) = row.value();
                Tail {
                    position,
                    at: Micros(at),
                    command: *command,
                }
            }))
        };
        read().ok().flatten().unwrap_or_default()
    }

    pub fn positions(
        &self,
        stream: &StreamKey,
        after: u32,
        through: u32,
    ) -> Result<Vec<u64>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(STREAMS)?;
            let range = (&stream.0, after.saturating_add(1))..=(&stream.0, through);
            if after >= through {
                return Ok(Vec::new());
            }
            table.range(range)?.map(|row| Ok(row?.1.value())).collect()
        })
    }

    pub fn version(&self, stream: &StreamKey) -> Result<u32, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(STREAMS)?;
            let mut range = table.range((&stream.0, 0)..=(&stream.0, u32::MAX))?;
            match range.next_back() {
                Some(row) => Ok(row?.0.value().1),
                None => Ok(0),
            }
        })
    }

    pub fn command(&self, key: &CommandKey) -> Result<Option<CommandPlace>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(COMMANDS)?;
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
        self.read(|| {
            let table = self.db.begin_read()?.open_table(NAMES)?;
            Ok(table.get(name)?.map(|row| StreamKey(*row.value())))
        })
    }

    pub fn challenge(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(CHALLENGES)?;
            Ok(table.get(hash)?.map(|row| StreamKey(*row.value().0)))
        })
    }

    pub fn case(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(CASES)?;
            Ok(table.get(hash)?.map(|row| StreamKey(*row.value())))
        })
    }

    /// Positions and times, ascending.
    pub fn requests(&self, agent: &[u8; 16]) -> Result<Vec<(u64, Micros)>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(REQUESTS)?;
            let rows = table.range((agent, 0)..=(agent, u64::MAX))?;
            rows.map(|row| {
                let (key, at) = row?;
                Ok((key.value().1, Micros(at.value())))
            })
            .collect()
        })
    }

    pub fn counts(&self) -> Result<Counts, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(COUNTS)?;
            let rows = table.iter()?.map(|row| {
                let (event_type, count) = row?;
                Ok((event_type.value(), count.value()))
            });
            rows.collect()
        })
    }

    pub fn read_at_start(&self, event_type: u16) -> Result<BTreeSet<u64>, IndexError> {
        self.read(|| {
            let table = self.db.begin_read()?.open_table(READ_AT_START)?;
            let rows = table.range((event_type, 0)..=(event_type, u64::MAX))?;
            rows.map(|row| Ok(row?.0.value().1)).collect()
        })
    }

    fn read<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
        work().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: redb::Error) -> IndexError {
        IndexError {
            path: self.path.clone(),
            source: Box::new(source),
        }
    }

    /// Writes a layer in key order, in one transaction.
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
            write_layer(&txn, layer, now)?;
            forget_old_commands(&txn, now, &record)?;
            Ok(txn.commit()?)
        })
    }
}

/// A transaction whose commit survives a crash and needs no repair after one.
fn durable(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}
