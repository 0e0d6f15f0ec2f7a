//! A restored `keys.redb` that is older than an account: the account gets no other key, so that
//! the true file still opens what is sealed for it.

use std::fs;

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use serde_json::json;

use super::fixture::{Fixture, PASSWORD};
use crate::account::Reply;
use crate::engine::Engine;

fn bob() -> StreamKey {
    StreamKey::of(&AccountId::parse("bob").unwrap())
}

fn log_in(
    fixture: &Fixture,
    engine: &Engine,
    name: &str,
    password: &str,
) -> Result<Reply, ErrorCode> {
    let body = json!({"username": name, "password": password});
    fixture.send(engine, "start-login", body)
}

/// Swaps in another key store; the one that was there is at the other place afterwards.
fn swap_keys(fixture: &Fixture) {
    let (keys, other) = (
        fixture.data().join("keys.redb"),
        fixture.folder().join("other"),
    );
    let between = fixture.folder().join("between");
    fs::rename(&keys, &between).unwrap();
    fs::rename(&other, &keys).unwrap();
    fs::rename(&between, &other).unwrap();
}

fn copy_keys(fixture: &Fixture) {
    fs::copy(
        fixture.data().join("keys.redb"),
        fixture.folder().join("other"),
    )
    .unwrap();
}

/// Each of these seals a field for the account without opening one.
fn acts_that_only_seal() -> [(&'static str, serde_json::Value); 2] {
    [
        (
            "suspend-factor",
            json!({"account_id": "bob", "reason": "the phone is stolen", "ticket": "T-1"}),
        ),
        (
            "request-reset",
            json!({"account_id": "bob", "reason": "lost", "ticket": "T-1"}),
        ),
    ]
}

#[test]
fn an_account_whose_key_is_missing_gets_no_other_one() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    copy_keys(&fixture);
    let engine = fixture.start();
    fixture.enrol(&engine, "bob");
    drop(engine);
    swap_keys(&fixture);
    let engine = fixture.start();
    for (name, body) in acts_that_only_seal() {
        let refused = fixture.send(&engine, name, body).unwrap_err();
        assert_eq!(refused, ErrorCode::StoreUnavailable, "{name}");
    }
    for password in [PASSWORD, "another long password"] {
        let refused = log_in(&fixture, &engine, "bob", password).unwrap_err();
        assert_eq!(refused, ErrorCode::StoreUnavailable);
    }
    assert_eq!(engine.shared.vault.last_generation(bob()).unwrap(), 0);
    assert!(
        log_in(&fixture, &engine, "ada", PASSWORD).is_ok(),
        "others go on"
    );
    fixture.enrol(&engine, "cleo");
    drop(engine);
    // With its true store, the account is as it was, and each of the acts is possible again.
    swap_keys(&fixture);
    let engine = fixture.start();
    assert!(log_in(&fixture, &engine, "bob", PASSWORD).is_ok());
    for (name, body) in acts_that_only_seal() {
        let done = fixture.send(&engine, name, body);
        assert!(done.is_ok(), "{name}: {done:?}");
    }
}

/// An older store may have the key of an earlier life, which its erasure destroyed.
#[test]
fn a_second_life_whose_key_is_missing_gets_no_other_one() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "bob");
    drop(engine);
    copy_keys(&fixture);
    let engine = fixture.start();
    let erased = json!({"account_id": "bob", "reason": "asked for it"});
    fixture.send(&engine, "erase-account", erased).unwrap();
    fixture.enrol(&engine, "bob");
    assert_eq!(engine.shared.vault.last_generation(bob()).unwrap(), 2);
    drop(engine);
    swap_keys(&fixture);
    let engine = fixture.start();
    for (name, body) in acts_that_only_seal() {
        let refused = fixture.send(&engine, name, body).unwrap_err();
        assert_eq!(refused, ErrorCode::StoreUnavailable, "{name}");
    }
    assert_eq!(engine.shared.vault.last_generation(bob()).unwrap(), 1);
}

#[test]
fn an_account_whose_key_is_lost_for_good_can_be_erased_and_registered_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    drop(engine);
    copy_keys(&fixture);
    let engine = fixture.start();
    fixture.enrol(&engine, "bob");
    drop(engine);
    swap_keys(&fixture);
    let engine = fixture.start();
    let erased = json!({"account_id": "bob", "reason": "its key is lost"});
    fixture.send(&engine, "erase-account", erased).unwrap();
    fixture.enrol(&engine, "bob");
    assert!(log_in(&fixture, &engine, "bob", PASSWORD).is_ok());
    drop(engine);
    // The true store's key of the erased life is destroyed by its tombstone.
    swap_keys(&fixture);
    let engine = fixture.start();
    assert!(engine.shared.vault.is_erased(bob(), 1).unwrap());
}

#[test]
fn the_key_of_the_log_itself_is_in_every_store_from_the_first_on() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let log = engine.shared.vault.last_generation(StreamKey::LOG).unwrap();
    assert_eq!(log, 1, "so no older store lacks it");
}
