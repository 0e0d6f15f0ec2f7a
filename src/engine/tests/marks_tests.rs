//! A mark of erasure proves only that a service made it: a key is destroyed only for a checked log,
//! and no copy of keys is replaced for less than that.

use std::fs;

use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Record, StreamKind};
use redb::{ReadableTable, TableDefinition};
use serde_json::json;

use super::appended_tests::open;
use super::changed_tests::{RECORDS, edit};
use super::epoch_tests::{copy, restore};
use super::fixture::{Fixture, PASSWORD};
use crate::account::service;
use crate::crypto::keyring::Keyring;
use crate::engine::copies::verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
use crate::engine::{Taken, back_up_stopped_service};

pub(in crate::engine) const MARKS: TableDefinition<&[u8; 16], &[u8; 20]> =
    TableDefinition::new("erased_v2");
pub(super) const KEYS: TableDefinition<&[u8; 20], &[u8; 64]> = TableDefinition::new("data_keys_v1");

pub(super) fn ada() -> StreamKey {
    StreamKey::of(&AccountId::parse("ada").unwrap())
}

pub(super) fn name(generation: u32) -> [u8; 20] {
    let mut name = [0; 20];
    name[..16].copy_from_slice(&ada().0);
    name[16..].copy_from_slice(&generation.to_be_bytes());
    name
}

/// Returns the mark that a service with this keyring makes of Ada.
pub(in crate::engine) fn true_mark(fixture: &Fixture, last: u32) -> [u8; 20] {
    let keyring = Keyring::load(&fixture.keyring()).unwrap();
    let tag = keyring
        .file_key("keys.redb")
        .tag(&[&ada().0, &last.to_le_bytes()]);
    let mut mark = [0; 20];
    mark[..4].copy_from_slice(&last.to_le_bytes());
    mark[4..].copy_from_slice(&tag);
    mark
}

fn put_mark(fixture: &Fixture, last: u32) {
    let mark = true_mark(fixture, last);
    edit(fixture, "keys.redb", |txn| {
        let mut marks = txn.open_table(MARKS).unwrap();
        marks.insert(&ada().0, &mark).unwrap();
    });
}

pub(super) fn remove_key(fixture: &Fixture) {
    edit(fixture, "keys.redb", |txn| {
        let mut keys = txn.open_table(KEYS).unwrap();
        assert!(keys.remove(&name(1)).unwrap().is_some());
    });
}

fn has_key(fixture: &Fixture, generation: u32) -> bool {
    let mut has = false;
    edit(fixture, "keys.redb", |txn| {
        let keys = txn.open_table(KEYS).unwrap();
        has = keys.get(&name(generation)).unwrap().is_some();
    });
    has
}

/// Two accounts, a backup, and a stop.
fn stopped() -> Fixture {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    engine.admin().backup().unwrap();
    fixture
}

pub(super) fn back_up(fixture: &Fixture, with_keyring: bool) -> Result<Taken, String> {
    let ring = fixture.keyring();
    let ring = with_keyring.then_some(&*ring);
    let (data, folders) = (fixture.data(), fixture.backups());
    let taken = back_up_stopped_service(&data, ring, &folders, fixture.time());
    taken.map_err(|error| error.to_string())
}

pub(super) fn check(fixture: &Fixture, with_keyring: bool) -> Result<CheckedBackup, BadBackup> {
    let scratch = tempfile::tempdir().unwrap();
    let (folders, keyring) = (fixture.backups(), fixture.keyring());
    let asked = BackupToVerify {
        log: &folders.log,
        keys: Some(&folders.keys),
        keyring: with_keyring.then_some(&keyring),
        scratch: scratch.path(),
    };
    verify_backup(&asked, |_, _| {})
}

/// "Ada was erased", without reason, made from another record.
fn erased_record(of: &[u8], version: u32, seal: Option<[u8; 8]>) -> Vec<u8> {
    let mut record = Record::decode(of).unwrap().into_owned();
    let event = service::account_erased();
    record.event_type = event.type_code();
    record.schema_version = event.schema_version();
    record.stream_kind = StreamKind::Account;
    record.stream_key = ada();
    record.version = version;
    record.payload = event.encode().unwrap().into();
    (record.meta.source, record.meta.source_commitment) = (None, None);
    (record.group_index, record.group_len) = (0, 1);
    let id = CommandId::parse("forged").unwrap();
    record.command_key = CommandKey::of(&record.meta.caller, &id);
    record.meta.command_id = "forged".into();
    record.seal = seal;
    record.encode().unwrap()
}

fn append_erasure(fixture: &Fixture, version: u32, seal: Option<[u8; 8]>) {
    let mut log = open(fixture);
    let head = log.head();
    let last = log.reader().get(head).unwrap().unwrap();
    log.append(head, &[erased_record(&last, version, seal)])
        .unwrap();
    log.close().unwrap();
}

fn is_unproven(fixture: &Fixture) {
    let refused = fixture.try_start().err().unwrap().to_string();
    assert!(refused.contains("find out who could write"), "{refused}");
}

/// A false erasure is in the middle of the log for one start, and is then taken out.
#[test]
fn a_start_destroys_no_key_and_makes_no_mark_for_a_log_that_it_has_not_checked() {
    let fixture = stopped();
    put_mark(&fixture, 1);
    let keys = fs::read(fixture.data().join("keys.redb")).unwrap();
    let honest = fs::read(fixture.data().join("log/00000001.redb")).unwrap();
    let target = open(&fixture).head() - 2;
    edit(&fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        let record = table.get(target).unwrap().unwrap().value().to_vec();
        table
            .insert(target, &*erased_record(&record, 99, None))
            .unwrap();
    });
    // Also if the index is built from that log.
    for files in [&[][..], &["index.redb", "snapshots.redb", "views.redb"]] {
        for file in files {
            fs::remove_file(fixture.data().join(file)).unwrap();
        }
        assert!(fixture.try_start().is_err());
        assert!(has_key(&fixture, 1));
    }
    fs::write(fixture.data().join("keys.redb"), &keys).unwrap();
    fs::write(fixture.data().join("log/00000001.redb"), &honest).unwrap();
    is_unproven(&fixture);
    assert!(has_key(&fixture, 1), "a mark alone destroys nothing");
    edit(&fixture, "keys.redb", |txn| {
        let mut marks = txn.open_table(MARKS).unwrap();
        marks.remove(&ada().0).unwrap();
    });
    let login = json!({"username": "ada", "password": PASSWORD});
    assert!(fixture.send(&fixture.start(), "start-login", login).is_ok());
}

/// Ada's one life had one key.
#[test]
fn an_erasure_in_the_log_proves_the_key_numbers_of_its_lives_and_no_other() {
    let fixture = stopped();
    let engine = fixture.start();
    let erase = json!({"account_id": "ada", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    drop(engine);
    fs::remove_dir_all(fixture.keyring().with_file_name("tombstones")).unwrap();
    let good = fs::read(fixture.data().join("keys.redb")).unwrap();
    for (generation, is_said) in [(1, true), (2, false), (u32::MAX, false)] {
        fs::write(fixture.data().join("keys.redb"), &good).unwrap();
        put_mark(&fixture, generation);
        edit(&fixture, "keys.redb", |txn| {
            let mut keys = txn.open_table(KEYS).unwrap();
            keys.insert(&name(generation), &[0; 64]).unwrap();
        });
        if is_said {
            drop(fixture.start());
        } else {
            is_unproven(&fixture);
        }
        assert_eq!(has_key(&fixture, generation), !is_said);
    }
}

/// With or without the erasure, with or without a seal; the mark is a true one.
#[test]
fn a_backup_of_a_stopped_service_believes_no_erasure_that_the_service_did_not_write() {
    for with_keyring in [false, true] {
        for (follows, seal) in [(false, None), (true, None), (true, Some([0; 8]))] {
            let fixture = stopped();
            let engine = fixture.start();
            let version = engine.shared.index.version(&ada()).unwrap();
            drop(engine);
            append_erasure(&fixture, if follows { version + 1 } else { 99 }, seal);
            remove_key(&fixture);
            put_mark(&fixture, 1);
            let keys = fixture.backups().keys.join("keys.redb");
            let before = fs::read(&keys).unwrap();
            let refused = back_up(&fixture, with_keyring).map(|_| ());
            assert!(refused.is_err(), "{with_keyring} {follows} {seal:?}");
            assert!(fs::read(&keys).unwrap() == before);
            check(&fixture, with_keyring).unwrap();
        }
    }
}

#[test]
fn a_backup_of_a_stopped_service_with_its_keyring_believes_what_the_service_wrote() {
    let fixture = stopped();
    let engine = fixture.start();
    let erase = json!({"account_id": "ada", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    drop(engine);
    fs::remove_dir_all(fixture.keyring().with_file_name("tombstones")).unwrap();
    let refused = back_up(&fixture, false).unwrap_err();
    assert!(refused.contains("--keyring"), "{refused}");
    back_up(&fixture, true).unwrap();
    for with_keyring in [false, true] {
        check(&fixture, with_keyring).unwrap();
    }
}

#[test]
fn a_true_mark_beside_its_key_is_in_no_backup() {
    let fixture = stopped();
    put_mark(&fixture, 1);
    let keys = fixture.backups().keys.join("keys.redb");
    let before = fs::read(&keys).unwrap();
    for with_keyring in [false, true] {
        assert!(back_up(&fixture, with_keyring).is_err());
        assert!(fs::read(&keys).unwrap() == before);
    }
    fs::copy(fixture.data().join("keys.redb"), &keys).unwrap();
    for with_keyring in [false, true] {
        let bad = check(&fixture, with_keyring).unwrap_err().to_string();
        assert!(bad.contains("were erased"), "{bad}");
    }
}

/// The copies are those of a first backup, so no earlier copy contradicts them.
#[test]
fn a_true_mark_is_no_proof_of_an_erasure_that_the_copied_log_does_not_have() {
    let fixture = stopped();
    remove_key(&fixture);
    put_mark(&fixture, 1);
    for folder in [fixture.backups().log, fixture.backups().keys] {
        fs::remove_dir_all(folder).unwrap();
    }
    back_up(&fixture, true).unwrap();
    for with_keyring in [false, true] {
        let bad = check(&fixture, with_keyring).unwrap_err();
        assert!(matches!(bad, BadBackup::ErasureUnproven(_)), "{bad}");
    }
}

/// The log was read, then the account erased, then the keys copied.
#[test]
fn a_tombstone_proves_an_erasure_behind_the_end_of_the_copied_log() {
    let fixture = stopped();
    let (log, early) = (fixture.backups().log, fixture.folder().join("early"));
    copy(&log, &early);
    let engine = fixture.start();
    let erase = json!({"account_id": "ada", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    engine.admin().backup().unwrap();
    drop(engine);
    restore(&early, &log);
    check(&fixture, true).unwrap();
    let bad = check(&fixture, false).unwrap_err();
    assert!(matches!(bad, BadBackup::ErasureUnproven(_)), "{bad}");
    fs::remove_dir_all(fixture.keyring().with_file_name("tombstones")).unwrap();
    let bad = check(&fixture, true).unwrap_err();
    assert!(matches!(bad, BadBackup::ErasureUnproven(_)), "{bad}");
}
