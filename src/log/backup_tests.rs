//! Copies of a log that is being written.

use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use super::super::{EventLog, LogOptions, Storage};
use super::*;

fn options() -> LogOptions {
    LogOptions {
        segment_records: NonZeroU64::new(10).unwrap(),
        ..LogOptions::default()
    }
}

fn record(position: u64) -> Vec<u8> {
    format!("record {position}").into_bytes()
}

fn append(log: &mut EventLog, count: u64) {
    for _ in 0..count {
        let head = log.head();
        log.append(head, &[record(head + 1)]).unwrap();
    }
}

fn assert_holds(folder: &Path, head: u64) {
    let log = EventLog::open(folder, options()).unwrap();
    let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
    let expected: Vec<_> = (1..=head)
        .map(|position| (position, record(position)))
        .collect();
    let found: Vec<_> = page
        .iter()
        .map(|(at, bytes)| (at, bytes.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

fn back_up(log: &EventLog, target: &Path, proven: u64) -> Backup {
    let staged = log
        .reader()
        .stage_copy(target, proven, log.head(), 0)
        .unwrap();
    staged.publish().unwrap()
}

/// A log that its storage appends to whenever a copy is begun, like a service under load.
fn written_while_copied(folder: &Path, target: &Path) -> Arc<Mutex<Option<EventLog>>> {
    let log: Arc<Mutex<Option<EventLog>>> = Arc::default();
    let (writing, target) = (Arc::clone(&log), target.to_owned());
    let plain = Storage::default().create;
    let storage = Storage {
        create: Arc::new(move |builder, path| {
            if path.starts_with(&target) {
                append(writing.lock().unwrap().as_mut().unwrap(), 25);
            }
            plain(builder, path)
        }),
        ..Storage::default()
    };
    let options = LogOptions {
        storage,
        ..options()
    };
    let made = EventLog::create(&folder.join("log"), options, &[record(1)]).unwrap();
    *log.lock().unwrap() = Some(made);
    log
}

/// Two segments are sealed, and a third begun, between the list of segments and the copy.
#[test]
fn a_backup_holds_what_it_says_although_the_log_is_written_while_it_copies() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    let log = written_while_copied(folder.path(), &target);
    for proven in [0, 1, 26] {
        let (reader, head) = {
            let log = log.lock().unwrap();
            let log = log.as_ref().unwrap();
            (log.reader(), log.head())
        };
        let staged = reader.stage_copy(&target, proven, head, 0).unwrap();
        assert!(
            reader.head() >= head + 25,
            "it was written while it was copied"
        );
        assert_eq!(staged.publish().unwrap().position, head);
        assert_holds(&target, head);
    }
}

#[test]
fn a_backup_is_of_the_log_as_it_was_when_it_began_and_the_next_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
    let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
    let mut proven = 0;
    for (more, head) in [(4, 5), (8, 13), (30, 43), (0, 43)] {
        append(&mut log, more);
        let backup = back_up(&log, &target, proven);
        assert_eq!(backup.position, head);
        assert_holds(&target, head);
        proven = head;
    }
    append(&mut log, 7);
    assert_eq!(
        log.reader().segments().unwrap().last().unwrap().positions,
        41..=50
    );
}

#[test]
fn a_copy_ends_where_it_is_asked_to_also_within_a_sealed_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
    let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
    append(&mut log, 34);
    for through in [10, 7, 23, 20] {
        let target = target.join(through.to_string());
        let staged = log.reader().stage_copy(&target, 0, through, 0).unwrap();
        assert_eq!(staged.position(), through);
        staged.publish().unwrap();
        assert_holds(&target, through);
    }
}

#[test]
fn a_sealed_segment_is_copied_once_and_a_damaged_copy_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
    let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
    append(&mut log, 14);
    back_up(&log, &target, 0);
    let first = target.join("00000001.redb");
    let written = || fs::metadata(&first).unwrap().ino();
    let before = written();
    back_up(&log, &target, 15);
    assert_eq!(written(), before);
    fs::write(&first, b"damaged").unwrap();
    back_up(&log, &target, 15);
    assert_holds(&target, 15);
}

/// The copies that an interrupted backup left after its manifest are not proven: a log that was set
/// back and continued differently has segments of the same names and sizes.
#[test]
fn copies_behind_what_is_proven_are_copied_again_and_never_replaced_where_the_log_lacks_them() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let target = folder.path().join("backup");
    let mut log = EventLog::create(&one, options(), &[record(1)]).unwrap();
    append(&mut log, 24);
    back_up(&log, &target, 0);
    let mut forked = EventLog::create(&other, options(), &[record(1)]).unwrap();
    append(&mut forked, 14);
    for at in 16..=40 {
        forked
            .append(at - 1, &[format!("other {at}").into_bytes()])
            .unwrap();
    }
    // Only the first 15 records are proven, by the manifest from before the interrupted backup.
    let lost = forked.reader().stage_copy(&target, 15, 40, 0).unwrap_err();
    assert!(
        matches!(lost, BackupError::KnowsMore { position: 16, .. }),
        "{lost}"
    );
    assert_holds(&target, 25);
    append(&mut log, 9);
    back_up(&log, &target, 15);
    assert_holds(&target, 34);
}

#[test]
fn a_copy_has_its_name_only_once_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
    let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
    append(&mut log, 14);
    let staged = log.reader().stage_copy(&target, 0, 15, 0).unwrap();
    assert!(!target.join("00000001.redb").exists());
    drop(staged);
    back_up(&log, &target, 0);
    assert_holds(&target, 15);
}

/// A sealed copy is never rewritten by itself: each backup reads one of them, in turn.
#[test]
fn a_copy_that_rots_is_found_within_a_round_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("copy");
    let first = &[record(1)];
    let mut log = EventLog::create(&folder.path().join("log"), options(), first).unwrap();
    append(&mut log, 34);
    let back_up = |read_through| {
        let staged = log.reader().stage_copy(&target, 35, 35, read_through);
        let staged = staged.unwrap();
        let next = staged.read_through();
        staged.publish().unwrap();
        next
    };
    let mut read_through = back_up(0);
    let mut rounds = vec![read_through];
    for _ in 0..8 {
        read_through = back_up(read_through);
        rounds.push(read_through);
    }
    assert_eq!(
        rounds,
        [0, 10, 20, 30, 0, 10, 20, 30, 0],
        "one after the other"
    );
    // One record of the second segment was changed, with correct checksums; one is not a log file.
    let rotten = target.join("00000002.redb");
    let good = target.join("00000002.good");
    std::fs::copy(&rotten, &good).unwrap();
    let storage = Storage::default();
    for damage in ["changed", "overwritten"] {
        match damage {
            "changed" => {
                std::fs::remove_file(&rotten).unwrap();
                let db = storage.create(&rotten, COPY_CACHE_BYTES).unwrap();
                let records: Vec<_> = (11..=20)
                    .map(|at| if at == 15 { record(99) } else { record(at) })
                    .collect();
                segment::commit(&db, 11, &records).unwrap();
                segment::close(db).unwrap();
            }
            _ => std::fs::write(&rotten, b"rotten").unwrap(),
        }
        let mut read_through = 0;
        for _ in 0..3 {
            read_through = back_up(read_through);
        }
        let log_of = |path: &Path| std::fs::read(path).unwrap();
        assert!(log_of(&rotten) == log_of(&good), "{damage}");
    }
    std::fs::remove_file(good).unwrap();
    assert_holds(&target, 35);
}

#[test]
fn a_manifest_that_cannot_be_looked_for_is_not_taken_for_none() {
    use super::super::{Manifest, ManifestError};
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Manifest::read(folder.path()).unwrap(), None);
    let file = folder.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();
    assert!(matches!(
        Manifest::read(&file),
        Err(ManifestError::Io { .. })
    ));
}

#[test]
fn a_manifest_of_exactly_the_bound_is_read_and_a_longer_one_is_damage() {
    use super::super::{MANIFEST, Manifest, ManifestError, Part};
    use countersign_schemas::time::Micros;

    let folder = tempfile::tempdir().unwrap();
    let manifest = Manifest::begun(Part::Log, "ab".into(), Micros(7));
    let text = serde_json::to_string(&manifest).unwrap();
    let bound = 256 * 1024;
    for (length, is_read) in [(bound, true), (bound + 1, false), (bound + 2, false)] {
        std::fs::write(
            folder.path().join(MANIFEST),
            text.clone() + &" ".repeat(length - text.len()),
        )
        .unwrap();
        match Manifest::read(folder.path()) {
            Ok(read) => assert!(is_read && read.as_ref() == Some(&manifest), "{length}"),
            Err(ManifestError::Damaged { .. }) => assert!(!is_read, "{length}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_long_segment_whose_copy_is_right_is_not_copied_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("copy");
    let long = super::super::PAGE_RECORDS_MAX as u64 + 76;
    let options = LogOptions {
        segment_records: NonZeroU64::new(long).unwrap(),
        ..options()
    };
    let records: Vec<_> = (1..=long).map(record).collect();
    let (first, second) = records.split_at(super::super::BATCH_RECORDS_MAX);
    let mut log = EventLog::create(&folder.path().join("log"), options, first).unwrap();
    log.append(log.head(), second).unwrap();
    append(&mut log, 1);
    let back_up = || {
        let staged = log
            .reader()
            .stage_copy(&target, long + 1, long + 1, 0)
            .unwrap();
        let is_read_again = staged.read_through() == long;
        staged.publish().unwrap();
        let copy = fs::metadata(target.join("00000001.redb")).unwrap();
        (is_read_again, copy.ino())
    };
    let (_, made) = back_up();
    assert_eq!(back_up(), (true, made));
}

/// A copy of the second segment with another record at one position, and correct checksums.
fn rot(target: &Path, at: u64) {
    let path = target.join("00000002.redb");
    fs::remove_file(&path).unwrap();
    let db = Storage::default().create(&path, COPY_CACHE_BYTES).unwrap();
    let other = |position| {
        if position == at {
            record(99)
        } else {
            record(position)
        }
    };
    let records: Vec<_> = (11..=20).map(other).collect();
    segment::commit(&db, 11, &records).unwrap();
    segment::close(db).unwrap();
}

#[test]
fn a_rotten_record_is_found_at_either_end_of_its_segment_and_is_no_loss_where_it_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("copy");
    let first = &[record(1)];
    let mut log = EventLog::create(&folder.path().join("log"), options(), first).unwrap();
    append(&mut log, 34);
    back_up(&log, &target, 0);
    for at in [11, 20] {
        rot(&target, at);
        // The manifest from before the last backup proves the rotten segment, and no more.
        let staged = log.reader().stage_copy(&target, 20, 35, 10).unwrap();
        staged.publish().unwrap();
        assert_holds(&target, 35);
    }
    rot(&target, 20);
    let lost = log.reader().stage_copy(&target, 19, 35, 10).unwrap_err();
    assert!(matches!(lost, BackupError::KnowsMore { position: 20, .. }));
}

#[test]
fn a_segment_that_is_exchanged_under_the_log_does_not_come_into_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("log"), folder.path().join("copy"));
    let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
    append(&mut log, 34);
    let staged = source.join("staged");
    fs::copy(source.join("00000002.redb"), &staged).unwrap();
    fs::rename(&staged, source.join("00000001.redb")).unwrap();
    let copied = log.reader().stage_copy(&target, 0, 35, 0).unwrap();
    copied.publish().unwrap();
    // The log reads what it opened, and so does the copy.
    assert_holds(&target, 35);
}
