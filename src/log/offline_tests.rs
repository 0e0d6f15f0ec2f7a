//! Verification of real folders, and of folders that an attacker or a broken disk changed.

use std::num::NonZeroU64;

use tempfile::TempDir;

use super::super::verify::tests::{checkpoint, records, signer};
use super::super::{EventLog, LogOptions};
use super::*;

const SEGMENT_RECORDS: u64 = 8;

struct Place {
    _parent: TempDir,
    log: PathBuf,
    scratch: PathBuf,
}

impl Place {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let (log, scratch) = (parent.path().join("log"), parent.path().join("scratch"));
        fs::create_dir(&scratch).unwrap();
        Place {
            _parent: parent,
            log,
            scratch,
        }
    }

    /// Makes a folder with the records in segments of eight, still open.
    fn open(records: &[Vec<u8>]) -> (Self, EventLog) {
        let place = Self::new();
        let options = LogOptions {
            segment_records: NonZeroU64::new(SEGMENT_RECORDS).unwrap(),
            ..LogOptions::default()
        };
        let mut log = EventLog::create(&place.log, options, &records[..1]).unwrap();
        for record in &records[1..] {
            log.append(log.head(), std::slice::from_ref(record))
                .unwrap();
        }
        (place, log)
    }

    fn closed(records: &[Vec<u8>]) -> Self {
        let (place, log) = Self::open(records);
        log.close().unwrap();
        place
    }

    fn verify(&self, checkpoints: &[Checkpoint]) -> Result<Verified, VerifyError> {
        verify_folder(&self.log, &self.scratch, checkpoints, |_, _| {}, |_, _| {})
    }

    fn segment(&self, number: u32) -> PathBuf {
        folder::segment_path(&self.log, number)
    }
}

#[test]
fn an_honest_log_is_verified_and_counted() {
    let records = records();
    let place = Place::closed(&records);
    assert!(place.segment(3).exists());
    let known = [
        checkpoint(&records[..5]),
        checkpoint(&records),
        checkpoint(&records[..1]),
    ];
    let mut steps = Vec::new();
    let found = verify_folder(
        &place.log,
        &place.scratch,
        &known,
        |done, head| {
            steps.push((done, head));
        },
        |_, _| {},
    );
    let head = records.len() as u64;
    let expected = Verified {
        records: head,
        root: known[1].root,
        bytes: records.iter().map(|record| record.len() as u64).sum(),
        origins: vec![signer().public().name().to_owned()],
        checkpoints: 3,
        unsigned: 0,
    };
    assert_eq!(found.unwrap(), expected);
    assert_eq!(steps, [(8, head), (16, head), (head, head)]);
}

#[test]
fn records_that_no_checkpoint_covers_are_reported() {
    let records = records();
    let place = Place::closed(&records);
    let found = place.verify(&[checkpoint(&records[..15])]).unwrap();
    assert_eq!(found.unsigned, records.len() as u64 - 15);
    assert_eq!(place.verify(&[]).unwrap().unsigned, records.len() as u64);
}

#[test]
fn every_changed_byte_of_every_record_is_found_in_its_file() {
    let records = records();
    let place = Place::closed(&records);
    let known = [checkpoint(&records)];
    for (position, record) in (1_u64..).zip(&records) {
        let number = u32::try_from((position - 1) / SEGMENT_RECORDS).unwrap() + 1;
        let path = place.segment(number);
        let good = fs::read(&path).unwrap();
        // redb writes a changed page to a new place, so a file holds older copies of a record too.
        let copies: Vec<_> = good
            .windows(record.len())
            .enumerate()
            .filter(|(_, window)| window == record)
            .map(|(at, _)| at)
            .collect();
        assert!(!copies.is_empty());
        for byte in 0..record.len() {
            let mut bad = good.clone();
            copies
                .iter()
                .for_each(|at| bad[at + byte] ^= 1 << (byte % 8));
            fs::write(&path, &bad).unwrap();
            let found = place.verify(&known);
            assert!(
                matches!(found, Err(VerifyError::Bad(_))),
                "position {position}, byte {byte}: {found:?}"
            );
        }
        fs::write(&path, &good).unwrap();
    }
    place.verify(&known).unwrap();
}

#[test]
fn a_changed_byte_anywhere_in_a_file_is_found_or_changes_no_record() {
    let records = records();
    let place = Place::closed(&records);
    let known = [checkpoint(&records)];
    let honest = place.verify(&known).unwrap();
    for number in [1, 3] {
        let path = place.segment(number);
        let good = fs::read(&path).unwrap();
        let written: Vec<_> = (0..good.len()).filter(|&at| good[at] != 0).collect();
        for at in written.into_iter().step_by(23) {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            fs::write(&path, &bad).unwrap();
            if let Ok(found) = place.verify(&known) {
                assert_eq!(found, honest, "byte {at}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

/// Regardless of checkpoints: records that no checkpoint covers yet must not be left out either.
#[test]
fn a_segment_that_is_gone_or_unreadable_behind_the_last_checkpoint_is_found() {
    let records = records();
    let known = [checkpoint(&records[..8])];
    let place = Place::closed(&records);
    assert_eq!(place.verify(&known).unwrap().unsigned, 13);
    let good = fs::read(place.segment(2)).unwrap();
    fs::remove_file(place.segment(2)).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Unreadable(OpenLogError::MissingSegment { number: 2, .. })
    ));
    fs::write(place.segment(2), &good).unwrap();
    // A change to the pages that lead to the last segment's last records must not hide any of them.
    let path = place.segment(3);
    let good = fs::read(&path).unwrap();
    let at = |record: &Vec<u8>| good.windows(record.len()).rposition(|w| w == *record);
    let first = at(&records[16]).unwrap();
    let mut reported = 0;
    for at in first / 4_096 * 4_096..first {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        fs::write(&path, &bad).unwrap();
        match place.verify(&known) {
            Ok(found) => assert_eq!(found.records, 21, "byte {at}"),
            Err(VerifyError::Bad(BadLog { position, .. })) => reported += u32::from(position > 17),
            Err(_) => {}
        }
    }
    assert!(
        reported > 0,
        "a segment of which only some records are read is reported"
    );
}

#[test]
fn a_missing_or_exchanged_segment_is_found() {
    let records = records();
    let known = [checkpoint(&records)];
    let place = Place::closed(&records);
    let (first, second) = (
        fs::read(place.segment(1)).unwrap(),
        fs::read(place.segment(2)).unwrap(),
    );
    fs::write(place.segment(1), &second).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Bad(BadLog {
            position: 1,
            fault: Fault::Gap
        })
    ));
    fs::write(place.segment(1), &first).unwrap();
    fs::write(place.segment(2), &first).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Bad(BadLog {
            position: 9,
            fault: Fault::Gap
        })
    ));
    fs::remove_file(place.segment(3)).unwrap();
    fs::write(place.segment(2), &second).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Bad(BadLog {
            position: 17,
            fault: Fault::CutOff { .. }
        })
    ));
    fs::remove_file(place.segment(1)).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Unreadable(OpenLogError::MissingSegment { number: 1, .. })
    ));
    fs::write(place.segment(1), b"not a segment at all").unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Bad(BadLog {
            position: 1,
            fault: Fault::Segment { .. }
        })
    ));
    fs::remove_dir_all(&place.log).unwrap();
    let found = place.verify(&known).unwrap_err();
    assert!(matches!(
        found,
        VerifyError::Unreadable(OpenLogError::Missing(_))
    ));
}

#[test]
fn a_copy_of_a_log_that_crashed_is_verified_and_not_touched() {
    let records = records();
    let (running, log) = Place::open(&records);
    let copy = Place::new();
    fs::create_dir(&copy.log).unwrap();
    for number in 1..=3 {
        fs::copy(running.segment(number), copy.segment(number)).unwrap();
        let mut mode = fs::metadata(copy.segment(number)).unwrap().permissions();
        mode.set_readonly(true);
        fs::set_permissions(copy.segment(number), mode).unwrap();
    }
    let before = fs::read(copy.segment(3)).unwrap();
    let found = copy.verify(&[checkpoint(&records)]).unwrap();
    assert_eq!(found.unsigned, 0);
    assert_eq!(fs::read(copy.segment(3)).unwrap(), before);
    assert!(
        folder::segment_path(&copy.scratch, 3).exists(),
        "it was unclean"
    );

    let refused = running.verify(&[]).unwrap_err();
    assert!(matches!(
        refused,
        VerifyError::Unreadable(OpenLogError::AlreadyOpen(_))
    ));
    log.close().unwrap();
}

#[test]
fn a_folder_that_cannot_be_looked_at_is_not_taken_for_absent() {
    let place = Place::new();
    fs::write(&place.log, b"no folder").unwrap();
    let below = count_segments(&place.log.join("below"));
    assert!(matches!(below, Err(OpenLogError::Io { .. })), "{below:?}");
    let absent = count_segments(&place.scratch.join("log"));
    assert!(matches!(absent, Err(OpenLogError::Missing(_))));
}

#[test]
fn only_what_is_named_like_a_segment_is_counted_as_one() {
    let place = Place::new();
    fs::create_dir(&place.log).unwrap();
    for name in ["00000001.redb", "notes.redb", "13-characters"] {
        fs::write(place.log.join(name), b"").unwrap();
    }
    assert_eq!(count_segments(&place.log).unwrap(), 1);
    fs::write(place.log.join("00000003.redb"), b"").unwrap();
    let missing = count_segments(&place.log);
    assert!(matches!(
        missing,
        Err(OpenLogError::MissingSegment { number: 2, .. })
    ));
}
