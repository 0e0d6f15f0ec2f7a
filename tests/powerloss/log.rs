//! Shapes of the event log: every kind of append, sealing, the idle commit, closing, recovery.

use std::path::Path;

use countersign::log::{EventLog, PAGE_BYTES_MAX};

use crate::disk::{CrashPoint, Disk, Op};
use crate::explorer::{Shape, image, record};

pub const SEGMENT_RECORDS: u64 = 160;

fn records(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count).map(record).collect()
}

fn shape(name: &'static str, before: u64, after: u64, points: Vec<CrashPoint>) -> Shape {
    Shape {
        name,
        points,
        check: Box::new(move |disk, folder, acknowledged| {
            verify(disk, folder, [before, after], acknowledged)
        }),
        open: |disk, folder| drop(EventLog::open(folder, disk.options(SEGMENT_RECORDS))),
    }
}

/// Makes a log of `head` records.
fn grown(disk: &Disk, folder: &Path, head: u64) -> EventLog {
    let options = disk.options(SEGMENT_RECORDS);
    let mut log = EventLog::create(folder, options, &records(1, 1)).unwrap();
    while log.head() < head {
        let count = (head - log.head()).min(40);
        log.append(log.head(), &records(log.head() + 1, count))
            .unwrap();
    }
    disk.acknowledge(head);
    log
}

/// Appends `count` records while the disk remembers; a mutant acknowledges before the commit.
pub fn append_shape(name: &'static str, head: u64, count: u64, too_early: bool) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::new(&folder);
    let mut log = grown(&disk, &folder, head);
    disk.record();
    if too_early {
        disk.acknowledge(head + count);
    }
    let after = log.append(head, &records(head + 1, count)).unwrap();
    disk.acknowledge(after);
    shape(name, head, after, disk.crash_points())
}

/// Finds the first append after `head` that makes the file longer.
fn growing_shape(head: u64) -> Shape {
    let grows = |point: &CrashPoint| {
        let mut ops = point.files.iter().flat_map(|file| &file.unsynced);
        ops.any(|op| matches!(op, Op::SetLen(_)))
    };
    (head..SEGMENT_RECORDS)
        .map(|head| append_shape("growth", head, 12, false))
        .find(|shape| shape.points.iter().any(grows))
        .expect("some append makes the file longer")
}

/// Runs a step that appends nothing while the disk remembers.
fn quiet_shape(name: &'static str, head: u64, step: impl FnOnce(EventLog)) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::new(&folder);
    let log = grown(&disk, &folder, head);
    disk.record();
    step(log);
    shape(name, head, head, disk.crash_points())
}

/// Opens the disk that a power loss right after an append left, while the disk remembers.
fn recovery_shape(head: u64) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let crashed = append_shape("", head - 3, 3, false).points.pop().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::holding(&folder, image(&crashed, |_| true));
    disk.acknowledge(head);
    disk.record();
    let log = EventLog::open(&folder, disk.options(SEGMENT_RECORDS)).unwrap();
    let points = disk.crash_points();
    drop(log);
    shape("recovery", head, head, points)
}

pub fn shapes() -> Vec<Shape> {
    vec![
        append_shape("first", 1, 1, false),
        append_shape("single", 70, 1, false),
        append_shape("batch", 70, 12, false),
        append_shape("large batch", 70, 60, false),
        growing_shape(70),
        append_shape("sealing", SEGMENT_RECORDS, 3, false),
        append_shape("after sealing", SEGMENT_RECORDS + 3, 2, false),
        quiet_shape("idle", 70, |mut log| {
            log.idle().unwrap();
            std::mem::forget(log);
        }),
        quiet_shape("close", 70, |log| log.close().unwrap()),
        recovery_shape(70),
    ]
}

/// Returns what is wrong with the log on this disk, if anything is.
fn verify(disk: &Disk, folder: &Path, borders: [u64; 2], acknowledged: u64) -> Result<(), String> {
    let options = disk.options(SEGMENT_RECORDS);
    let mut log = EventLog::open(folder, options).map_err(|error| error.to_string())?;
    let reader = log.reader();
    let mut next = 1;
    loop {
        let page = reader
            .read(next, 64, PAGE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        for (position, bytes) in page.iter() {
            if position != next || bytes != record(position) {
                return Err(format!("another record at position {next}"));
            }
            next += 1;
        }
    }
    let head = next - 1;
    if head < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {head} found"));
    }
    if !borders.contains(&head) {
        return Err(format!("part of a batch: {head} found"));
    }
    if log.head() != head {
        return Err(format!("head {} but {head} records", log.head()));
    }
    let appended = log.append(head, &records(head + 1, 1));
    appended.map(|_| ()).map_err(|error| error.to_string())
}
