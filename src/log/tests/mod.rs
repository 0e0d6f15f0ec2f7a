//! Appending and reading, one sentence each.

mod private;
mod refusals;

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

fn options(segment_records: u64) -> LogOptions {
    LogOptions {
        segment_records: NonZeroU64::new(segment_records).unwrap(),
        active_cache_bytes: 1024 * 1024,
        sealed_cache_bytes: 1024 * 1024,
        ..LogOptions::default()
    }
}

/// Returns the record that these tests keep at a position.
fn record(position: u64) -> Vec<u8> {
    let length = 20 + usize::try_from(position * 37 % 400).unwrap();
    let mut bytes = position.to_le_bytes().to_vec();
    bytes.resize(length, position.to_le_bytes()[0]);
    bytes
}

fn records(positions: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    positions.map(record).collect()
}

/// Makes a log of `head` records in batches of 7.
fn log_with(folder: &Path, segment_records: u64, head: u64) -> EventLog {
    let mut log = EventLog::create(folder, options(segment_records), &records(1..=1)).unwrap();
    while log.head() < head {
        let batch = records(log.head() + 1..=head.min(log.head() + 7));
        log.append(log.head(), &batch).unwrap();
    }
    log
}

fn read_all(reader: &LogReader, records_max: usize) -> Result<Vec<(u64, Vec<u8>)>, ReadLogError> {
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        let page = reader.read(all.len() as u64 + 1, records_max, PAGE_BYTES_MAX)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.iter().map(|(at, bytes)| (at, bytes.to_vec())));
    }
}

fn assert_holds(log: &EventLog, head: u64) {
    assert_eq!(log.head(), head);
    let expected: Vec<_> = (1..=head)
        .map(|position| (position, record(position)))
        .collect();
    assert_eq!(read_all(&log.reader(), 5).unwrap(), expected);
}

fn place() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    (parent, folder)
}

fn segment(folder: &Path, number: u32) -> PathBuf {
    folder::segment_path(folder, number)
}

#[test]
fn records_come_back_at_their_positions_over_several_segments() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 100);
    assert_holds(&log, 100);
    assert!(segment(&folder, 5).exists());
    assert!(!segment(&folder, 6).exists());
}

#[test]
fn scattered_records_are_handed_over_in_order_from_every_segment() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 100);
    for step in [1, 7, 33] {
        let positions: Vec<u64> = (1..=100).step_by(step).collect();
        let mut found = Vec::new();
        let taken = log.reader().read_each(&positions, |at, bytes| {
            assert_eq!(bytes, record(at));
            found.push(at);
        });
        assert!(taken.is_ok() && found == positions, "{step}: {found:?}");
    }
    for position in 1..=100 {
        let mut found = None;
        let taken = log
            .reader()
            .read_each(&[position], |at, bytes| found = Some((at, bytes.to_vec())));
        assert!(taken.is_ok() && found == Some((position, record(position))));
    }
    let beyond = log.reader().read_each(&[99, 101], |_, _| {});
    assert!(matches!(beyond, Err(ReadLogError::Segment { .. })));
}

#[test]
fn a_closed_log_opens_with_everything_in_it_and_goes_on() {
    let (_parent, folder) = place();
    log_with(&folder, 20, 100).close().unwrap();
    let mut log = EventLog::open(&folder, options(20)).unwrap();
    assert_holds(&log, 100);
    assert_eq!(log.append(100, &records(101..=103)).unwrap(), 103);
    assert_holds(&log, 103);
}

#[test]
fn a_batch_never_spans_segments() {
    let (_parent, folder) = place();
    let mut log = EventLog::create(&folder, options(10), &records(1..=9)).unwrap();
    log.append(9, &records(10..=50)).unwrap();
    log.append(50, &records(51..=51)).unwrap();
    log.close().unwrap();
    assert!(!segment(&folder, 3).exists());
    let first = Storage::default()
        .open_read_only(&segment(&folder, 1), 0)
        .unwrap();
    assert_eq!(segment::extent(&first).unwrap(), 1..=50);
}

#[test]
fn an_append_on_another_head_is_a_conflict_and_writes_nothing() {
    let (_parent, folder) = place();
    let mut log = log_with(&folder, 20, 10);
    for expected in [0, 9, 11] {
        let refused = log.append(expected, &records(11..=12));
        assert!(matches!(refused, Err(AppendError::Conflict { head: 10 })));
    }
    assert_holds(&log, 10);
}

#[test]
fn a_batch_or_record_over_its_bound_is_refused_and_the_log_goes_on() {
    let (_parent, folder) = place();
    let mut log = log_with(&folder, 2_000, 3);
    let wide = vec![vec![0; RECORD_BYTES_MAX + 1]];
    let refused = log.append(3, &wide);
    assert!(
        matches!(refused, Err(AppendError::RecordTooLarge { bytes }) if bytes == RECORD_BYTES_MAX + 1)
    );
    let many = vec![vec![0]; BATCH_RECORDS_MAX + 1];
    let refused = log.append(3, &many);
    assert!(matches!(
        refused,
        Err(AppendError::BatchTooLarge { records: 1_025, .. })
    ));
    let heavy = vec![vec![0; RECORD_BYTES_MAX]; 70];
    let refused = log.append(3, &heavy);
    assert!(matches!(
        refused,
        Err(AppendError::BatchTooLarge { records: 70, .. })
    ));
    assert_eq!(log.append(3, &[]).unwrap(), 3);
    log.append(3, &[vec![7; RECORD_BYTES_MAX]]).unwrap();
    assert_eq!(
        log.reader().get(4).unwrap().unwrap().len(),
        RECORD_BYTES_MAX
    );
}

#[test]
fn a_batch_of_exactly_its_bounds_is_taken() {
    let (_parent, folder) = place();
    let mut log = log_with(&folder, 2_000, 3);
    let many = vec![vec![0]; BATCH_RECORDS_MAX];
    assert_eq!(log.append(3, &many).unwrap(), 1_027);
    let mut heavy = vec![vec![0; RECORD_BYTES_MAX]; BATCH_BYTES_MAX / RECORD_BYTES_MAX];
    heavy.push(vec![0; BATCH_BYTES_MAX % RECORD_BYTES_MAX + 1]);
    let refused = log.append(1_027, &heavy);
    assert!(matches!(refused, Err(AppendError::BatchTooLarge { .. })));
    heavy.last_mut().unwrap().pop();
    let head = 1_027 + heavy.len() as u64;
    assert_eq!(log.append(1_027, &heavy).unwrap(), head);
}

#[test]
fn a_dropped_log_refuses_its_readers_and_can_be_opened_again_at_once() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 50);
    let reader = log.reader();
    drop(log);
    assert!(matches!(reader.get(50), Err(ReadLogError::Closed)));
    assert_holds(&EventLog::open(&folder, options(20)).unwrap(), 50);
}

#[test]
fn a_page_keeps_to_its_bounds_but_always_moves_on() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 60);
    let reader = log.reader();
    assert_eq!(reader.read(1, 25, PAGE_BYTES_MAX).unwrap().len(), 25);
    assert_eq!(reader.read(55, 25, PAGE_BYTES_MAX).unwrap().len(), 6);
    assert_eq!(reader.read(0, 1, PAGE_BYTES_MAX).unwrap().next(), 2);
    assert!(reader.read(61, 25, PAGE_BYTES_MAX).unwrap().is_empty());
    assert!(
        reader
            .read(u64::MAX, 25, PAGE_BYTES_MAX)
            .unwrap()
            .is_empty()
    );
    let page = reader.read(30, 0, 0).unwrap();
    assert!(page.iter().eq([(30, record(30).as_slice())]));
    let bytes_max = record(30).len() + record(31).len();
    assert_eq!(reader.read(30, 25, bytes_max).unwrap().len(), 2);
    assert_eq!(reader.get(60).unwrap(), Some(record(60)));
    assert_eq!(reader.get(61).unwrap(), None);
    assert_eq!(reader.get(0).unwrap(), None);
}

#[test]
fn readers_go_on_while_segments_are_sealed_under_them() {
    let (_parent, folder) = place();
    let mut log = log_with(&folder, 16, 1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = log.reader();
            scope.spawn(move || {
                while reader.head() < 400 {
                    let seen = reader.head();
                    let all = read_all(&reader, 50).unwrap();
                    assert!(all.len() as u64 >= seen);
                    assert!(
                        all.iter()
                            .all(|(position, bytes)| *bytes == record(*position))
                    );
                }
            });
        }
        while log.head() < 400 {
            let batch = records(log.head() + 1..=log.head() + 3);
            log.append(log.head(), &batch).unwrap();
        }
    });
}

#[test]
fn a_closed_log_refuses_its_readers() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 50);
    let reader = log.reader();
    log.close().unwrap();
    assert!(matches!(reader.read(1, 9, 999), Err(ReadLogError::Closed)));
    assert!(matches!(reader.get(50), Err(ReadLogError::Closed)));
}

#[test]
fn an_idle_log_needs_no_repair_after_a_crash() {
    let (parent, folder) = place();
    let mut log = log_with(&folder, 100, 30);
    let copy = parent.path().join("copy.redb");
    let repair_due = |log: &EventLog| {
        assert_eq!(log.head(), 30);
        fs::copy(segment(&folder, 1), &copy).unwrap();
        let repaired = std::rc::Rc::new(std::cell::Cell::new(false));
        let seen = std::rc::Rc::clone(&repaired);
        let mut builder = redb::Builder::new();
        builder.set_repair_callback(move |_| seen.set(true));
        builder.open(&copy).unwrap().close().unwrap();
        repaired.get()
    };
    assert!(repair_due(&log));
    log.idle().unwrap();
    assert!(!repair_due(&log));
    let length = fs::read(segment(&folder, 1)).unwrap();
    log.idle().unwrap();
    assert_eq!(fs::read(segment(&folder, 1)).unwrap(), length);
}

#[test]
fn more_segments_than_are_kept_open_are_read_in_any_order() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 7, 100);
    let reader = log.reader();
    for position in (1..=100).rev().chain([1, 99, 2, 50, 3]) {
        assert_eq!(reader.get(position).unwrap(), Some(record(position)));
    }
    assert!(open_files(&folder) <= 6);
    log.close().unwrap();
    assert_eq!(open_files(&folder), 0, "though a reader is left");
    assert!(reader.get(1).is_err());
}

/// How many files of a folder this process has open, and the folder itself.
fn open_files(folder: &Path) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", std::process::id())).unwrap();
    let paths = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(folder)).count()
}
