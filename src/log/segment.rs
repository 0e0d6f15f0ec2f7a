//! One segment: a redb file that holds an ascending run of positions and nothing else.

use std::ops::{Bound, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyDatabase, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::error::SegmentFault;
use super::folder;
use super::page::Page;

/// The only table of a segment: position → record bytes.
pub(super) const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records_v1");

type OpenWritable = dyn Fn(&Builder, &Path) -> Result<Database, DatabaseError> + Send + Sync;
type OpenReadOnly =
    dyn Fn(&Builder, &Path) -> Result<ReadOnlyDatabase, DatabaseError> + Send + Sync;

/// Turns a segment's path into an open redb database; the harnesses that break disks supply their
/// own `redb::StorageBackend` here.
#[derive(Clone)]
pub struct Storage {
    /// Makes a new, empty database at a path without a file.
    pub create: Arc<OpenWritable>,
    /// Opens an existing database for writing, repairing it after a crash.
    pub open: Arc<OpenWritable>,
    /// Opens an existing, cleanly closed database for reading.
    pub open_read_only: Arc<OpenReadOnly>,
}

impl Default for Storage {
    /// Keeps each segment in the file at its path, which only its owner may read.
    fn default() -> Self {
        Storage {
            create: Arc::new(|builder, path| {
                folder::make_private(path).map_err(redb::StorageError::Io)?;
                builder.create(path)
            }),
            open: Arc::new(|builder, path| builder.open(path)),
            open_read_only: Arc::new(|builder, path| builder.open_read_only(path)),
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

impl Storage {
    pub(super) fn create(&self, path: &Path, cache_bytes: usize) -> Result<Database, SegmentFault> {
        guarded(|| Ok((self.create)(&builder(cache_bytes), path)?))
    }

    pub(super) fn open(&self, path: &Path, cache_bytes: usize) -> Result<Database, SegmentFault> {
        guarded(|| Ok((self.open)(&builder(cache_bytes), path)?))
    }

    pub(super) fn open_read_only(
        &self,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<ReadOnlyDatabase, SegmentFault> {
        guarded(|| Ok((self.open_read_only)(&builder(cache_bytes), path)?))
    }

    /// Opens a sealed segment, repairing it first if a crash or a copy left it unclean.
    pub(super) fn open_sealed(
        &self,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<ReadOnlyDatabase, SegmentFault> {
        match self.open_read_only(path, cache_bytes) {
            Err(SegmentFault::Unclean) => {
                close(self.open(path, cache_bytes)?)?;
                self.open_read_only(path, cache_bytes)
            }
            opened => opened,
        }
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Writes the records at `first`, `first + 1`, … in one durable, one-phase transaction.
///
/// redb documents that a one-phase commit can be made to apply in part by an attacker who controls
/// both the order in which pages reach the disk and the bytes written. Such an attacker can rewrite
/// the file as well, and the Merkle tree shows both, so a second fsync would gain nothing.
pub(super) fn commit(db: &Database, first: u64, records: &[Vec<u8>]) -> Result<(), SegmentFault> {
    guarded(|| {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_two_phase_commit(false);
        {
            let mut table = txn.open_table(RECORDS)?;
            // A cursor at the end refuses a position that is not above the last one, so that no
            // record can be overwritten.
            let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
            for (position, record) in (first..).zip(records) {
                cursor.insert_before(position, record.as_slice())?;
            }
            cursor.close()?;
        }
        Ok(txn.commit()?)
    })
}

/// Commits only the allocator state, after which a crash needs no repair.
pub(super) fn commit_quick_repair(db: &Database) -> Result<(), SegmentFault> {
    guarded(|| {
        let mut txn = db.begin_write()?;
        txn.set_quick_repair(true);
        Ok(txn.commit()?)
    })
}

/// Closes a writable segment cleanly, so that it opens at once, read-only too.
pub(super) fn close(db: Database) -> Result<(), SegmentFault> {
    guarded(|| Ok(db.close()?))
}

/// Returns the first and last position of a segment.
///
/// An empty segment is damage: a segment's file gets its name only with records in it.
pub(super) fn extent(db: &impl ReadableDatabase) -> Result<RangeInclusive<u64>, SegmentFault> {
    let (ends, count) = guarded(|| {
        let table = db.begin_read()?.open_table(RECORDS)?;
        let first = table.first()?.map(|(position, _)| position.value());
        let last = table.last()?.map(|(position, _)| position.value());
        Ok((first.zip(last), table.len()?))
    })?;
    let Some((first, last)) = ends else {
        return Err(SegmentFault::Damaged("it holds no record".into()));
    };
    if first == 0 || last < first || count != last - first + 1 {
        return Err(SegmentFault::Damaged(format!(
            "{count} records cannot fill positions {first} to {last}"
        )));
    }
    Ok(first..=last)
}

/// Adds the records at `positions` to the page, in one short transaction; returns `false` once the
/// page is full.
pub(super) fn read(
    db: &impl ReadableDatabase,
    positions: RangeInclusive<u64>,
    page: &mut Page,
) -> Result<bool, SegmentFault> {
    assert_eq!(*positions.start(), page.next(), "a page has no gap");
    let mut expected = *positions.start();
    let end = *positions.end();
    let taken = guarded(|| {
        let table = db.begin_read()?.open_table(RECORDS)?;
        for entry in table.range(positions)? {
            let (position, record) = entry?;
            if position.value() != expected {
                break;
            }
            if !page.take(record.value()) {
                return Ok(false);
            }
            expected += 1;
        }
        Ok(true)
    })?;
    if taken && expected <= end {
        return Err(SegmentFault::Damaged(format!(
            "the record at position {expected} is missing"
        )));
    }
    Ok(taken)
}

/// Hands over the records at ascending positions, in one short transaction.
pub(super) fn read_each(
    db: &impl ReadableDatabase,
    positions: &[u64],
    take: &mut impl FnMut(u64, &[u8]),
) -> Result<(), SegmentFault> {
    let missing = guarded(|| {
        let table = db.begin_read()?.open_table(RECORDS)?;
        for position in positions {
            match table.get(position)? {
                Some(record) => take(*position, record.value()),
                None => return Ok(Some(*position)),
            }
        }
        Ok(None)
    })?;
    match missing {
        None => Ok(()),
        Some(position) => Err(SegmentFault::Damaged(format!(
            "the record at position {position} is missing"
        ))),
    }
}

/// Runs redb, which documents that it may panic on a file that was altered behind its back. Such a
/// panic becomes a refusal like any other damage, not a crash of the reader's thread.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, SegmentFault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(SegmentFault::from),
        Err(_) => Err(SegmentFault::Damaged(
            "redb stopped at bytes that it did not write".into(),
        )),
    }
}
