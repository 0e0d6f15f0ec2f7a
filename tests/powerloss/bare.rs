//! A growing append on redb alone, without our log: built with the redb that we use, and in
//! `tests/old_redb` with one that loses it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition};

use crate::disk::{CrashPoint, Disk, Op};
use crate::explorer::{Shape, record};

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records_v1");
const NAME: &str = "bare.redb";
const BATCH: u64 = 512;
/// More records than a new file of either version has room for.
const RECORDS_MAX: u64 = 64 * BATCH;

fn makes_longer(points: &[CrashPoint]) -> bool {
    let files = points.iter().flat_map(|point| &point.files);
    let mut ops = files.flat_map(|file| &file.unsynced);
    ops.any(|op| matches!(op, Op::SetLen(_)))
}

fn open(disk: &Disk, folder: &Path) -> Result<Database, Error> {
    let backend = disk.backend(&folder.join(NAME));
    Ok(Database::builder()
        .set_cache_size(1024 * 1024)
        .create_with_backend(backend)?)
}

fn append(db: &Database, head: u64) -> Result<u64, Error> {
    let txn = db.begin_write()?;
    let mut table = txn.open_table(RECORDS)?;
    for position in head + 1..=head + BATCH {
        table.insert(position, record(position).as_slice())?;
    }
    drop(table);
    txn.commit()?;
    Ok(head + BATCH)
}

/// Reads everything and returns the last position.
fn read(db: &Database) -> Result<u64, Error> {
    let table = db.begin_read()?.open_table(RECORDS)?;
    let mut head = 0;
    for row in table.iter()? {
        let (position, bytes) = row?;
        head += 1;
        assert_eq!(position.value(), head);
        assert_eq!(bytes.value(), record(head));
    }
    Ok(head)
}

/// The first append that makes the file longer.
pub fn growing_shape() -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let disk = Disk::new(parent.path());
    disk.create(&parent.path().join(NAME)).unwrap();
    let db = open(&disk, parent.path()).unwrap();
    let mut head = append(&db, 0).unwrap();
    let points = loop {
        disk.acknowledge(head);
        disk.record();
        head = append(&db, head).unwrap();
        disk.acknowledge(head);
        let points = disk.crash_points();
        if makes_longer(&points) {
            break points;
        }
        assert!(head < RECORDS_MAX, "no append makes the file longer");
    };
    Shape {
        name: "redb alone",
        points,
        check: Box::new(move |disk, folder, acknowledged| {
            check(disk, folder, [head - BATCH, head], acknowledged)
        }),
        open: |disk, folder| drop(open(disk, folder)),
    }
}

fn check(disk: &Disk, folder: &Path, borders: [u64; 2], acknowledged: u64) -> Result<(), String> {
    let opened = catch_unwind(AssertUnwindSafe(|| read(&open(disk, folder)?)));
    let panicked = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default()
    };
    let head = opened
        .map_err(panicked)?
        .map_err(|error| error.to_string())?;
    if borders.contains(&head) && head >= acknowledged {
        Ok(())
    } else {
        Err(format!("{acknowledged} acknowledged, {head} found"))
    }
}
