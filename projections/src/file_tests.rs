//! The file itself: closing, crashes, damage, other versions.

use redb::{Database, ReadableDatabase, TableDefinition};

use crate::testing::*;
use crate::views_tests::{CACHE, dump, open};
use crate::{Opened, ViewError, Views};

#[test]
fn what_was_flushed_or_closed_is_there_again_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let groups = history(6, 100);
    let (first, second) = groups.split_at(60);
    let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
    assert_eq!(opened, Opened::Created);
    views.catch_up(&first.concat()).unwrap();
    let before = dump(&views);
    views.close().unwrap();
    let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&views), before);
    assert_eq!(views.checkpoint(), first.concat().len() as u64);
    views.catch_up(&second.concat()).unwrap();
    assert_eq!(views.checkpoint(), groups.concat().len() as u64);
}

#[test]
fn a_crash_takes_rows_and_checkpoints_back_together_and_needs_no_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let groups = history(6, 100);
    let (first, second) = groups.split_at(60);
    let views = open(&path);
    views.catch_up(&first.concat()).unwrap();
    views.flush().unwrap();
    let flushed = dump(&views);
    views.catch_up(&second.concat()).unwrap();
    // A copy of the open file is what a crash leaves.
    let crashed = folder.path().join("crashed.redb");
    std::fs::copy(&path, &crashed).unwrap();
    let repairing = Database::builder()
        .set_repair_callback(|_| panic!("it needed a repair"))
        .open(&crashed);
    drop(repairing.unwrap());
    let (after, opened) = Views::open(&crashed, CACHE, &seal()).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&after), flushed);
    after.catch_up(&groups.concat()).unwrap();
    assert_eq!(dump(&after), dump(&views));
}

/// J-08.
#[test]
fn a_deleted_damaged_or_foreign_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let all = history(6, 100).concat();
    let views = open(&path);
    views.catch_up(&all).unwrap();
    let expected = dump(&views);
    views.close().unwrap();
    let intact = std::fs::read(&path).unwrap();
    let mut flipped_header = intact.clone();
    flipped_header[..512].iter_mut().for_each(|b| *b ^= 0x55);
    let mut older = intact.clone();
    older[64] = 1;
    older[192] = 1;
    let bad = [
        ("text", b"not a database".to_vec()),
        ("header", flipped_header),
        ("older format", older),
        ("cut", intact[..5_000].to_vec()),
        ("zeroes", vec![0; 100_000]),
    ];
    for (what, bytes) in bad {
        std::fs::write(&path, bytes).unwrap();
        let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
        assert!(
            matches!(opened, Opened::Rebuilt { .. }),
            "{what}: {opened:?}"
        );
        assert_eq!(views.checkpoint(), 0);
        views.catch_up(&all).unwrap();
        assert_eq!(dump(&views), expected, "{what}");
        drop(views);
    }
    std::fs::remove_file(&path).unwrap();
    let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
    assert_eq!((opened, views.checkpoint()), (Opened::Created, 0));
    views.catch_up(&all).unwrap();
    assert_eq!(dump(&views), expected);
}

#[test]
fn a_file_in_use_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let views = open(&path);
    views.catch_up(&history(6, 10).concat()).unwrap();
    assert!(matches!(
        Views::open(&path, CACHE, &seal()),
        Err(ViewError::Storage(_))
    ));
    views.flush().unwrap();
    assert!(path.exists());
}

#[test]
fn tables_of_another_version_are_dropped_and_a_changed_one_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let other: TableDefinition<u64, u64> = TableDefinition::new("login-status@0/rows");
    let views = open(&path);
    let txn = views.database().begin_write().unwrap();
    txn.open_table(other).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    views.close().unwrap();
    let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
    assert_eq!(opened, Opened::Existing);
    views.drop_superseded().unwrap();
    let read = views.database().begin_read().unwrap();
    assert!(read.open_table(other).is_err());
    drop(read);
    let changed: TableDefinition<u64, u64> = TableDefinition::new("login-status@4/rows");
    let txn = views.database().begin_write().unwrap();
    txn.delete_table(changed).unwrap();
    txn.open_table(changed).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    views.close().unwrap();
    let (_, opened) = Views::open(&path, CACHE, &seal()).unwrap();
    assert!(matches!(opened, Opened::Rebuilt { .. }), "{opened:?}");
}

#[test]
fn an_altered_file_is_replaced_and_never_answers_wrongly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let all = history(6, 300).concat();
    let views = open(&path);
    views.catch_up(&all).unwrap();
    let expected = dump(&views);
    views.close().unwrap();
    let intact = std::fs::read(&path).unwrap();
    let mut random = Random(5);
    let mut rebuilt = 0;
    for round in 0..60 {
        let mut bytes = intact.clone();
        for _ in 0..4 {
            let start = random.below(bytes.len() as u64 - 64) as usize;
            bytes[start..start + 64].fill(random.below(256) as u8);
        }
        std::fs::write(&path, bytes).unwrap();
        let (views, opened) = Views::open(&path, CACHE, &seal()).unwrap();
        match opened {
            Opened::Rebuilt { .. } => rebuilt += 1,
            Opened::Existing | Opened::Created => {
                assert_eq!(dump(&views), expected, "round {round}");
            }
        }
    }
    assert!(rebuilt > 30, "{rebuilt} of 60 were detected");
}
