//! Every call to the disk fails once, and from there on: each time the log refuses cleanly and
//! opens again with every acknowledged record.
//!
//! One run is a service's life in small: open, appends of several sizes over a sealing, an idle
//! commit, reads and a clean close. For k = 1, 2, … the k-th read, write, change of length or sync
//! fails (also: half a write and a full disk; a sync that loses what it was to keep), until a run
//! ends without reaching its k. Every k is tried in every run; `--nocapture` prints how many.
#![allow(clippy::unwrap_used)]

mod disk;
#[path = "disk/storage.rs"]
mod storage;

use std::path::Path;

use countersign::log::{AppendError, EventLog, LogReader, PAGE_BYTES_MAX};
use disk::{Call, Disk, Failure, Fault};

const SEGMENT_RECORDS: u64 = 100;
const HEAD_BEFORE: u64 = 60;

fn record(position: u64) -> Vec<u8> {
    let length = 100 + usize::try_from(position * 53 % 160).unwrap();
    position
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(length)
        .collect()
}

fn records(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count).map(record).collect()
}

/// Reads everything and says up to where the records are the right ones.
fn read_all(reader: &LogReader) -> Result<u64, String> {
    let mut next = 1;
    loop {
        let page = reader
            .read(next, 64, PAGE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(next - 1);
        }
        for (position, bytes) in page {
            assert_eq!((position, bytes), (next, record(next)), "read wrongly");
            next += 1;
        }
    }
}

/// What one life acknowledged, and whether it came to a clean end.
struct Life {
    acknowledged: u64,
    attempted: u64,
    clean: bool,
}

/// Opens, appends, idles, reads and closes; an error ends the appends as it ends the process.
fn live(disk: &Disk, folder: &Path) -> Life {
    let mut life = Life {
        acknowledged: HEAD_BEFORE,
        attempted: HEAD_BEFORE,
        clean: false,
    };
    let Ok(mut log) = EventLog::open(folder, disk.options(SEGMENT_RECORDS)) else {
        return life;
    };
    let reader = log.reader();
    for count in [1, 12, 30, 2, 40, 1] {
        life.attempted = life.acknowledged + count;
        match log.append(life.acknowledged, &records(life.acknowledged + 1, count)) {
            Ok(head) => life.acknowledged = head,
            Err(error) => {
                assert!(matches!(error, AppendError::Io { .. }), "{error}");
                assert_eq!(
                    reader.head(),
                    life.acknowledged,
                    "readers see an unknown outcome"
                );
                refuses(&mut log);
                return life;
            }
        }
        if count == 30 && log.idle().is_err() {
            refuses(&mut log);
            return life;
        }
    }
    let read = read_all(&reader);
    if let Ok(head) = &read {
        assert_eq!(*head, life.acknowledged);
    }
    life.clean = log.close().is_ok() && read.is_ok();
    life
}

fn refuses(log: &mut EventLog) {
    let head = log.head();
    let refused = log.append(head, &records(head + 1, 1));
    assert!(matches!(refused, Err(AppendError::Poisoned)));
    assert!(matches!(log.idle(), Err(AppendError::Poisoned)));
}

/// Lives once with the fault; `false` if the fault was never reached.
fn survives(fault: Fault) -> bool {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::new(&folder);
    let options = disk.options(SEGMENT_RECORDS);
    EventLog::create(&folder, options, &records(1, HEAD_BEFORE))
        .unwrap()
        .close()
        .unwrap();

    disk.arm(fault);
    let life = live(&disk, &folder);
    let struck = disk.disarm();
    assert!(struck || life.clean, "{fault:?}: an error without a cause");

    let mut log = EventLog::open(&folder, disk.options(SEGMENT_RECORDS))
        .unwrap_or_else(|error| panic!("{fault:?}: the log does not open again: {error}"));
    let head = read_all(&log.reader()).unwrap();
    assert_eq!(log.head(), head, "{fault:?}");
    assert!(
        head == life.acknowledged || head == life.attempted,
        "{fault:?}: {} acknowledged, {} attempted, {head} found",
        life.acknowledged,
        life.attempted
    );
    let head = log.append(head, &records(head + 1, 3)).unwrap();
    log.close().unwrap();
    let log = EventLog::open(&folder, disk.options(SEGMENT_RECORDS)).unwrap();
    assert_eq!(read_all(&log.reader()), Ok(head), "{fault:?}");
    struck
}

fn every_failure_of(call: Call, failure: Failure) {
    for sticky in [false, true] {
        let mut tried = 0;
        for at in 1.. {
            if !survives(Fault {
                call,
                at,
                sticky,
                failure,
            }) {
                break;
            }
            tried += 1;
        }
        let how = if sticky { "from k on" } else { "once" };
        println!("{call:?}, {failure:?} {how}: {tried} of {tried} refused cleanly and reopened");
        assert!(tried > 0, "no {call:?} was ever made to fail");
    }
}

#[test]
fn a_failing_write_loses_nothing() {
    every_failure_of(Call::Write, Failure::Error);
}

#[test]
fn a_full_disk_and_half_a_write_lose_nothing() {
    every_failure_of(Call::Write, Failure::NoSpace);
    every_failure_of(Call::SetLen, Failure::NoSpace);
}

#[test]
fn a_failing_change_of_length_loses_nothing() {
    every_failure_of(Call::SetLen, Failure::Error);
}

#[test]
fn a_failing_sync_loses_nothing() {
    every_failure_of(Call::Sync, Failure::Error);
}

#[test]
fn a_failing_sync_that_drops_its_writes_loses_nothing() {
    every_failure_of(Call::Sync, Failure::LoseWrites);
}

#[test]
fn a_failing_read_loses_nothing() {
    every_failure_of(Call::Read, Failure::Error);
}
