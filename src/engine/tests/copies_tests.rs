//! A backup replaces a good copy by nothing worse, whatever an attacker without the keyring wrote
//! into the data folder.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use countersign_schemas::record::Record;
use redb::{Database, ReadableDatabase};
use serde_json::json;

use super::appended_tests::{Signed, forged, open};
use super::changed_tests::{RECORDS, change_record, edit};
use super::epoch_tests::{copy, restore};
use super::fixture::{Fixture, PASSWORD};
use super::marks_tests::{KEYS, back_up, check, name, remove_key};
use crate::crypto::keyring::Keyring;
use crate::engine::keys::rotations::is_under_way;
use crate::engine::record_seals::RecordSeals;
use crate::engine::{Engine, Lacking, lacking_in};
use crate::log::index::Finding;
use crate::log::tree::leaf_hash;
use crate::log::{LogOptions, MANIFEST};

/// Ada, a backup, and a stop.
fn stopped() -> Fixture {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    engine.admin().backup().unwrap();
    fixture
}

fn small(fixture: &Fixture) -> Engine {
    fixture.start_with(|options| {
        options.log = LogOptions {
            segment_records: NonZeroU64::new(40).unwrap(),
            ..LogOptions::default()
        };
    })
}

fn log_in(fixture: &Fixture, engine: &Engine, times: usize) {
    for _ in 0..times {
        let login = json!({"username": "ada", "password": PASSWORD});
        fixture.send(engine, "start-login", login).unwrap();
    }
}

/// The files of both copies that have their names, with their bytes.
fn copies(fixture: &Fixture) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = fixture.backups();
    let (mut files, mut folders) = (BTreeMap::new(), vec![folders.log, folders.keys]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "new") => {}
                false => _ = files.insert(path.clone(), fs::read(&path).unwrap()),
            }
        }
    }
    files
}

/// The record at a position of the copy's first segment.
fn copied(fixture: &Fixture, position: u64) -> Vec<u8> {
    let db = Database::open(fixture.backups().log.join("log/00000001.redb")).unwrap();
    let table = db.begin_read().unwrap().open_table(RECORDS).unwrap();
    table.get(position).unwrap().unwrap().value().to_vec()
}

fn is_in_copy(fixture: &Fixture, generation: u32) -> bool {
    let db = Database::open(fixture.backups().keys.join("keys.redb")).unwrap();
    let keys = db.begin_read().unwrap().open_table(KEYS).unwrap();
    keys.get(&name(generation)).unwrap().is_some()
}

/// Appends a record that no service wrote: without a seal, or with one that is made up.
fn append_forged(fixture: &Fixture, seal: Option<[u8; 8]>) {
    let mut log = open(fixture);
    let head = log.head();
    let mut record = forged(&log);
    record.seal = seal;
    log.append(head, &[record.encode().unwrap()]).unwrap();
    log.close().unwrap();
}

/// Refuses a backup of the stopped service and leaves the copies as they are, with and without the
/// keyring; returns the sentence of the refusal with it.
fn refuses_stopped(fixture: &Fixture) -> String {
    let before = copies(fixture);
    let without = back_up(fixture, false).map(|_| ()).unwrap_err();
    assert!(without.contains("--keyring"), "{without}");
    let with = back_up(fixture, true).map(|_| ()).unwrap_err();
    assert!(copies(fixture) == before, "{with}");
    with
}

/// without a seal, and with one that is made up.
#[test]
fn a_stopped_log_with_an_end_that_no_service_wrote_replaces_no_copy() {
    for seal in [None, Some([0; 8])] {
        let fixture = stopped();
        let honest = fixture.folder().join("honest");
        copy(&fixture.data(), &honest);
        append_forged(&fixture, seal);
        let refused = refuses_stopped(&fixture);
        assert!(refused.contains("find out who could write"), "{refused}");
        assert!(fixture.try_start().is_err());
        // The honest log is not shut out of its folders.
        restore(&honest, &fixture.data());
        let engine = fixture.start();
        fixture.enrol(&engine, "bob");
        engine.admin().backup().unwrap();
    }
}

/// the record is below the checkpoint beside the keyring, whose copy in the data folder is
/// gone.
#[test]
fn a_stopped_log_that_the_checkpoint_beside_the_keyring_contradicts_replaces_no_copy() {
    let fixture = stopped();
    let engine = fixture.start();
    let honest = engine.admin().log.head();
    log_in(&fixture, &engine, 5);
    drop(engine);
    change_record(&fixture, honest + 2);
    fs::remove_file(fixture.data().join("checkpoint.json")).unwrap();
    let refused = refuses_stopped(&fixture);
    assert!(refused.contains("signed checkpoint"), "{refused}");
}

/// the checkpoints beside the keyring are older, and the copy in the data folder shows it.
#[test]
fn a_stopped_log_that_the_copy_of_its_newest_checkpoint_contradicts_replaces_no_copy() {
    let fixture = stopped();
    let signed = Signed::of(&fixture);
    let early = fixture.folder().join("early");
    copy(&fixture.data().join("log"), &early);
    let engine = fixture.start();
    log_in(&fixture, &engine, 5);
    drop(engine);
    signed.restore();
    let newest = fs::read(fixture.data().join("checkpoint.json")).unwrap();
    back_up(&fixture, true).unwrap();
    // The log is set back and goes on otherwise; then it is only set back.
    restore(&early, &fixture.data().join("log"));
    for folder in [fixture.backups().log, fixture.backups().keys] {
        fs::remove_dir_all(folder).unwrap();
    }
    let refused = back_up(&fixture, true).map(|_| ()).unwrap_err();
    assert!(refused.contains("events are lost"), "{refused}");
    fs::remove_file(fixture.data().join("checkpoint.json")).unwrap();
    let engine = fixture.start();
    log_in(&fixture, &engine, 6);
    drop(engine);
    signed.restore();
    fs::write(fixture.data().join("checkpoint.json"), newest).unwrap();
    let refused = back_up(&fixture, true).map(|_| ()).unwrap_err();
    assert!(refused.contains("differs"), "{refused}");
}

/// whole segments are gone, or one more was made by hand.
#[test]
fn a_stopped_log_with_a_segment_less_or_a_made_up_one_more_replaces_no_copy() {
    let fixture = Fixture::new();
    let engine = small(&fixture);
    fixture.enrol(&engine, "ada");
    log_in(&fixture, &engine, 10);
    engine.admin().backup().unwrap();
    log_in(&fixture, &engine, 60);
    drop(engine);
    let second = fixture.data().join("log/00000002.redb");
    assert!(second.exists());
    let away = fixture.folder().join("away");
    fs::create_dir(&away).unwrap();
    for entry in fs::read_dir(fixture.data().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "redb") && !path.ends_with("00000001.redb") {
            fs::rename(&path, away.join(path.file_name().unwrap())).unwrap();
        }
    }
    let refused = refuses_stopped(&fixture);
    assert!(refused.contains("events are lost"), "{refused}");
    for entry in fs::read_dir(&away).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(
            &path,
            fixture.data().join("log").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    let (head, record) = {
        let log = open(&fixture);
        let mut record = forged(&log);
        record.seal = Some([7; 8]);
        (log.head(), record.encode().unwrap())
    };
    let count = fs::read_dir(fixture.data().join("log")).unwrap();
    let count = count.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|e| e == "redb")
    });
    let made_up = format!("log/{:08}.redb", count.count() + 1);
    let db = Database::create(fixture.data().join(made_up)).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(RECORDS)
        .unwrap()
        .insert(head + 1, record.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(db);
    refuses_stopped(&fixture);
}

/// the keys' copy is of the log too, and one that an interrupted backup left counts.
#[test]
fn without_the_keyring_no_copy_of_either_part_is_replaced() {
    let fixture = stopped();
    let (log, keys) = (fixture.backups().log, fixture.backups().keys);
    refuses_without(&fixture);
    let kept = fixture.folder().join("kept");
    fs::rename(&log, &kept).unwrap();
    refuses_without(&fixture);
    fs::rename(&kept, &log).unwrap();
    fs::rename(&keys, &kept).unwrap();
    refuses_without(&fixture);
    // The manifest was never written again.
    let manifest = fs::read_to_string(log.join(MANIFEST)).unwrap();
    let position = manifest
        .lines()
        .find(|line| line.contains("position"))
        .unwrap();
    let begun = manifest.replace(position, "  \"position\": 0,");
    fs::write(log.join(MANIFEST), begun).unwrap();
    refuses_without(&fixture);
    fs::remove_dir_all(&log).unwrap();
    back_up(&fixture, false).unwrap();
    check(&fixture, true).unwrap();
}

/// log and checkpoints are an older true state, and the manifests say that nothing is copied.
#[test]
fn an_older_true_log_replaces_no_copy_whose_manifests_were_set_back() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let (early, signed) = (fixture.folder().join("early"), Signed::of(&fixture));
    copy(&fixture.data(), &early);
    let engine = fixture.start();
    fixture.enrol(&engine, "bob");
    engine.admin().backup().unwrap();
    drop(engine);
    restore(&early, &fixture.data());
    let refused = back_up(&fixture, true).map(|_| ()).unwrap_err();
    assert!(refused.contains("events are lost"), "{refused}");
    signed.restore();
    refuses_stopped(&fixture);
    for folder in [fixture.backups().log, fixture.backups().keys] {
        let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap();
        let lines = manifest.lines().map(|line| {
            if line.contains("\"position\"") {
                "  \"position\": 0,"
            } else {
                line
            }
        });
        fs::write(folder.join(MANIFEST), lines.collect::<String>()).unwrap();
    }
    refuses_stopped(&fixture);
}

fn refuses_without(fixture: &Fixture) {
    let refused = back_up(fixture, false).map(|_| ()).unwrap_err();
    assert!(refused.contains("--keyring"), "{refused}");
}

/// into empty folders, without the keyring, any log that follows is copied.
#[test]
fn a_verification_with_the_keyring_finds_records_behind_the_checkpoint_that_no_service_wrote() {
    for seal in [None, Some([0; 8])] {
        let fixture = stopped();
        for folder in [fixture.backups().log, fixture.backups().keys] {
            fs::remove_dir_all(folder).unwrap();
        }
        let honest = open(&fixture).head();
        append_forged(&fixture, seal);
        back_up(&fixture, false).unwrap();
        check(&fixture, false).unwrap();
        let bad = check(&fixture, true).unwrap_err().to_string();
        assert!(bad.contains(&format!("position {}:", honest + 1)), "{bad}");
    }
}

/// the copy's own checkpoint is older, and the archive beside the keyring knows better.
#[test]
fn a_verification_with_the_keyring_compares_the_copy_with_the_checkpoints_beside_it() {
    let fixture = stopped();
    let older = fs::read(fixture.data().join("checkpoint.json")).unwrap();
    let engine = fixture.start();
    let honest = engine.admin().log.head();
    log_in(&fixture, &engine, 5);
    drop(engine);
    for folder in [fixture.backups().log, fixture.backups().keys] {
        fs::remove_dir_all(folder).unwrap();
    }
    // The keyring itself seals another end, as its owner could.
    let ring = Keyring::load(&fixture.keyring()).unwrap();
    let seals = RecordSeals::of(&ring);
    let log = open(&fixture);
    let (reader, head) = (log.reader(), log.head());
    let get = |position| reader.get(position).unwrap().unwrap();
    let mut before = leaf_hash(&get(honest));
    let mut resealed = BTreeMap::new();
    for position in honest + 1..=head {
        let mut record = Record::decode(&get(position)).unwrap().into_owned();
        record.meta.command_id = format!("other-{position}").into();
        let bytes = seals.encode(position, &before, &mut record).unwrap();
        before = leaf_hash(&bytes);
        resealed.insert(position, bytes);
    }
    drop(reader);
    log.close().unwrap();
    edit(&fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        for (position, bytes) in &resealed {
            table.insert(position, bytes.as_slice()).unwrap();
        }
    });
    fs::write(fixture.data().join("checkpoint.json"), older).unwrap();
    back_up(&fixture, false).unwrap();
    check(&fixture, false).unwrap();
    let bad = check(&fixture, true).unwrap_err().to_string();
    assert!(bad.contains("beside the keyring"), "{bad}");
}

/// the segment was sealed since the last backup, was copied whole, or takes writes; or no
/// copy has it yet.
#[test]
fn a_changed_record_replaces_no_good_copy_in_any_segment() {
    for (logins_before, logins_after) in [(0, 45), (45, 0), (0, 0), (45, 45)] {
        let fixture = Fixture::new();
        let engine = small(&fixture);
        fixture.enrol(&engine, "ada");
        log_in(&fixture, &engine, logins_before);
        engine.admin().backup().unwrap();
        let before = copied(&fixture, 5);
        log_in(&fixture, &engine, logins_after);
        drop(engine);
        change_record(&fixture, 5);
        let engine = small(&fixture);
        let taken = engine.admin().backup();
        let what = format!("{logins_before} {logins_after} {taken:?}");
        assert!(copied(&fixture, 5) == before, "{what}");
        // A copy that is whole is read again in turn; then the change is met there.
        assert!(taken.is_err() || logins_before > 0, "{what}");
        if taken.is_err() {
            assert_eq!(
                engine.finding(),
                Some(Finding::Record { position: 5 }),
                "{what}"
            );
        }
    }
}

#[test]
fn a_changed_record_of_a_segment_that_no_copy_has_is_not_copied_as_good() {
    let fixture = Fixture::new();
    let engine = small(&fixture);
    fixture.enrol(&engine, "ada");
    log_in(&fixture, &engine, 45);
    drop(engine);
    change_record(&fixture, 5);
    let engine = small(&fixture);
    engine.admin().backup().unwrap_err();
    assert_eq!(engine.finding(), Some(Finding::Record { position: 5 }));
    assert!(!fixture.backups().log.join("log/00000001.redb").exists());
}

fn rotate(fixture: &Fixture, engine: &Engine) {
    let body = json!({"reason": "a custom"});
    fixture.send(engine, "rotate-keys", body).unwrap();
    while is_under_way(&engine.shared.index).unwrap() {
        std::thread::yield_now();
    }
}

/// a key was taken out of the stopped store, and then the key is forgotten that wraps it in
/// the copy.
#[test]
fn a_key_that_was_taken_away_is_missed_though_the_key_that_wraps_it_in_the_copy_was_forgotten() {
    for is_stopped in [false, true] {
        let fixture = Fixture::new();
        let engine = fixture.start();
        fixture.enrol(&engine, "ada");
        fixture.enrol(&engine, "bob");
        engine.admin().backup().unwrap();
        rotate(&fixture, &engine);
        drop(engine);
        remove_key(&fixture);
        let ring = Keyring::load(&fixture.keyring()).unwrap();
        ring.forget(&fixture.keyring(), 1).unwrap().unwrap();
        let before = copies(&fixture);
        if is_stopped {
            _ = back_up(&fixture, true).unwrap_err();
        } else {
            _ = fixture.start().admin().backup().unwrap_err();
        }
        assert!(copies(&fixture) == before, "stopped: {is_stopped}");
        assert!(is_in_copy(&fixture, 1), "stopped: {is_stopped}");
    }
}

/// The store has every key; only the copy is wrapped by the forgotten one.
#[test]
fn a_copy_of_keys_from_before_a_rotation_is_replaced_after_the_old_key_was_forgotten() {
    let fixture = stopped();
    let engine = fixture.start();
    rotate(&fixture, &engine);
    drop(engine);
    let ring = Keyring::load(&fixture.keyring()).unwrap();
    ring.forget(&fixture.keyring(), 1).unwrap().unwrap();
    back_up(&fixture, true).unwrap();
    check(&fixture, true).unwrap();
}

/// in a first copy, and beside an earlier one.
#[test]
fn with_the_keyring_a_made_up_key_of_a_new_number_comes_into_no_copy() {
    for (is_stopped, is_first) in [(false, false), (true, false), (false, true), (true, true)] {
        let fixture = stopped();
        if is_first {
            for folder in [fixture.backups().log, fixture.backups().keys] {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        edit(&fixture, "keys.redb", |txn| {
            let mut keys = txn.open_table(KEYS).unwrap();
            keys.insert(&name(2), &[1; 64]).unwrap();
        });
        if is_stopped {
            _ = back_up(&fixture, true).unwrap_err();
        } else {
            _ = fixture.start().admin().backup().unwrap_err();
        }
        let copy = fixture.backups().keys.join("keys.redb");
        if is_first {
            assert!(!Path::new(&copy).exists(), "stopped: {is_stopped}");
        } else {
            assert!(!is_in_copy(&fixture, 2), "stopped: {is_stopped}");
        }
    }
}

/// `keys forget` asks this, since the copy that has the key may be wrapped by the one to forget.
#[test]
fn a_stopped_store_that_lacks_a_key_of_the_log_is_known_and_an_erased_key_is_not_missed() {
    let fixture = stopped();
    let engine = fixture.start();
    fixture.enrol(&engine, "bob");
    let erase = json!({"account_id": "bob", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    drop(engine);
    let lacking = || lacking_in(&fixture.data(), &fixture.keyring()).unwrap();
    assert_eq!(lacking(), None);
    remove_key(&fixture);
    assert!(matches!(lacking(), Some(Lacking::Key(_))));
}
