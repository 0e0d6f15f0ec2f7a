//! Snapshots: folding on from one gives what folding everything gives.

use countersign_schemas::ids::{AccountId, StreamKey};
use serde_json::json;

use super::house::{House, PASSWORD, verify};
use super::snapshots::{Snapshots, TAIL_MAX};
use crate::account::Account;
use crate::log::Storage;

/// An account with a history of every kind of event, longer than a snapshot's tail.
fn long_life(house: &House) -> (super::Engine, StreamKey) {
    let engine = house.start();
    let (secret, codes) = house.enrol(&engine, "ada");
    house.pass(30);
    let code = house.code(&secret, 0);
    for body in [
        verify(&code),
        verify(&code),
        verify("000000"),
        verify(&codes[2]),
        verify(&codes[2]),
    ] {
        let _ = house.send(&engine, "verify-login", body);
    }
    for password in std::iter::repeat_n(PASSWORD, TAIL_MAX).chain(["wrong password"; 3]) {
        let _ = house.send(
            &engine,
            "start-login",
            json!({"username": "ada", "password": password}),
        );
    }
    (engine, StreamKey::of(&AccountId::parse("ada").unwrap()))
}

#[test]
fn folding_on_from_a_snapshot_at_any_version_gives_the_same_account() {
    let house = House::new();
    let (engine, ada) = long_life(&house);
    let accounts = &engine.shared.accounts;
    let whole = accounts.rebuild(ada, u32::MAX, u64::MAX).unwrap();
    assert!(whole.version as usize > TAIL_MAX);
    let folder = tempfile::tempdir().unwrap();
    for version in 0..=whole.version {
        let at = accounts.rebuild(ada, version, u64::MAX).unwrap();
        assert_eq!(at.version, version);
        if version == 0 {
            continue;
        }
        let bytes = postcard::to_allocvec(&at).unwrap();
        assert_eq!(
            postcard::from_bytes::<Account>(&bytes).unwrap(),
            at,
            "version {version}"
        );
    }
    let path = folder.path().join("snapshots.redb");
    for version in 1..=whole.version {
        let snapshots = Snapshots::open(&Storage::default(), &path);
        snapshots.save(&[(ada, accounts.rebuild(ada, version, u64::MAX).unwrap())]);
        assert_eq!(snapshots.load(ada, u32::MAX).unwrap().version, version);
        assert!(
            snapshots.load(ada, version - 1).is_none(),
            "a later one is of no use"
        );
        let from_snapshot = accounts.with_snapshots(snapshots);
        assert_eq!(
            from_snapshot.rebuild(ada, u32::MAX, u64::MAX).unwrap(),
            whole,
            "version {version}"
        );
    }
}

#[test]
fn a_long_history_leaves_a_snapshot_that_the_next_start_uses() {
    let house = House::new();
    let (engine, ada) = long_life(&house);
    engine
        .shared
        .accounts
        .rebuild(ada, u32::MAX, u64::MAX)
        .unwrap();
    engine.shared.accounts.save_snapshots();
    drop(engine);
    let engine = house.start();
    let snapshots = Snapshots::open(&Storage::default(), &house.folder().join("copy.redb"));
    assert!(snapshots.load(ada, u32::MAX).is_none());
    assert!(engine.shared.accounts.has_snapshot(ada));
    let damaged = house.folder().join("damaged.redb");
    std::fs::write(&damaged, b"no database").unwrap();
    assert!(
        Snapshots::open(&Storage::default(), &damaged)
            .load(ada, u32::MAX)
            .is_none()
    );
}
