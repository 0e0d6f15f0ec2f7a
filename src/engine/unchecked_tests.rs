//! A start that did not check the seals at the end of the log must not sign it, and what the keys
//! say during one start must not remain in an index that later starts trust.

use std::fs;

use countersign_schemas::event::Event;
use countersign_schemas::event::reset::v1::ResetExecuted;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::{Record, StreamKind};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;
use redb::TableDefinition;
use serde_json::json;

use super::tests::{PAGE, exchange, forget, patch, records, renumber};
use crate::account::service;
use crate::crypto::keyring::Keyring;
use crate::engine::start::foundation::{Foundation, service_record};
use crate::engine::system_random;
use crate::engine::tests::appended_tests::{Signed, forged, open};
use crate::engine::tests::changed_tests::edit;
use crate::engine::tests::epoch_tests::{archive, begin, copy, restore, restored};
use crate::engine::tests::fixture::{Fixture, PASSWORD, verify};
use crate::engine::tests::marks_tests::{MARKS, true_mark};
use crate::log::LogOptions;
use crate::log::checkpoints::COPY;

fn ada() -> StreamKey {
    StreamKey::of(&AccountId::parse("ada").unwrap())
}

/// The log is refused, and nothing more was signed.
fn is_refused(fixture: &Fixture) {
    let signed = archive(fixture).newest().unwrap().size;
    assert!(fixture.try_start().is_err());
    assert_eq!(archive(fixture).newest().unwrap().size, signed);
}

/// Four logins after the last checkpoint, as after a crash, and the attacker's records after them.
/// The file shows an epoch of another log to a reader that searches for the last login, and the
/// login to one that comes from before it: leaves `…, login | forged | epoch | forged`, the last
/// two numbered down by two.
#[test]
fn an_epoch_that_only_a_search_finds_excuses_no_unsealed_record() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    let signed = Signed::of(&fixture);
    let engine = fixture.start();
    for code in &codes[..4] {
        fixture.send(&engine, "verify-login", verify(code)).unwrap();
    }
    drop(engine);
    signed.restore();
    forget(&fixture, &[COPY]);
    let login = records(&fixture).len() as u64;
    assert!(archive(&fixture).newest().unwrap().size + 1 < login - 1);
    // Each is too long to share a page.
    let mut off = forged(&open(&fixture));
    (off.seal, off.meta.caller) = (None, "x".repeat(3 * PAGE).into());
    let off = off.encode().unwrap();
    let epoch = service::log_went_on(2, [9; 16], 2, fixture.time(), "forged");
    let mut epoch = service_record(&epoch, 99, fixture.time());
    epoch.meta.caller = "x".repeat(3 * PAGE).into();
    let end = [off.clone(), epoch.encode().unwrap(), off];
    exchange(&fixture, login + 1, &end);
    patch(&fixture, |page| {
        let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
        if page[0] == 1 && count == 1 {
            renumber(page, std::iter::once(8), login + 2, login);
            renumber(page, std::iter::once(8), login + 3, login + 1);
        }
        if page[0] == 2 {
            let keys = 8 + (16 + 8) * (count + 1);
            for from in login..=login + 2 {
                renumber(page, (0..count).map(|key| keys + 8 * key), from, from - 2);
            }
        }
        if let Some(at) = page.windows(10).position(|part| part == b"records_v1") {
            renumber(page, at..at + 64, login + 3, login + 1);
        }
    });
    let log = open(&fixture);
    let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
    let (at, bytes) = page.iter().last().unwrap();
    assert_eq!((at, Record::decode(bytes).unwrap().seal), (login + 1, None));
    let found = log.reader().get(login).unwrap().unwrap();
    let found = Record::decode(&found).unwrap();
    assert_eq!(found.stream_kind, StreamKind::Log, "another layout");
    drop(log);
    is_refused(&fixture);
}

/// Unsealed, after a genuine event that begins another epoch: the keyring's own epoch again.
fn append_the_epoch_of_the_keyring(fixture: &Fixture, before_it: Vec<Vec<u8>>) {
    let log_id = *Keyring::load(&fixture.keyring()).unwrap().log_id();
    let all = records(fixture);
    let is_of_log = |bytes: &&Vec<u8>| {
        let record = Record::decode(bytes).unwrap();
        record.stream_kind == StreamKind::Log
    };
    let version = all.iter().filter(is_of_log).count() as u32 + 1;
    let again = service_record(&service::log_begun(log_id), version, fixture.time());
    let mut end = before_it;
    end.push(again.encode().unwrap());
    exchange(fixture, all.len() as u64 + 1, &end);
}

/// `log new-epoch` was killed after its first step, and the checkpoint beside the keyring is of
/// this log, as if the stream has more than the log.
#[test]
fn behind_an_interrupted_new_epoch_the_old_one_does_not_begin_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let next = records(&fixture).len() as u64 + 1;
    let (data, keyring, now) = (fixture.data(), fixture.keyring(), fixture.time());
    let options = LogOptions::default();
    let found = Foundation::open(&data, &keyring, options, system_random, now);
    let event = service::log_went_on(2, [7; 16], next, now, "the stream knows more");
    let mut found = found.unwrap();
    found.append(&event, now).unwrap();
    drop(found);
    append_the_epoch_of_the_keyring(&fixture, Vec::new());
    is_refused(&fixture);
}

/// The keyring folder is from the day before `log new-epoch`. The forged record resets Ada, which
/// no agent did.
#[test]
fn an_older_keyring_does_not_go_on_where_its_own_epoch_is_made_to_begin_again() {
    let (fixture, ..) = restored();
    let keys = fixture.keyring().parent().unwrap().to_owned();
    let older = fixture.folder().join("older keys");
    copy(&keys, &older);
    fs::remove_file(older.join("checkpoint")).unwrap();
    let history = fs::read_to_string(older.join("checkpoint-history")).unwrap();
    let is_old = |line: &&str| !line.contains(" 15 ");
    let old: Vec<_> = history.lines().filter(is_old).collect();
    fs::write(older.join("checkpoint-history"), old.join("\n") + "\n").unwrap();
    begin(&fixture, 12).unwrap();
    restore(&older, &keys);
    let all = records(&fixture);
    let mut decoded = all.iter().rev().map(|bytes| Record::decode(bytes).unwrap());
    let mut reset = decoded
        .find(|record| record.stream_key == ada())
        .unwrap()
        .into_owned();
    let field = Sealed {
        key: 1,
        nonce: [0; 12],
        ciphertext: vec![0; 32].into(),
    };
    let event = Event::ResetExecuted(ResetExecuted {
        case_id: "none".into(),
        told_until: Micros(0),
        reason: Protected::Sealed(field),
    });
    reset.event_type = event.type_code();
    reset.schema_version = event.schema_version();
    reset.payload = event.encode().unwrap().into();
    reset.version += 1;
    reset.recorded_at = fixture.time();
    (reset.group_index, reset.group_len, reset.seal) = (0, 1, None);
    (reset.meta.source, reset.meta.source_commitment) = (None, None);
    append_the_epoch_of_the_keyring(&fixture, vec![reset.encode().unwrap()]);
    is_refused(&fixture);
}

const KEYS: TableDefinition<&[u8; 20], &[u8; 64]> = TableDefinition::new("data_keys_v1");

/// During one start the key store marks Ada as erased, and the index is built; then the mark is
/// removed.
#[test]
fn a_key_store_that_calls_an_account_erased_frees_no_name() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let keys = fixture.data().join("keys.redb");
    let honest = fs::read(&keys).unwrap();
    let mark = true_mark(&fixture, 1);
    edit(&fixture, "keys.redb", |txn| {
        let mut marks = txn.open_table(MARKS).unwrap();
        marks.insert(&ada().0, &mark).unwrap();
        let mut table = txn.open_table(KEYS).unwrap();
        table.retain(|name, _| name[..16] != ada().0).unwrap();
    });
    forget(&fixture, &["index.redb", "snapshots.redb", "views.redb"]);
    drop(fixture.try_start());
    fs::write(&keys, &honest).unwrap();
    let engine = fixture.start();
    let register =
        json!({"account_id": "eve", "username": "ada", "password": "the password of eve"});
    let registered = fixture.send(&engine, "register-account", register);
    assert_eq!(registered.unwrap_err(), ErrorCode::AccountExists);
    let login = json!({"username": "ada", "password": PASSWORD});
    assert!(fixture.send(&engine, "start-login", login).is_ok());
}

fn register(id: &str) -> serde_json::Value {
    json!({"account_id": id, "username": id, "password": PASSWORD})
}

fn erase(id: &str) -> serde_json::Value {
    json!({"account_id": id, "reason": "as asked"})
}

/// The service was killed between the tombstone of the second erasure and its record, and its index
/// is gone. There are several accounts, since the tombstone that is read last depends on the name.
#[test]
fn an_account_that_is_erased_twice_stops_no_start() {
    for n in 0..8 {
        let fixture = Fixture::new();
        let engine = fixture.start();
        let id = format!("ada-{n}");
        for (name, body) in [
            ("register-account", register(&id)),
            ("erase-account", erase(&id)),
            ("register-account", register(&id)),
        ] {
            fixture.send(&engine, name, body).unwrap();
        }
        drop(engine);
        let (signed, before) = (Signed::of(&fixture), fixture.folder().join("before"));
        copy(&fixture.data(), &before);
        let engine = fixture.start();
        fixture.send(&engine, "erase-account", erase(&id)).unwrap();
        drop(engine);
        restore(&before, &fixture.data());
        signed.restore();
        forget(&fixture, &["index.redb"]);
        let started = fixture.try_start().map(|_| ());
        assert!(started.is_ok(), "{:?}", started.unwrap_err());
    }
}

/// The erasure was lost with the end of the log, which begins a new epoch; its tombstone stays
/// beside the keyring.
#[test]
fn a_tombstone_of_a_lost_life_frees_no_name_of_a_later_one() {
    let fixture = Fixture::new();
    drop(fixture.start());
    let before = fixture.folder().join("before");
    copy(&fixture.data(), &before);
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    for n in 0..20 {
        let other = register(&format!("user-{n}"));
        fixture.send(&engine, "register-account", other).unwrap();
    }
    fixture
        .send(&engine, "erase-account", erase("ada"))
        .unwrap();
    drop(engine);
    restore(&before, &fixture.data());
    let due = open(&fixture).head() + 1;
    begin(&fixture, due).unwrap();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let keys = fixture.data().join("keys.redb");
    let honest = fs::read(&keys).unwrap();
    let mark = true_mark(&fixture, 9);
    edit(&fixture, "keys.redb", |txn| {
        let mut marks = txn.open_table(MARKS).unwrap();
        marks.insert(&ada().0, &mark).unwrap();
        let mut table = txn.open_table(KEYS).unwrap();
        table.retain(|name, _| name[..16] != ada().0).unwrap();
    });
    forget(&fixture, &["index.redb", "snapshots.redb", "views.redb"]);
    assert!(
        fixture.try_start().is_err(),
        "nothing speaks for the erasure"
    );
    fs::write(&keys, &honest).unwrap();
    let engine = fixture.start();
    let mut eve = register("eve");
    eve["username"] = json!("ada");
    let registered = fixture.send(&engine, "register-account", eve);
    assert_eq!(registered.unwrap_err(), ErrorCode::AccountExists);
}
