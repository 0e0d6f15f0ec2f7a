//! What proves a record that no checkpoint beside the keyring covers: its seal, for the record
//! before it, or the copy of a checkpoint that was signed for this log.

use std::fs;

use countersign_schemas::record::Record;

use crate::crypto::keyring::Keyring;
use crate::engine::StartError;
use crate::engine::keys::checkpoints::signer;
use crate::engine::start::error::NewEpochError;
use crate::engine::tests::appended_tests::{Signed, forged, open, refusal};
use crate::engine::tests::changed_tests::{RECORDS, edit};
use crate::engine::tests::epoch_tests::{archive, begin};
use crate::engine::tests::fixture::{Fixture, verify};
use crate::log::checkpoints::{Archive, COPY, CheckpointRefusal};
use crate::log::index::Finding;
use crate::log::tree::{Frontier, leaf_hash};

/// Reads every record of a stopped log, the first one first.
pub(super) fn records(fixture: &Fixture) -> Vec<Vec<u8>> {
    let log = open(fixture);
    let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
    page.iter().map(|(_, bytes)| bytes.to_vec()).collect()
}

/// Replaces the records of the log from a position to its end, and deletes its index.
pub(super) fn exchange(fixture: &Fixture, from: u64, records: &[Vec<u8>]) {
    edit(fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        table.retain_in(from.., |_, _| false).unwrap();
        for (position, record) in (from..).zip(records) {
            table.insert(position, record.as_slice()).unwrap();
        }
    });
    forget(fixture, &["index.redb", "snapshots.redb", "views.redb"]);
}

pub(super) fn forget(fixture: &Fixture, files: &[&str]) {
    for file in files {
        let _ = fs::remove_file(fixture.data().join(file));
    }
}

/// The record as an older build wrote it.
fn unsealed(bytes: &[u8]) -> Vec<u8> {
    let mut record = Record::decode(bytes).unwrap().into_owned();
    record.seal = None;
    record.encode().unwrap()
}

fn lose_checkpoints(fixture: &Fixture) {
    for file in ["checkpoint", "checkpoint-history"] {
        fs::remove_file(fixture.keyring().with_file_name(file)).unwrap();
    }
}

/// Returns the record for which a new epoch is refused; `None` if the epoch begins.
fn refused_by_new_epoch(fixture: &Fixture) -> Option<u64> {
    let head = records(fixture).len() as u64;
    match begin(fixture, head + 1) {
        Ok(_) => None,
        Err(NewEpochError::Start(StartError::Changed(Finding::Appended { position }))) => {
            Some(position)
        }
        Err(other) => panic!("{other}"),
    }
}

fn enrolled() -> (Fixture, Vec<String>) {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    (fixture, codes)
}

#[test]
fn every_record_of_the_service_is_sealed_the_first_one_too() {
    let (fixture, _) = enrolled();
    for (at, bytes) in records(&fixture).iter().enumerate() {
        assert!(Record::decode(bytes).unwrap().seal.is_some(), "{at}");
    }
}

/// the service wrote both at that position, one of them in a history that a new epoch gave
/// up.
#[test]
fn records_of_two_histories_of_one_epoch_do_not_mix() {
    let (fixture, codes) = enrolled();
    let (signed, begun) = (Signed::of(&fixture), records(&fixture));
    let next = begun.len() as u64 + 1;
    let mut histories = Vec::new();
    for codes in [&codes[..2], &codes[2..4]] {
        exchange(&fixture, next, &[]);
        signed.restore();
        let engine = fixture.start();
        for code in codes {
            fixture.send(&engine, "verify-login", verify(code)).unwrap();
        }
        drop(engine);
        signed.restore();
        histories.push(records(&fixture));
    }
    let [one, other] = [&histories[0], &histories[1]];
    let (at, end) = (next as usize - 1, next as usize + 1);
    for (mixed, refused) in [
        (vec![one[at].clone(), one[at + 1].clone()], None),
        (vec![one[at].clone(), other[at + 1].clone()], Some(next + 1)),
        (vec![other[at].clone(), one[at + 1].clone()], Some(next + 1)),
    ] {
        assert!(end <= one.len() && end <= other.len());
        exchange(&fixture, next, &mixed);
        signed.restore();
        assert_eq!(refusal(&fixture), refused);
    }
}

/// Without any checkpoint a new epoch signs every sealed record, and nothing else.
#[test]
fn a_new_epoch_without_checkpoints_signs_for_sealed_records_only() {
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(Change, Option<u64>); 6] = [
        (|_| {}, None),
        // The last command, with both of its records.
        (|records| records.truncate(records.len() - 2), None),
        (|records| records[4] = unsealed(&records[4]), Some(5)),
        (|records| *records[4].last_mut().unwrap() ^= 1, Some(5)),
        (
            |records| {
                for record in records.iter_mut() {
                    *record = unsealed(record);
                }
            },
            Some(1),
        ),
        (
            |records| {
                for record in records[..4].iter_mut() {
                    *record = unsealed(record);
                }
            },
            Some(1),
        ),
    ];
    for (choice, (change, refused)) in changes.into_iter().enumerate() {
        let (fixture, _) = enrolled();
        let mut records = records(&fixture);
        change(&mut records);
        exchange(&fixture, 1, &records);
        lose_checkpoints(&fixture);
        for has_copy in [true, false] {
            if !has_copy {
                forget(&fixture, &[COPY]);
            }
            if has_copy || refused.is_some() {
                assert_eq!(
                    refused_by_new_epoch(&fixture),
                    refused,
                    "{choice} {has_copy}"
                );
            }
        }
    }
}

#[test]
fn a_new_epoch_without_checkpoints_refuses_appended_records() {
    let (fixture, _) = enrolled();
    let mut log = open(&fixture);
    let head = log.head();
    let mut record = forged(&log);
    record.seal = None;
    log.append(head, &[record.encode().unwrap()]).unwrap();
    log.close().unwrap();
    lose_checkpoints(&fixture);
    assert_eq!(refused_by_new_epoch(&fixture), Some(head + 1));
    exchange(&fixture, head + 1, &[]);
    assert_eq!(refused_by_new_epoch(&fixture), None);
    fixture.start();
}

/// Also between the last checkpoint that the log still matches and the log's early end.
#[test]
fn a_new_epoch_refuses_records_put_in_the_place_of_the_lost_end() {
    let (fixture, codes) = enrolled();
    let engine = fixture.start();
    for code in &codes[..3] {
        fixture.send(&engine, "verify-login", verify(code)).unwrap();
    }
    drop(engine);
    let agreed = archive(&fixture).checkpoints().nth(1).unwrap().size;
    exchange(&fixture, agreed + 1, &[]);
    let mut log = open(&fixture);
    let mut record = forged(&log);
    record.seal = None;
    log.append(agreed, &[record.encode().unwrap()]).unwrap();
    log.close().unwrap();
    assert!(matches!(
        fixture.try_start().err(),
        Some(StartError::Checkpoint(_))
    ));
    assert_eq!(refused_by_new_epoch(&fixture), Some(agreed + 1));
}

/// Makes a stopped log that an older build wrote, without seals, and signed at 1, `AGREED` and its
/// end. Returns the files beside the keyring at `AGREED`, and a backup code.
fn of_an_older_build() -> (Fixture, Signed, String) {
    let (fixture, codes) = enrolled();
    let old: Vec<_> = records(&fixture).iter().map(|r| unsealed(r)).collect();
    exchange(&fixture, 1, &old);
    lose_checkpoints(&fixture);
    let keyring = Keyring::load(&fixture.keyring()).unwrap();
    let mut archive = Archive::open(&fixture.keyring(), signer(&keyring)).unwrap();
    let mut older = None;
    let mut frontier = Frontier::default();
    let mut roots = vec![frontier.root()];
    for record in &old {
        frontier.append(leaf_hash(record));
        roots.push(frontier.root());
    }
    for size in [1, AGREED, old.len() as u64] {
        let root_at = |size: u64| Ok(roots[size as usize]);
        archive.sign(size, &roots[size as usize], root_at).unwrap();
        if size == AGREED {
            older = Some(Signed::of(&fixture));
        }
    }
    (fixture, older.unwrap(), codes[0].clone())
}

/// The records that the checkpoints from before an upgrade cover.
const AGREED: u64 = 3;

/// Makes a log that an older build began and this build continued. The files beside the keyring are
/// older: they cover the first `AGREED` records.
fn upgraded() -> Fixture {
    let (fixture, older, code) = of_an_older_build();
    let engine = fixture.start();
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap();
    drop(engine);
    older.restore();
    fixture
}

/// the copy in the data folder was signed for this log, so it proves the unsealed records.
#[test]
fn a_keyring_folder_from_before_an_upgrade_starts_with_the_copy_of_the_newest_checkpoint() {
    let fixture = upgraded();
    assert_eq!(archive(&fixture).newest().unwrap().size, AGREED);
    let head = records(&fixture).len() as u64;
    drop(fixture.start());
    assert_eq!(archive(&fixture).newest().unwrap().size, head);
    let fixture = upgraded();
    lose_checkpoints(&fixture);
    assert_eq!(refused_by_new_epoch(&fixture), None);
    fixture.start();
}

#[test]
fn a_copy_that_is_of_another_log_or_of_another_keyring_or_missing_proves_nothing() {
    let other = Fixture::new();
    drop(other.start());
    for choice in 0..4 {
        let fixture = upgraded();
        let copy = fixture.data().join(COPY);
        let signed = Signed::of(&fixture);
        match choice {
            0 => fs::remove_file(&copy).unwrap(),
            1 => drop(fs::copy(other.data().join(COPY), &copy).unwrap()),
            2 => {
                // The copy is right, and a record that it covers was changed.
                let mut records = records(&fixture);
                *records[4].last_mut().unwrap() ^= 1;
                exchange(&fixture, 1, &records);
            }
            _ => fs::write(&copy, "{}").unwrap(),
        }
        assert_eq!(refusal(&fixture), Some(AGREED + 1), "{choice}");
        assert_eq!(archive(&fixture).newest().unwrap().size, AGREED, "{choice}");
        let begun = begin(&fixture, AGREED + 1);
        assert!(begun.is_err(), "{choice}");
        signed.restore();
        lose_checkpoints(&fixture);
        assert_eq!(refused_by_new_epoch(&fixture), Some(1), "{choice}");
    }
}

/// Page size of a segment, in bytes.
pub(super) const PAGE: usize = 4_096;

/// Changes numbers in the pages of a segment without redb.
pub(super) fn patch(fixture: &Fixture, mut change: impl FnMut(&mut [u8])) {
    let file = fixture.data().join("log/00000001.redb");
    let mut bytes = fs::read(&file).unwrap();
    bytes.chunks_mut(PAGE).for_each(&mut change);
    fs::write(&file, bytes).unwrap();
}

/// Replaces a number at each of these offsets that contains it.
pub(super) fn renumber(
    page: &mut [u8],
    offsets: impl Iterator<Item = usize>,
    from: u64,
    to: u64,
) -> usize {
    let mut replaced = 0;
    for at in offsets {
        if page.get(at..at + 8) == Some(&from.to_le_bytes()) {
            page[at..at + 8].copy_from_slice(&to.to_le_bytes());
            replaced += 1;
        }
    }
    replaced
}

/// Makes a segment that shows `forged` at the last position to a reader that comes from the
/// position before, and the real record to one that searches for the position: two leaves of the
/// tree hold it, and the key between them leads into the second.
fn show_two(fixture: &Fixture, forged: &[u8]) {
    const LEAF: u8 = 1;
    const BRANCH: u8 = 2;
    let records = records(fixture);
    let (head, honest) = (records.len() as u64, records.last().unwrap());
    edit(fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        table.insert(head, forged).unwrap();
        table.insert(head + 1, honest.as_slice()).unwrap();
    });
    let (mut leaves, mut branches, mut lengths) = (0, 0, 0);
    let is_in = |page: &[u8], text: &[u8]| page.windows(text.len()).position(|part| part == text);
    patch(fixture, |page| {
        let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
        if page[0] == LEAF && count == 1 && is_in(page, honest).is_some() {
            leaves += renumber(page, std::iter::once(8), head + 1, head);
        }
        if page[0] == BRANCH {
            let keys = 8 + (16 + 8) * (count + 1);
            let keys = (0..count).map(|key| keys + 8 * key);
            branches += renumber(page, keys, head, head - 1);
        }
        if let Some(at) = is_in(page, b"records_v1") {
            lengths += renumber(page, at..at + 64, head + 1, head);
        }
    });
    assert!(leaves > 0 && branches > 0 && lengths > 0, "another layout");
    forget(fixture, &["index.redb", "snapshots.redb", "views.redb"]);
}

/// the record that was checked is not the one that is used.
#[test]
fn a_segment_that_shows_two_records_at_one_position_is_refused() {
    let (fixture, codes) = enrolled();
    let signed = Signed::of(&fixture);
    let engine = fixture.start();
    fixture
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    drop(engine);
    signed.restore();
    let log = open(&fixture);
    let mut record = forged(&log);
    drop(log);
    let head = records(&fixture).len() as u64;
    assert_eq!(archive(&fixture).newest().unwrap().size, head - 1);
    // In place of the login, and too long to share a page with another record.
    record.version -= 1;
    record.meta.caller = "x".repeat(3 * PAGE).into();
    record.seal = None;
    let forged = record.encode().unwrap();
    show_two(&fixture, &forged);
    let log = open(&fixture);
    let reader = log.reader();
    let looked_up = reader.get(head).unwrap().unwrap();
    assert!(Record::decode(&looked_up).unwrap().seal.is_some());
    let page = reader.read(1, usize::MAX, usize::MAX).unwrap();
    assert_eq!(page.iter().last().unwrap(), (head, &forged[..]));
    drop((log, reader));
    assert_eq!(refusal(&fixture), Some(head));
}

/// The newest epoch has signed none of it; the one before, whose lines are in the history, has.
#[test]
fn a_checkpoint_of_an_ended_epoch_proves_records_without_seals() {
    for is_changed in [false, true] {
        let (fixture, ..) = of_an_older_build();
        let next = AGREED + 1;
        exchange(&fixture, next, &[]);
        let kept = records(&fixture);
        begin(&fixture, next).unwrap();
        drop(fixture.start());
        let mut back = kept.clone();
        if is_changed {
            *back[1].last_mut().unwrap() ^= 1;
        }
        exchange(&fixture, 1, &back);
        match begin(&fixture, next) {
            Ok(epoch) => assert!(!is_changed && epoch.begun.epoch == 3),
            Err(refused) => assert!(is_changed, "{refused}"),
        }
    }
}

/// A log that was cut to its first record does not count as new because its checkpoints are lost.
#[test]
fn a_log_of_one_record_without_checkpoints_is_refused() {
    let (fixture, _) = enrolled();
    exchange(&fixture, 2, &[]);
    lose_checkpoints(&fixture);
    assert!(matches!(
        fixture.try_start().err(),
        Some(StartError::Checkpoint(CheckpointRefusal::Missing {
            head: 1,
            ..
        }))
    ));
    assert_eq!(refused_by_new_epoch(&fixture), None);
}
