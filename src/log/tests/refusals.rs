//! The refusals to create or open a log, one sentence each.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::durable;

#[test]
fn creation_is_refused_where_anything_is() {
    let (_parent, folder) = place();
    log_with(&folder, 20, 5).close().unwrap();
    let again = EventLog::create(&folder, options(20), &records(1..=1));
    assert!(matches!(again, Err(OpenLogError::AlreadyExists(_))));
    assert_holds(&EventLog::open(&folder, options(20)).unwrap(), 5);
}

#[test]
fn creation_without_records_is_refused_and_leaves_nothing() {
    let (parent, folder) = place();
    let empty = EventLog::create(&folder, options(20), &[]);
    assert!(matches!(empty, Err(OpenLogError::FirstRecords(_))));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_creation_is_no_log_and_can_be_done_again() {
    let (_parent, folder) = place();
    let staging = durable::staging(&folder);
    fs::create_dir(&staging).unwrap();
    fs::write(segment(&staging, 1), b"half a file").unwrap();
    assert!(matches!(
        EventLog::open(&folder, options(20)),
        Err(OpenLogError::Missing(_))
    ));
    assert_holds(&log_with(&folder, 20, 3), 3);
    assert!(!staging.exists());
}

#[test]
fn only_eight_digits_name_a_segment() {
    for (name, number) in [
        ("00000007.redb", Some(7)),
        ("99999999.redb", Some(99_999_999)),
        ("0000007.redb", None),
        ("000000007.redb", None),
        ("0000000a.redb", None),
        ("+0000007.redb", None),
        ("00000007.redb.new", None),
    ] {
        assert_eq!(folder::segment_number(name), number, "{name}");
    }
}

#[test]
fn what_may_not_be_written_is_named_as_read_only() {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let refused = |kind: std::io::ErrorKind| folder::io_error(Path::new("log"), &kind.into());
    for kind in [PermissionDenied, ReadOnlyFilesystem] {
        assert!(matches!(refused(kind), OpenLogError::ReadOnly(_)));
    }
    assert!(matches!(refused(StorageFull), OpenLogError::Io { .. }));
}

#[test]
fn a_creation_that_was_interrupted_before_its_first_file_can_be_done_again() {
    let (_parent, folder) = place();
    fs::create_dir(durable::staging(&folder)).unwrap();
    assert_holds(&log_with(&folder, 20, 3), 3);
}

#[test]
fn a_creation_names_what_is_in_its_way() {
    let (_parent, folder) = place();
    let strange = segment(&durable::staging(&folder), 1);
    fs::create_dir_all(&strange).unwrap();
    let refused = EventLog::create(&folder, options(20), &records(1..=1)).unwrap_err();
    assert!(
        matches!(&refused, OpenLogError::Io { path, .. } if *path == strange),
        "{refused}"
    );
    assert!(strange.exists());
}

#[test]
fn only_wrong_bytes_are_damage_and_a_failing_disk_is_named_as_it_is() {
    use std::io::ErrorKind::{
        InvalidData, PermissionDenied, ReadOnlyFilesystem, StorageFull, UnexpectedEof,
    };
    let (_parent, folder) = place();
    log_with(&folder, 20, 5).close().unwrap();
    let refused = |kind: std::io::ErrorKind| {
        let mut options = options(20);
        options.storage.open = std::sync::Arc::new(move |_, _| {
            Err(redb::StorageError::Io(std::io::Error::from(kind)).into())
        });
        EventLog::open(&folder, options).unwrap_err()
    };
    for kind in [InvalidData, UnexpectedEof] {
        assert!(matches!(refused(kind), OpenLogError::Damaged { .. }));
    }
    for kind in [PermissionDenied, ReadOnlyFilesystem] {
        assert!(matches!(refused(kind), OpenLogError::ReadOnly(_)));
    }
    assert!(matches!(refused(StorageFull), OpenLogError::Io { .. }));
}

/// A file whose writes fail from some moment on.
#[derive(Debug)]
struct Failing {
    file: redb::backends::FileBackend,
    fails: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Failing {
    fn check(&self) -> std::io::Result<()> {
        if self.fails.load(std::sync::atomic::Ordering::SeqCst) {
            Err(std::io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl redb::StorageBackend for Failing {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check().and_then(|()| self.file.set_len(len))
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check().and_then(|()| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check().and_then(|()| self.file.write(offset, data))
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

#[test]
fn a_log_that_could_not_be_closed_cleanly_says_so() {
    for is_full in [false, true] {
        let (_parent, folder) = place();
        log_with(&folder, 20, 5).close().unwrap();
        let fails = std::sync::Arc::default();
        let mut options = options(20);
        let handed = std::sync::Arc::clone(&fails);
        options.storage.open = std::sync::Arc::new(move |builder, path| {
            let file = fs::File::options().read(true).write(true).open(path);
            let file = file.map_err(redb::StorageError::Io)?;
            builder.create_with_backend(Failing {
                file: redb::backends::FileBackend::new(file)?,
                fails: std::sync::Arc::clone(&handed),
            })
        });
        let mut log = EventLog::open(&folder, options).unwrap();
        log.append(5, &records(6..=7)).unwrap();
        fails.store(is_full, std::sync::atomic::Ordering::SeqCst);
        let closed = log.close();
        assert_eq!(
            matches!(closed, Err(AppendError::Io { .. })),
            is_full,
            "{closed:?}"
        );
        assert_holds(&EventLog::open(&folder, super::options(20)).unwrap(), 7);
    }
}

#[test]
fn a_segment_that_was_never_published_is_swept_away() {
    let (_parent, folder) = place();
    log_with(&folder, 20, 50).close().unwrap();
    let leftover = durable::staging(&segment(&folder, 4));
    fs::write(&leftover, b"half a file").unwrap();
    let log = EventLog::open(&folder, options(20)).unwrap();
    assert_holds(&log, 50);
    assert!(!leftover.exists());
}

#[test]
fn a_missing_segment_is_refused_by_its_number() {
    for missing in [1, 2] {
        let (_parent, folder) = place();
        log_with(&folder, 20, 70).close().unwrap();
        fs::remove_file(segment(&folder, missing)).unwrap();
        let refused = EventLog::open(&folder, options(20)).unwrap_err();
        assert!(
            matches!(refused, OpenLogError::MissingSegment { number, .. } if number == missing)
        );
    }
}

#[test]
fn a_folder_without_segments_is_refused() {
    let (_parent, folder) = place();
    assert!(matches!(
        EventLog::open(&folder, options(20)),
        Err(OpenLogError::Missing(_))
    ));
    fs::create_dir(&folder).unwrap();
    assert!(matches!(
        EventLog::open(&folder, options(20)),
        Err(OpenLogError::MissingSegment { number: 1, .. })
    ));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (_parent, folder) = place();
    let (_other_parent, other) = place();
    log_with(&folder, 20, 70).close().unwrap();
    log_with(&other, 30, 70).close().unwrap();
    for (number, position) in [(2, 23), (3, 44), (4, 65)] {
        let kept = fs::read(segment(&folder, number)).unwrap();
        fs::copy(segment(&other, 2), segment(&folder, number)).unwrap();
        let refused = EventLog::open(&folder, options(20)).unwrap_err();
        assert!(
            matches!(refused, OpenLogError::Gap { expected, found: 37, .. } if expected == position),
            "{refused}"
        );
        fs::write(segment(&folder, number), kept).unwrap();
    }
    assert_holds(&EventLog::open(&folder, options(20)).unwrap(), 70);
}

#[test]
fn an_empty_or_foreign_file_is_damage_and_never_an_empty_log() {
    for number in [1, 3] {
        for contents in [Vec::new(), vec![0; 73_728], b"not a database".to_vec()] {
            let (_parent, folder) = place();
            log_with(&folder, 20, 50).close().unwrap();
            fs::write(segment(&folder, number), &contents).unwrap();
            let refused = EventLog::open(&folder, options(20)).unwrap_err();
            assert!(matches!(refused, OpenLogError::Damaged { .. }), "{refused}");
            assert_eq!(fs::read(segment(&folder, number)).unwrap(), contents);
        }
    }
}

#[test]
fn a_database_without_records_is_refused() {
    let (_parent, folder) = place();
    fs::create_dir(&folder).unwrap();
    redb::Database::create(segment(&folder, 1))
        .unwrap()
        .close()
        .unwrap();
    let refused = EventLog::open(&folder, options(20)).unwrap_err();
    assert!(matches!(refused, OpenLogError::Damaged { .. }), "{refused}");
}

#[test]
fn a_truncated_segment_is_refused() {
    for number in [1, 2] {
        let (_parent, folder) = place();
        log_with(&folder, 600, 1_000).close().unwrap();
        let whole = fs::read(segment(&folder, number)).unwrap();
        for kept in [100, 4_096, whole.len() / 2, whole.len() - 4_096] {
            fs::write(segment(&folder, number), &whole[..kept]).unwrap();
            let refused = EventLog::open(&folder, options(600)).unwrap_err();
            assert!(
                matches!(refused, OpenLogError::Damaged { .. }),
                "{kept}: {refused}"
            );
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_never_a_panic_nor_an_empty_log() {
    let (_parent, folder) = place();
    log_with(&folder, 600, 40).close().unwrap();
    let path = segment(&folder, 1);
    let whole = fs::read(&path).unwrap();
    let header = 0..512;
    for offset in header.chain((512..whole.len()).step_by(331)) {
        let mut flipped = whole.clone();
        flipped[offset] ^= 0x41;
        fs::write(&path, &flipped).unwrap();
        let Ok(log) = EventLog::open(&folder, options(600)) else {
            continue;
        };
        let Ok(all) = read_all(&log.reader(), 9) else {
            continue;
        };
        assert!(!all.is_empty() && all.len() <= 40, "byte {offset}");
        assert!(
            (1..)
                .zip(&all)
                .all(|(expected, (position, _))| expected == *position)
        );
    }
}

#[test]
fn an_unclean_sealed_segment_is_repaired_once() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 30, 1);
    let first = segment(&folder, 1);
    let mut log = log;
    while log.head() < 30 {
        let batch = records(log.head() + 1..=log.head() + 1);
        log.append(log.head(), &batch).unwrap();
    }
    let unclean = fs::read(&first).unwrap();
    log.append(30, &records(31..=40)).unwrap();
    log.close().unwrap();
    fs::write(&first, &unclean).unwrap();
    let refused = Storage::default().open_read_only(&first, 0).map(|_| ());
    assert!(matches!(refused, Err(SegmentFault::Unclean)));
    assert_holds(&EventLog::open(&folder, options(30)).unwrap(), 40);
    assert!(Storage::default().open_read_only(&first, 0).is_ok());
}

#[test]
fn a_second_opener_is_refused() {
    let (_parent, folder) = place();
    let log = log_with(&folder, 20, 30);
    let second = EventLog::open(&folder, options(20));
    assert!(matches!(second, Err(OpenLogError::AlreadyOpen(_))));
    assert_holds(&log, 30);
    drop(log);
    assert_holds(&EventLog::open(&folder, options(20)).unwrap(), 30);
}

#[test]
fn a_segment_held_by_another_process_is_refused() {
    let (_parent, folder) = place();
    log_with(&folder, 20, 10).close().unwrap();
    let held = redb::Database::open(segment(&folder, 1)).unwrap();
    let second = EventLog::open(&folder, options(20));
    assert!(matches!(second, Err(OpenLogError::AlreadyOpen(_))));
    drop(held);
}

#[test]
fn symbolic_links_are_refused() {
    let (parent, folder) = place();
    log_with(&folder, 20, 30).close().unwrap();
    let link = parent.path().join("link");
    symlink(&folder, &link).unwrap();
    let refused = EventLog::open(&link, options(20));
    assert!(matches!(refused, Err(OpenLogError::NotPlain(_))));
    let moved = parent.path().join("elsewhere.redb");
    fs::rename(segment(&folder, 1), &moved).unwrap();
    symlink(&moved, segment(&folder, 1)).unwrap();
    let refused = EventLog::open(&folder, options(20));
    assert!(matches!(refused, Err(OpenLogError::NotPlain(_))));
}

#[test]
fn read_only_folders_and_files_are_refused() {
    let (_parent, folder) = place();
    log_with(&folder, 20, 30).close().unwrap();
    for path in [folder.clone(), segment(&folder, 2)] {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        let refused = EventLog::open(&folder, options(20));
        assert!(matches!(refused, Err(OpenLogError::ReadOnly(_))));
        fs::set_permissions(&path, before).unwrap();
    }
    assert_holds(&EventLog::open(&folder, options(20)).unwrap(), 30);
}

#[test]
fn refusals_are_sentences_that_say_what_to_do() {
    let (_parent, folder) = place();
    let missing = EventLog::open(&folder, options(20))
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("there is no log at ") && missing.contains("countersign init"));
    let _log = log_with(&folder, 20, 2);
    let second = EventLog::open(&folder, options(20))
        .unwrap_err()
        .to_string();
    assert!(second.ends_with("stop that process first"));
}
