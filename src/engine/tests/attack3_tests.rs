//! Third attack: marks of erasure, copies.

use std::fs;

use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::Record;
use redb::{ReadableTable, TableDefinition, TableHandle};
use serde_json::json;

use super::appended_tests::open;
use super::changed_tests::{RECORDS, edit};
use super::house::{House, PASSWORD, verify};
use crate::account::service;
use crate::engine::copies::verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
use crate::engine::copies::backup::back_up_stopped_service;

const CLAIMS: TableDefinition<&[u8; 16], u32> = TableDefinition::new("erased_v1");
const MARKS: TableDefinition<&[u8; 16], &[u8; 20]> = TableDefinition::new("erased_v2");
const KEYS: TableDefinition<&[u8; 20], &[u8; 64]> = TableDefinition::new("data_keys_v1");

fn stream(account: &str) -> StreamKey {
    StreamKey::of(&AccountId::parse(account).unwrap())
}

fn name(stream: &StreamKey, generation: u32) -> [u8; 20] {
    let mut name = [0; 20];
    name[..16].copy_from_slice(&stream.0);
    name[16..].copy_from_slice(&generation.to_be_bytes());
    name
}

fn check(house: &House, with_keyring: bool) -> Result<CheckedBackup, BadBackup> {
    let scratch = tempfile::tempdir().unwrap();
    let (folders, keyring) = (house.backups(), house.keyring());
    let asked = BackupToVerify {
        log: &folders.log,
        keys: Some(&folders.keys),
        keyring: with_keyring.then_some(&keyring),
        scratch: scratch.path(),
    };
    verify_backup(&asked, |_, _| {})
}

fn has_key(house: &House, account: &str) -> bool {
    let mut has = false;
    edit(house, "keys.redb", |txn| {
        let keys = txn.open_table(KEYS).unwrap();
        has = keys.get(&name(&stream(account), 1)).unwrap().is_some();
    });
    has
}

fn mark_of(house: &House, account: &str) -> Option<[u8; 20]> {
    let mut found = None;
    edit(house, "keys.redb", |txn| {
        let marks = txn.open_table(MARKS).unwrap();
        found = marks.get(&stream(account).0).unwrap().map(|mark| *mark.value());
    });
    found
}

/// "Ada was erased", without reason and seal, made of another record.
fn erased_record(of: &[u8], account: &str, version: u32) -> Vec<u8> {
    let mut record = Record::decode(of).unwrap().into_owned();
    let event: Event = service::account_erased();
    record.event_type = event.type_code();
    record.schema_version = event.schema_version();
    record.stream_kind = countersign_schemas::record::StreamKind::Account;
    record.stream_key = stream(account);
    record.version = version;
    record.payload = event.encode().unwrap().into();
    (record.meta.source, record.meta.source_commitment) = (None, None);
    record.encode().unwrap()
}

/// Who can write the data folder of a stopped service changes one signed record in the middle of the
/// log, and writes a claim of an older build. Both are put back after one start.
#[test]
fn attack_1_a_start_makes_a_mark_for_a_log_that_it_has_not_checked() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    house.enrol(&engine, "bob");
    engine.admin().backup().unwrap();
    drop(engine);
    assert!(has_key(&house, "ada"));
    let good_log = fs::read(house.data().join("log/00000001.redb")).unwrap();
    let good_keys = fs::read(house.data().join("keys.redb")).unwrap();
    let head = { let log = open(&house); let h = log.head(); log.close().unwrap(); h };
    let target = head - 2;
    edit(&house, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        let record = table.get(target).unwrap().unwrap().value().to_vec();
        let lie = erased_record(&record, "ada", 99);
        table.insert(target, lie.as_slice()).unwrap();
    });
    edit(&house, "keys.redb", |txn| {
        txn.open_table(CLAIMS).unwrap().insert(&stream("ada").0, 1).unwrap();
    });
    let tried = house.try_start();
    println!("START with changed record: {:?}", tried.as_ref().map(|_| ()).map_err(|e| e.to_string()));
    drop(tried);
    println!("ada has key: {}, mark: {:?}", has_key(&house, "ada"), mark_of(&house, "ada"));
    let mark = mark_of(&house, "ada");
    // The honest log comes back.
    fs::write(house.data().join("log/00000001.redb"), &good_log).unwrap();
    let tried = house.try_start();
    println!("START with honest log: {:?}", tried.as_ref().map(|_| ()).map_err(|e| e.to_string()));
    if let Ok(engine) = tried {
        let login = json!({"username": "ada", "password": PASSWORD});
        println!("login ada: {:?}", house.send(&engine, "start-login", login));
        println!("status: {:?}", engine.queries().login_status(&AccountId::parse("ada").unwrap(), None).map(|s| s.second_factor));
        println!("verify: {:?}", house.send(&engine, "verify-login", verify("000000")));
        println!("backup over the good one: {:?}", engine.admin().backup().map(|b| b.position));
        println!("register eve as ada: {:?}", house.send(&engine, "register-account", json!({"account_id": "eve", "username": "ada", "password": PASSWORD})));
        fs::remove_dir_all(house.backups().log).unwrap();
        fs::remove_dir_all(house.backups().keys).unwrap();
        println!("backup anew: {:?}", engine.admin().backup().map(|b| b.position));
        println!("verify backup with keyring: {:?}", check(&house, true));
        println!("verify backup without: {:?}", check(&house, false).map_err(|e| e.to_string()));
        drop(engine);
    }
    // The operator restores the good keys; the attacker adds the mark that he kept.
    fs::write(house.data().join("keys.redb"), &good_keys).unwrap();
    assert!(has_key(&house, "ada"));
    edit(&house, "keys.redb", |txn| {
        txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark.unwrap()).unwrap();
    });
    let tried = house.try_start();
    println!("START with restored keys and kept mark: {:?}", tried.as_ref().map(|_| ()).map_err(|e| e.to_string()));
    drop(tried);
    println!("ada has key after that: {}", has_key(&house, "ada"));
    assert!(has_key(&house, "ada"), "ada's key was destroyed by a mark that the service made for a lie");
}

/// Nothing proves the end of a stopped log to `backup`: with the keyring beside it, too.
#[test]
fn attack_2_a_backup_of_a_stopped_service_believes_an_appended_erasure() {
    for with_keyring in [false, true] {
        let house = House::new();
        let engine = house.start();
        house.enrol(&engine, "ada");
        house.enrol(&engine, "bob");
        engine.admin().backup().unwrap();
        drop(engine);
        let mut log = open(&house);
        let head = log.head();
        let last = log.reader().get(head).unwrap().unwrap();
        log.append(head, &[erased_record(&last, "ada", 99)]).unwrap();
        log.close().unwrap();
        edit(&house, "keys.redb", |txn| {
            txn.open_table(KEYS).unwrap().remove(&name(&stream("ada"), 1)).unwrap();
            let mut mark = [0; 20];
            mark[0] = 1;
            txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark).unwrap();
        });
        let keyring = house.keyring();
        let taken = back_up_stopped_service(&house.data(), with_keyring.then_some(&keyring), &house.backups(), house.time());
        println!("keyring {with_keyring}: backup {:?}", taken.as_ref().map(|t| t.log.position).map_err(|e| e.to_string()));
        println!("keyring {with_keyring}: verify without {:?}", check(&house, false).map_err(|e| e.to_string()));
        println!("keyring {with_keyring}: verify with {:?}", check(&house, true).map_err(|e| e.to_string()));
        let copy = redb::Database::open(house.backups().keys.join("keys.redb")).unwrap();
        let txn = copy.begin_write().unwrap();
        let kept = txn.open_table(KEYS).unwrap().get(&name(&stream("ada"), 1)).unwrap().is_some();
        println!("keyring {with_keyring}: copy still has ada's key: {kept}");
    }
}

/// As above with the keyring, and with a mark that the service itself made by attack 1.
#[test]
fn attack_2b_with_keyring_and_a_true_mark() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    house.enrol(&engine, "bob");
    engine.admin().backup().unwrap();
    drop(engine);
    let mut log = open(&house);
    let head = log.head();
    let last = log.reader().get(head).unwrap().unwrap();
    log.append(head, &[erased_record(&last, "ada", 99)]).unwrap();
    log.close().unwrap();
    let keyring = crate::crypto::keyring::Keyring::load(&house.keyring()).unwrap();
    let tag = keyring.file_key("keys.redb").tag(&[&stream("ada").0, &1u32.to_le_bytes()]);
    let mut mark = [0; 20];
    mark[0] = 1;
    mark[4..].copy_from_slice(&tag);
    edit(&house, "keys.redb", |txn| {
        txn.open_table(KEYS).unwrap().remove(&name(&stream("ada"), 1)).unwrap();
        txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark).unwrap();
    });
    let ring = house.keyring();
    let taken = back_up_stopped_service(&house.data(), Some(&ring), &house.backups(), house.time());
    println!("2b: backup {:?}", taken.as_ref().map(|t| t.log.position).map_err(|e| e.to_string()));
    println!("2b: verify with {:?}", check(&house, true).map_err(|e| e.to_string()));
    println!("2b: verify without {:?}", check(&house, false).map_err(|e| e.to_string()));
}

/// The second life of an id is claimed to have had every number.
#[test]
fn attack_3_a_claim_of_every_generation_is_adopted() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    house.enrol(&engine, "bob");
    house.send(&engine, "erase-account", json!({"account_id": "ada", "reason": "r"})).unwrap();
    drop(engine);
    edit(&house, "keys.redb", |txn| {
        txn.open_table(CLAIMS).unwrap().insert(&stream("ada").0, u32::MAX).unwrap();
    });
    let engine = house.start();
    println!("register ada again: {:?}", house.send(&engine, "register-account", json!({"account_id": "ada", "username": "ada", "password": PASSWORD})));
    println!("login bob: {:?}", house.send(&engine, "start-login", json!({"username": "bob", "password": PASSWORD})));
    println!("failed: {:?}, finding {:?}", *engine.failed().borrow(), engine.finding());
    drop(engine);
    println!("mark: {:?}", mark_of(&house, "ada"));
    assert_ne!(mark_of(&house, "ada").map(|mark| mark[..4].to_vec()), Some(vec![255; 4]), "3: a claim beyond what the log had was signed");
    let tried = house.try_start();
    println!("START: {:?}", tried.as_ref().map(|_| ()).map_err(|e| e.to_string()));
    if let Ok(engine) = tried {
        println!("login bob: {:?}", house.send(&engine, "start-login", json!({"username": "bob", "password": PASSWORD})));
        println!("register ada again: {:?}", house.send(&engine, "register-account", json!({"account_id": "ada", "username": "ada", "password": PASSWORD})));
        println!("login bob: {:?}", house.send(&engine, "start-login", json!({"username": "bob", "password": PASSWORD})));
    }
    let _ = KEYS.name();
}

/// A copy that is locked for a moment is taken for one that cannot be read.
#[test]
fn attack_4_a_locked_copy_has_nothing_to_lose() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    engine.admin().backup().unwrap();
    drop(engine);
    edit(&house, "keys.redb", |txn| {
        txn.open_table(KEYS).unwrap().remove(&name(&stream("ada"), 1)).unwrap();
    });
    let engine = house.start();
    println!("4: unlocked: {:?}", engine.admin().backup().map(|b| b.position).map_err(|e| e.detail));
    let file = fs::File::open(house.backups().keys.join("keys.redb")).unwrap();
    file.lock().unwrap();
    println!("4: locked: {:?}", engine.admin().backup().map(|b| b.position).map_err(|e| e.detail));
    drop(file);
    let copy = redb::Database::open(house.backups().keys.join("keys.redb")).unwrap();
    let txn = copy.begin_write().unwrap();
    let kept = txn.open_table(KEYS).unwrap().get(&name(&stream("ada"), 1)).unwrap().is_some();
    println!("4: copy still has ada's key: {kept}");
    assert!(kept);
}

fn true_mark(house: &House, account: &str) -> [u8; 20] {
    let keyring = crate::crypto::keyring::Keyring::load(&house.keyring()).unwrap();
    let tag = keyring.file_key("keys.redb").tag(&[&stream(account).0, &1u32.to_le_bytes()]);
    let mut mark = [0; 20];
    mark[0] = 1;
    mark[4..].copy_from_slice(&tag);
    mark
}

/// The record follows, so that the copy even proves itself.
#[test]
fn attack_5_an_appended_erasure_that_follows() {
    for with_keyring in [false, true] {
        let house = House::new();
        let engine = house.start();
        house.enrol(&engine, "ada");
        house.enrol(&engine, "bob");
        engine.admin().backup().unwrap();
        let version = engine.shared.index.version(&stream("ada")).unwrap();
        drop(engine);
        let mut log = open(&house);
        let head = log.head();
        let last = log.reader().get(head).unwrap().unwrap();
        let mut record = Record::decode(&erased_record(&last, "ada", version + 1)).unwrap().into_owned();
        (record.group_index, record.group_len) = (0, 1);
        let id = countersign_schemas::ids::CommandId::parse("forged").unwrap();
        record.command_key = countersign_schemas::ids::CommandKey::of(&record.meta.caller, &id);
        record.meta.command_id = "forged".into();
        record.seal = Some([0; 8]);
        log.append(head, &[record.encode().unwrap()]).unwrap();
        log.close().unwrap();
        // With the keyring the mark must be a true one: attack 1 makes it.
        let mark = if with_keyring { true_mark(&house, "ada") } else { let mut m = [0; 20]; m[0] = 1; m };
        edit(&house, "keys.redb", |txn| {
            txn.open_table(KEYS).unwrap().remove(&name(&stream("ada"), 1)).unwrap();
            txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark).unwrap();
        });
        let ring = house.keyring();
        let taken = back_up_stopped_service(&house.data(), with_keyring.then_some(&*ring), &house.backups(), house.time());
        println!("5 keyring {with_keyring}: backup {:?}", taken.as_ref().map(|t| t.log.position).map_err(|e| e.to_string()));
        assert!(taken.is_err(), "5: a good copy was replaced for an erasure that nobody wrote");
        println!("5 keyring {with_keyring}: verify without {:?}", check(&house, false).map_err(|e| e.to_string()));
        println!("5 keyring {with_keyring}: verify with {:?}", check(&house, true).map_err(|e| e.to_string()));
    }
}

/// An agent asks for nothing to clear, of anybody.
#[test]
fn attack_6_clear_attempts_tells_of_everybody_for_nothing() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let before = engine.readings().head;
    let mut told = std::collections::BTreeMap::<String, u32>::new();
    for at in 0..2_000 {
        let id = if at % 10 == 0 { "ada".to_owned() } else { format!("nobody-{at}") };
        let body = json!({"account_id": id, "reason": "looking"});
        let result = house.send(&engine, "clear-attempts", body);
        *told.entry(format!("{:?}", result.map(|_| ()))).or_default() += 1;
    }
    println!("6: {told:?}; records left {}", engine.readings().head - before);
    let body = json!({"account_id": "ada", "code": "000000"});
    println!("6: wrong code {:?}", house.send(&engine, "verify-login", body).map(|_| ()));
}

/// The keyring's file lost its retired keys, or has another seed, while the service runs.
#[test]
fn attack_7_an_exchanged_keyring_with_the_same_active_key() {
    use sha2::{Digest, Sha256};
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let text = fs::read_to_string(house.keyring()).unwrap();
    let (body, _) = text.rsplit_once("\n[check]\n").unwrap();
    let at = body.find("checkpoint_seed = \"").unwrap() + "checkpoint_seed = \"".len();
    let mut body = body.to_owned();
    let digit = if &body[at..=at] == "0" { "1" } else { "0" };
    body.replace_range(at..=at, digit);
    let check = data_encoding::HEXLOWER.encode(&Sha256::digest(body.as_bytes()));
    fs::write(house.keyring(), format!("{body}\n[check]\nsha256 = \"{check}\"\n")).unwrap();
    let shared = &engine.shared;
    shared.standing.look(&shared.vault, &engine.admin().log);
    println!("7: {:?}", shared.standing.wrong());
    assert!(shared.standing.wrong().is_some(), "7: another seed goes unseen");
    drop(engine);
    println!("7: START {:?}", house.try_start().map(|_| ()).map_err(|e| e.to_string()));
}

const CHECKS: TableDefinition<u32, &[u8; 32]> = TableDefinition::new("kek_checks_v1");

/// Without the keyring a copy takes over a check that no keyring has, or a mark that none made.
#[test]
fn attack_9_a_copy_that_no_service_opens_replaces_a_good_one() {
    for choice in 0..3 {
        let house = House::new();
        let engine = house.start();
        house.enrol(&engine, "ada");
        engine.admin().backup().unwrap();
        drop(engine);
        edit(&house, "keys.redb", |txn| match choice {
            0 => _ = txn.open_table(CHECKS).unwrap().insert(7, &[7; 32]).unwrap(),
            1 => txn.open_table(CHECKS).unwrap().retain(|_, _| false).unwrap(),
            _ => {
                let mut mark = [0; 20];
                mark[0] = 1;
                _ = txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark).unwrap();
            }
        });
        let taken = back_up_stopped_service(&house.data(), None, &house.backups(), house.time());
        println!("9 {choice}: backup {:?}", taken.as_ref().map(|t| t.log.position).map_err(|e| e.to_string()));
        assert!(taken.is_err(), "9: a copy that no service opens replaced a good one");
        println!("9 {choice}: verify without {:?}", check(&house, false).map_err(|e| e.to_string()));
        println!("9 {choice}: verify with {:?}", check(&house, true).map_err(|e| e.to_string()));
        fs::copy(house.backups().keys.join("keys.redb"), house.data().join("keys.redb")).unwrap();
        println!("9 {choice}: START on the restored copy {:?}", house.try_start().map(|_| ()).map_err(|e| e.to_string()));
    }
}

/// A true mark beside the living key: what the next backup, its check and a restoration make of it.
#[test]
fn attack_10_a_true_mark_beside_the_key_poisons_the_backup() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    engine.admin().backup().unwrap();
    drop(engine);
    let mark = true_mark(&house, "ada");
    edit(&house, "keys.redb", |txn| {
        txn.open_table(MARKS).unwrap().insert(&stream("ada").0, &mark).unwrap();
    });
    let ring = house.keyring();
    let taken = back_up_stopped_service(&house.data(), Some(&ring), &house.backups(), house.time());
    println!("10: backup {:?}", taken.as_ref().map(|t| t.log.position).map_err(|e| e.to_string()));
    println!("10: verify with {:?}", check(&house, true).map_err(|e| e.to_string()));
    fs::copy(house.backups().keys.join("keys.redb"), house.data().join("keys.redb")).unwrap();
    println!("10: before the start ada has her key: {}", has_key(&house, "ada"));
    println!("10: START on the restored copy {:?}", house.try_start().map(|_| ()).map_err(|e| e.to_string()));
    println!("10: ada has her key: {}", has_key(&house, "ada"));
    assert!(has_key(&house, "ada"), "10: a mark alone destroyed a key of which the log has no erasure");
}
