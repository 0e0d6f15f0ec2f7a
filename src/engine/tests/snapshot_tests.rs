//! Snapshots: folding on from a snapshot gives the same account as folding everything.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::AttemptsSuppressed;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::Account;
use crate::engine::accounts::snapshots::TAIL_MAX;
use crate::log::{EventLog, LogOptions};

/// An account with a history of every kind of event, longer than a snapshot's tail.
fn long_life(fixture: &Fixture) -> (crate::engine::Engine, StreamKey) {
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let code = fixture.code(&secret, 0);
    for body in [
        verify(&code),
        verify(&code),
        verify("000000"),
        verify(&codes[2]),
        verify(&codes[2]),
    ] {
        let _ = fixture.send(&engine, "verify-login", body);
    }
    for password in std::iter::repeat_n(PASSWORD, TAIL_MAX).chain(["wrong password"; 3]) {
        let _ = fixture.send(
            &engine,
            "start-login",
            json!({"username": "ada", "password": password}),
        );
    }
    (engine, StreamKey::of(&AccountId::parse("ada").unwrap()))
}

#[test]
fn folding_on_from_a_snapshot_at_any_version_gives_the_same_account() {
    let fixture = Fixture::new();
    let (engine, ada) = long_life(&fixture);
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
        let snapshots = fixture.snapshots(&path);
        let place = engine
            .shared
            .index
            .places(&ada, version - 1, version)
            .unwrap()[0];
        let account = accounts.rebuild(ada, version, u64::MAX).unwrap();
        snapshots.save(&[(ada, place, account.clone())]);
        assert_eq!(snapshots.load(ada, u32::MAX), Some((place, account)));
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
    let fixture = Fixture::new();
    let (engine, ada) = long_life(&fixture);
    engine
        .shared
        .accounts
        .rebuild(ada, u32::MAX, u64::MAX)
        .unwrap();
    engine.shared.accounts.save_snapshots();
    drop(engine);
    let engine = fixture.start();
    let snapshots = fixture.snapshots(&fixture.folder().join("copy.redb"));
    assert!(snapshots.load(ada, u32::MAX).is_none());
    assert!(engine.shared.accounts.snapshot_version(ada).is_some());
    let damaged = fixture.folder().join("damaged.redb");
    std::fs::write(&damaged, b"no database").unwrap();
    assert!(fixture.snapshots(&damaged).load(ada, u32::MAX).is_none());
}

/// So a long history is not folded again.
#[test]
fn an_account_goes_on_from_what_its_snapshot_says() {
    let fixture = Fixture::new();
    let (engine, ada) = long_life(&fixture);
    let accounts = &engine.shared.accounts;
    let version = TAIL_MAX as u32;
    let mut account = accounts.rebuild(ada, version, u64::MAX).unwrap();
    account.set_no += 7;
    let place = engine
        .shared
        .index
        .places(&ada, version - 1, version)
        .unwrap()[0];
    let snapshots = fixture.snapshots(&fixture.folder().join("copy.redb"));
    snapshots.save(&[(ada, place, account.clone())]);
    let from_snapshot = accounts.with_snapshots(snapshots);
    let whole = from_snapshot.rebuild(ada, u32::MAX, u64::MAX).unwrap();
    assert_eq!(whole.set_no, account.set_no);
}

/// Every part of the fold is in the fingerprint: a file left out would let an old state live on.
#[test]
fn every_file_that_folds_an_account_is_in_the_fingerprint() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("src/engine/accounts/snapshots.rs")).unwrap();
    let mut folding = 0;
    let mut folders = vec![root.join("src/account")];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root.join("src")).unwrap().display();
            if text.contains("impl Account {") && text.contains("(&mut self") {
                folding += 1;
                assert!(list.contains(&format!("\"../../{name}\"")), "{name}");
            }
        }
    }
    assert!(folding > 3, "the files are found");
}

/// Appends this many events to an account, as a long attack would, without the service.
fn prolong(fixture: &Fixture, account: &AccountId, from: u32, events: u32) {
    let mut log = EventLog::open(&fixture.data().join("log"), LogOptions::default()).unwrap();
    let event = Event::AttemptsSuppressed(AttemptsSuppressed { count: 1 });
    let payload = event.encode().unwrap();
    let versions: Vec<u32> = (from + 1..=from + events).collect();
    for part in versions.chunks(512) {
        let record = |version: &u32| {
            let command_id = CommandId::parse(&format!("attack-{version}")).unwrap();
            Record {
                event_type: event.type_code(),
                schema_version: event.schema_version(),
                stream_kind: StreamKind::Account,
                stream_key: StreamKey::of(account),
                version: *version,
                recorded_at: fixture.time(),
                command_key: CommandKey::of("test", &command_id),
                group_index: 0,
                group_len: 1,
                meta: Meta {
                    account_id: account.as_str().into(),
                    command_id: command_id.as_str().to_owned().into(),
                    caller: "test".into(),
                    verified: true,
                    role: Role::Platform,
                    trace_id: None,
                    body_tag: [0; 16],
                    source_key: [0; 8],
                    source: None,
                    source_commitment: None,
                },
                payload: payload.clone().into(),
                seal: None,
            }
        };
        fixture.append(&mut log, part.iter().map(record).collect());
    }
    log.close().unwrap();
}

/// S-04: 100,000 events on one account cost one fold, and a login afterwards reads a tail.
#[test]
fn an_account_with_a_hundred_thousand_events_is_folded_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    let ada = AccountId::parse("ada").unwrap();
    let stream = StreamKey::of(&ada);
    let version = engine.shared.accounts.load(stream).unwrap().version;
    drop(engine);
    prolong(&fixture, &ada, version, 100_000);
    let engine = fixture.start();
    let whole = engine.shared.accounts.load(stream).unwrap();
    assert_eq!(whole.version, version + 100_000);
    engine.shared.accounts.save_snapshots();
    drop(engine);
    let engine = fixture.start();
    let kept = engine.shared.accounts.snapshot_version(stream);
    assert_eq!(
        kept,
        Some(whole.version),
        "what a rebuild reads begins there"
    );
    assert_eq!(engine.shared.accounts.load(stream).unwrap(), whole);
    fixture.pass(30);
    let login = verify(&fixture.code(&secret, 0));
    fixture.send(&engine, "verify-login", login).unwrap();
    let now = engine.shared.accounts.load(stream).unwrap();
    assert_eq!(now.version, whole.version + 1);
}
