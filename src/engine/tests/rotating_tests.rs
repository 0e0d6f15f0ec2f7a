//! Rotating keys: nothing is lost, nothing stays under the old key, and a start continues a
//! rotation.

use std::collections::BTreeMap;

use countersign_schemas::event::Event;
use countersign_schemas::refusal::ErrorCode;
use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Policy, Reply};
use crate::crypto::keyring::{Keyring, ROTATION_ENTROPY_BYTES};
use crate::engine::Engine;

fn rotate(fixture: &Fixture, engine: &Engine) -> Result<u32, ErrorCode> {
    let body = json!({"reason": "a yearly custom"});
    match fixture.send(engine, "rotate-keys", body) {
        Ok(Reply::KeysRotated { key_id }) => Ok(key_id),
        Ok(other) => panic!("{other:?}"),
        Err(code) => Err(code),
    }
}

fn log_in(fixture: &Fixture, engine: &Engine) -> Reply {
    let body = json!({"username": "ada", "password": PASSWORD});
    fixture.send(engine, "start-login", body).unwrap()
}

/// The names of the events that are about keys and verifiers, in order.
fn key_events(engine: &Engine) -> Vec<&'static str> {
    let shared = &engine.shared;
    let events = (1..=shared.progress.committed())
        .map(|position| shared.accounts.record(position).unwrap().event().unwrap());
    let of_keys = events.filter(|event| {
        matches!(
            event,
            Event::KeysRotated(_) | Event::DataKeysRewrapped(_) | Event::PasswordRehashed(_)
        )
    });
    of_keys.map(|event| event.name()).collect()
}

/// Waits until every rotation is complete, and returns how many keys each key wraps.
fn settled(engine: &Engine) -> BTreeMap<u32, u64> {
    while crate::engine::keys::rotations::is_under_way(&engine.shared.index).unwrap() {
        std::thread::yield_now();
    }
    assert!(!engine.shared.vault.is_outdated().unwrap());
    engine.shared.vault.key_counts().unwrap()
}

#[test]
fn after_a_rotation_the_new_key_wraps_everything_and_everything_still_opens() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    assert_eq!(rotate(&fixture, &engine), Ok(2));
    // The account's own data key, and the log's, which seals the reason.
    assert_eq!(settled(&engine), BTreeMap::from([(2, 2)]));
    fixture.pass(60);
    let code = fixture.code(&secret, 0);
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap();
    fixture
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    log_in(&fixture, &engine);
    log_in(&fixture, &engine);
    let once = ["keys-rotated", "data-keys-rewrapped", "password-rehashed"];
    assert_eq!(
        key_events(&engine),
        once,
        "the pepper follows at the first login"
    );
    drop(engine);
    let engine = fixture.start();
    log_in(&fixture, &engine);
    assert_eq!(key_events(&engine), once);
    assert_eq!(settled(&engine), BTreeMap::from([(2, 2)]));
}

#[test]
fn the_same_command_rotates_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let body = json!({"reason": "a yearly custom"});
    for replayed in [false, true] {
        let outcome = fixture.send_as(&engine, "once", "rotate-keys", body.clone());
        assert_eq!(outcome.replayed, replayed);
        let reply = outcome.result.unwrap().reply;
        assert!(matches!(reply, Reply::KeysRotated { key_id: 2 }));
    }
    settled(&engine);
    drop(engine);
    let engine = fixture.start();
    let outcome = fixture.send_as(&engine, "once", "rotate-keys", body);
    assert!(outcome.replayed && outcome.result.is_ok());
}

#[test]
fn one_rotation_waits_for_the_one_before() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let erase = json!({"account_id": "ada", "reason": "she asked for it"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    // The key store was rewritten a moment ago, so the next rewrite waits for the minute.
    assert_eq!(rotate(&fixture, &engine), Ok(2));
    assert_eq!(rotate(&fixture, &engine), Err(ErrorCode::Overloaded));
    fixture.pass(60);
    settled(&engine);
    assert_eq!(rotate(&fixture, &engine), Ok(3));
    drop(engine);
    let engine = fixture.start();
    assert_eq!(settled(&engine), BTreeMap::from([(3, 1)]));
}

#[test]
fn a_rotation_that_stands_in_the_keyring_alone_is_recorded_and_completed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let path = fixture.keyring();
    let keyring = Keyring::load(&path).unwrap();
    keyring
        .rotate(&path, &[7; ROTATION_ENTROPY_BYTES], fixture.time().0)
        .unwrap();
    let engine = fixture.start();
    // The account's and the log's.
    assert_eq!(settled(&engine), BTreeMap::from([(2, 2)]));
    log_in(&fixture, &engine);
    let once = ["keys-rotated", "data-keys-rewrapped", "password-rehashed"];
    assert_eq!(key_events(&engine), once);
    assert_eq!(rotate(&fixture, &engine), Ok(3));
}

#[test]
fn a_restored_old_key_store_is_wrapped_again_and_an_old_keyring_is_refused_with_either() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let (keys, keyring) = (fixture.data().join("keys.redb"), fixture.keyring());
    let old = |name: &str| fixture.folder().join(name);
    std::fs::copy(&keys, old("old-keys")).unwrap();
    std::fs::copy(&keyring, old("old-keyring")).unwrap();
    let engine = fixture.start();
    rotate(&fixture, &engine).unwrap();
    settled(&engine);
    drop(engine);
    std::fs::copy(&keyring, old("new-keyring")).unwrap();
    std::fs::copy(old("old-keyring"), &keyring).unwrap();
    let refused = fixture.try_start().err().unwrap().to_string();
    assert!(
        refused.contains("was not made with this keyring"),
        "{refused}"
    );
    std::fs::copy(old("old-keys"), &keys).unwrap();
    let refused = fixture.try_start().err().unwrap().to_string();
    assert!(refused.contains("is an old copy"), "{refused}");
    std::fs::copy(old("new-keyring"), &keyring).unwrap();
    let engine = fixture.start();
    while engine.shared.vault.is_outdated().unwrap() {
        std::thread::yield_now();
    }
    log_in(&fixture, &engine);
    let counts = engine.shared.vault.key_counts().unwrap();
    assert_eq!(counts, BTreeMap::from([(2, 2)]));
}

#[test]
fn a_keyring_that_was_replaced_meanwhile_is_not_overwritten() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let path = fixture.keyring();
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert_eq!(rotate(&fixture, &engine), Err(ErrorCode::StoreUnavailable));
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    std::fs::write(&path, good).unwrap();
    assert_eq!(rotate(&fixture, &engine), Ok(2));
    log_in(&fixture, &engine);
}

#[test]
fn a_login_under_a_stronger_policy_hashes_the_password_again_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let with_memory = |kdf_memory_kib| {
        fixture.start_with(|options| {
            options.policy = Policy {
                kdf_memory_kib,
                ..options.policy.clone()
            };
        })
    };
    let engine = with_memory(16);
    log_in(&fixture, &engine);
    log_in(&fixture, &engine);
    assert_eq!(key_events(&engine), ["password-rehashed"]);
    drop(engine);
    let engine = with_memory(8);
    log_in(&fixture, &engine);
    assert_eq!(
        key_events(&engine),
        ["password-rehashed"],
        "never a weaker one"
    );
}

/// One damaged row must delay neither the others nor every future rotation.
#[test]
fn a_rotation_comes_to_its_end_although_a_data_key_is_damaged() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let body = json!({"account_id": "bob", "username": "bob", "password": PASSWORD});
    fixture.send(&engine, "register-account", body).unwrap();
    drop(engine);
    damage_last_row(&fixture.data().join("keys.redb"));
    let engine = fixture.start();
    assert_eq!(rotate(&fixture, &engine), Ok(2));
    while crate::engine::keys::rotations::is_under_way(&engine.shared.index).unwrap() {
        std::thread::yield_now();
    }
    let counts = engine.shared.vault.key_counts().unwrap();
    assert_eq!(counts.get(&1), Some(&1));
    fixture.pass(60);
    assert_eq!(rotate(&fixture, &engine), Ok(3));
}

/// Changes the last byte of the wrapped key that is last in the key store.
fn damage_last_row(path: &std::path::Path) {
    let table = redb::TableDefinition::<&[u8; 20], &[u8; 64]>::new("data_keys_v1");
    let store = redb::Database::open(path).unwrap();
    let txn = store.begin_write().unwrap();
    {
        use redb::ReadableTable;
        let mut rows = txn.open_table(table).unwrap();
        let last = rows.last().unwrap().unwrap();
        let (name, mut row) = (*last.0.value(), *last.1.value());
        drop(last);
        row[63] ^= 1;
        rows.insert(&name, &row).unwrap();
    }
    txn.commit().unwrap();
}
