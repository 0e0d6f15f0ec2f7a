//! The keyed hashes of secrets and addresses in the log, and what they are worth to an attacker who
//! has the log and the keyring.

use std::fs;

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::{Record, StreamKind};
use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD};
use crate::account::{LoginReply, Reply};
use crate::crypto::keyring::Keyring;
use crate::crypto::tag::{derived_key, tag};
use crate::crypto::tag_keys::TagKeys;
use crate::engine::Engine;
use crate::engine::counts::source::Source;
use crate::engine::data_folder::tag_keys_file;

const IP: &str = "192.0.2.7";
const DAY_S: u64 = 24 * 3_600;

fn records(engine: &Engine) -> Vec<Record<'static>> {
    let shared = &engine.shared;
    (1..=shared.progress.committed())
        .map(|position| shared.accounts.record(position).unwrap())
        .collect()
}

fn of<'a>(records: &'a [Record<'static>], account: &str) -> Vec<&'a Record<'static>> {
    records
        .iter()
        .filter(|record| record.meta.account_id == account)
        .collect()
}

fn login(name: &str, password: &str, ip: &str) -> Value {
    json!({"username": name, "password": password, "context": {"ip": ip}})
}

/// Sends it, always under the same id.
fn send(fixture: &Fixture, engine: &Engine, body: Value) -> (Result<Reply, ErrorCode>, bool) {
    let outcome = fixture.send_as(engine, "one-id", "start-login", body);
    let result = outcome.result.map(|done| done.reply);
    (result.map_err(|refusal| refusal.code), outcome.replayed)
}

fn is_mismatch(answer: (Result<Reply, ErrorCode>, bool)) {
    assert!(
        matches!(answer, (Err(ErrorCode::IdempotencyMismatch), false)),
        "{answer:?}"
    );
}

fn stream(account: &str) -> StreamKey {
    StreamKey::of(&AccountId::parse(account).unwrap())
}

fn ip_source() -> Source {
    let context = serde_json::from_value(json!({"ip": IP})).unwrap();
    Source::of(Some(&context), "test")
}

/// Returns every key in the keyring file, and what the code derives from it.
fn keys_of(keyring: &Keyring) -> Vec<[u8; 32]> {
    let mut keys = vec![*keyring.name_key(), *keyring.checkpoint_seed()];
    for about in keyring.keks() {
        keys.push(*keyring.kek(about.id).unwrap().as_bytes());
    }
    for about in keyring.peppers() {
        keys.push(keyring.pepper(about.id).unwrap().try_into().unwrap());
    }
    for label in [
        b"countersign source key v1".as_slice(),
        b"countersign assertion key",
    ] {
        let derived: Vec<_> = keys.iter().map(|key| *derived_key(key, label)).collect();
        keys.extend(derived);
    }
    keys
}

/// Returns every key as the keyring file contains it, for any purpose.
fn hex_keys_of(fixture: &Fixture) -> Vec<[u8; 32]> {
    let text = fs::read_to_string(fixture.keyring()).unwrap();
    let quoted = text.split('"').skip(1).step_by(2);
    let decoded = quoted.filter_map(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
    decoded.filter_map(|key| key.try_into().ok()).collect()
}

/// A-13.
/// T-LOG-KEYRING: the attack on earlier builds, one HMAC per guess: the whole body with a password
/// in it, under each key.
#[test]
fn the_log_and_the_keyring_together_test_no_password() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let commands = [
        (
            "register-account",
            json!({"account_id": "ada", "username": "ada", "password": PASSWORD}),
        ),
        ("start-login", login("ada", PASSWORD, IP)),
        ("start-login", login("ada", "wrong password", IP)),
        (
            "change-password",
            json!({"account_id": "ada", "password": PASSWORD, "new_password": "another good one"}),
        ),
        (
            "enable-2fa",
            json!({"account_id": "ada", "proof": {"password": "another good one"}}),
        ),
    ];
    let keyring = engine.shared.vault.keyring();
    let mut keys = keys_of(&keyring);
    keys.extend(hex_keys_of(&fixture));
    assert!(keys.len() >= 12, "{} keys", keys.len());
    for (name, body) in commands {
        let before = engine.shared.progress.committed();
        let _ = fixture.send(&engine, name, body.clone());
        let payload = serde_json::to_vec(&body).unwrap();
        let recorded = &records(&engine)[usize::try_from(before).unwrap()..];
        assert!(!recorded.is_empty(), "{name}");
        for (record, key) in recorded
            .iter()
            .flat_map(|r| keys.iter().map(move |k| (r, k)))
        {
            let guessed = tag(key, &[b"test", name.as_bytes(), &payload]);
            let stored = record.meta.body_tag;
            assert_ne!(stored, [0; 16]);
            assert!(stored != guessed && stored[4..] != guessed[4..], "{name}");
            assert_ne!(stored[4..], guessed[..12], "{name}");
        }
    }
    // Not with the tag keys either, as long as they live: a right and a wrong password are one.
    let tags = |password: &str| {
        fixture
            .request("start-login", &login("ada", password, IP), "x", &engine)
            .tags
    };
    assert_eq!(tags(PASSWORD).asked, tags("wrong password").asked);
    assert_ne!(tags(PASSWORD).exact, tags("wrong password").exact);
}

#[test]
fn two_accounts_with_one_address_have_source_keys_without_relation() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for name in ["ada", "eve"] {
        let body = json!({"account_id": name, "username": name, "password": PASSWORD,
            "context": {"ip": IP}});
        fixture.send(&engine, "register-account", body).unwrap();
        for ip in [IP, "[::ffff:192.0.2.7]:443"] {
            fixture
                .send(&engine, "start-login", login(name, PASSWORD, ip))
                .unwrap();
        }
    }
    let _ = fixture.send(&engine, "start-login", login("unknown", PASSWORD, IP));
    let records = records(&engine);
    let keys = |account: &str| -> Vec<_> {
        let all = of(&records, account).into_iter();
        all.map(|record| record.meta.source_key).collect()
    };
    let (ada, eve) = (keys("ada"), keys("eve"));
    assert!(ada.len() >= 3 && ada.iter().all(|key| *key == ada[0]));
    assert!(eve.len() >= 3 && eve.iter().all(|key| *key == eve[0]));
    assert_ne!(ada[0], eve[0]);
    assert!(![ada[0], eve[0]].contains(&[0; 8]));
    // No key of the keyring makes it, and the log's own records have none.
    let parts = ip_source();
    for key in keys_of(&engine.shared.vault.keyring()) {
        assert_ne!(tag(&key, &parts.parts())[..8], ada[0]);
    }
    let own = records
        .iter()
        .filter(|record| record.stream_kind == StreamKind::Log);
    assert!(
        own.clone()
            .any(|record| record.event().unwrap().name() == "unknown-name-refused")
    );
    assert!(own.clone().all(|record| record.meta.source_key == [0; 8]));
}

#[test]
fn an_erasure_ends_an_accounts_source_keys_and_its_next_life_has_others() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD,
        "context": {"ip": IP}});
    fixture
        .send(&engine, "register-account", register.clone())
        .unwrap();
    let vault = &engine.shared.vault;
    let before = of(&records(&engine), "ada")[0].meta.source_key;
    assert_eq!(
        vault.source_key(Some(stream("ada")), &ip_source()).unwrap(),
        before
    );
    let erase = json!({"account_id": "ada", "reason": "r", "context": {"ip": IP}});
    fixture.send(&engine, "erase-account", erase).unwrap();
    // An account without a data key has the source key of an unknown user: from a key of this
    // process.
    let unknown = vault.unknown_user_source_key(&ip_source());
    assert_eq!(
        vault.source_key(Some(stream("ada")), &ip_source()).unwrap(),
        unknown
    );
    assert_ne!(unknown, before);
    let erased = records(&engine);
    assert_eq!(of(&erased, "ada").last().unwrap().meta.source_key, before);
    fixture.send(&engine, "register-account", register).unwrap();
    let next = records(&engine);
    assert_ne!(of(&next, "ada").last().unwrap().meta.source_key, before);
    assert_ne!(
        vault.source_key(Some(stream("ada")), &ip_source()).unwrap(),
        before
    );
}

#[test]
fn a_source_goes_on_waiting_at_an_account_after_a_restart_however_its_address_is_written() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", register).unwrap();
    for _ in 0..11 {
        let refused = fixture.send(&engine, "start-login", login("ada", "wrong password", IP));
        assert_eq!(refused.unwrap_err(), ErrorCode::CredentialsInvalid);
    }
    drop(engine);
    let engine = fixture.start();
    for (ip, waits) in [(IP, true), ("::ffff:192.0.2.7", true), ("192.0.2.8", false)] {
        let answer = fixture.send(&engine, "start-login", login("ada", PASSWORD, ip));
        let is_refused = answer
            .as_ref()
            .is_err_and(|code| *code == ErrorCode::AccountThrottled);
        assert_eq!(is_refused, waits, "{ip}: {answer:?}");
    }
}

#[test]
fn beyond_two_minutes_a_repeat_is_recognised_by_what_is_no_secret() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", register).unwrap();
    let (first, replayed) = send(&fixture, &engine, login("ada", PASSWORD, IP));
    assert!(first.is_ok() && !replayed);
    let head = engine.shared.progress.committed();
    is_mismatch(send(&fixture, &engine, login("ada", "wrong password", IP)));
    is_mismatch(send(&fixture, &engine, login("ada", PASSWORD, "192.0.2.8")));
    fixture.pass(121);
    let later = |engine: &Engine| {
        for body in [
            login("ada", PASSWORD, IP),
            login("ada", "wrong password", "192.0.2.8"),
        ] {
            let (again, replayed) = send(&fixture, engine, body);
            assert!(replayed && matches!(again, Ok(Reply::Login(LoginReply::ByPassword { .. }))));
        }
        is_mismatch(send(&fixture, engine, login("eve", PASSWORD, IP)));
        assert_eq!(engine.shared.progress.committed(), head);
    };
    later(&engine);
    drop(engine);
    later(&fixture.start());
}

#[test]
fn without_its_tag_key_a_repeat_is_unseen_and_has_no_second_effect() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", register).unwrap();
    assert!(
        send(&fixture, &engine, login("ada", PASSWORD, IP))
            .0
            .is_ok()
    );
    let head = engine.shared.progress.committed();
    drop(engine);
    fs::remove_file(tag_keys_file(&fixture.data())).unwrap();
    let engine = fixture.start();
    for _ in 0..2 {
        let again = send(&fixture, &engine, login("ada", PASSWORD, IP));
        assert!(matches!(again, (Err(ErrorCode::OutcomeUnseen), false)));
    }
    assert_eq!(engine.shared.progress.committed(), head);
}

/// The key of a tag lives as long as a repeat of the tagged command may come, and no day longer.
#[test]
fn a_tag_key_is_destroyed_while_the_service_runs_and_when_it_starts() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", register).unwrap();
    let asked = |engine: &Engine| {
        fixture
            .request("start-login", &login("ada", PASSWORD, IP), "x", engine)
            .tags
            .asked
    };
    let tag = |engine: &Engine| engine.shared.vault.body_tag(&asked(engine));
    let is_it =
        |engine: &Engine, tag: &[u8; 16]| engine.shared.vault.is_body_tag(tag, &asked(engine));
    let first = tag(&engine);
    fixture.pass(DAY_S - 1);
    assert!(
        send(&fixture, &engine, login("ada", PASSWORD, IP))
            .0
            .is_ok()
    );
    fixture.pass(DAY_S - 1);
    let again = send(&fixture, &engine, login("ada", "wrong password", IP));
    assert!(matches!(again, (Ok(_), true)));
    let second = tag(&engine);
    assert_eq!(is_it(&engine, &first), Some(true));
    assert_ne!(first, second);
    fixture.pass(2);
    let _ = fixture.send(&engine, "start-login", login("ada", PASSWORD, IP));
    assert_eq!(
        [is_it(&engine, &first), is_it(&engine, &second)],
        [None, Some(true)]
    );
    drop(engine);
    fixture.pass(2 * DAY_S);
    let engine = fixture.start();
    assert_eq!(is_it(&engine, &second), None);
}

#[test]
fn a_rotation_while_log_time_is_ahead_of_the_clock_destroys_no_tag_key_early() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.set_wall((10 * DAY_S).cast_signed());
    fixture.send(&engine, "register-account", register).unwrap();
    fixture.set_wall(-(10 * DAY_S).cast_signed());
    assert!(
        send(&fixture, &engine, login("ada", PASSWORD, IP))
            .0
            .is_ok()
    );
    fixture
        .send(&engine, "rotate-keys", json!({"reason": "r"}))
        .unwrap();
    drop(engine);
    let again = send(&fixture, &fixture.start(), login("ada", PASSWORD, IP));
    assert!(matches!(again, (Ok(_), true)), "{again:?}");
}

#[test]
fn a_rotation_of_the_keys_leaves_repeats_recognised() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let register = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", register).unwrap();
    assert!(
        send(&fixture, &engine, login("ada", PASSWORD, IP))
            .0
            .is_ok()
    );
    fixture
        .send(&engine, "rotate-keys", json!({"reason": "r"}))
        .unwrap();
    // The file is wrapped with the new key at once, so the old one may be forgotten.
    let keyring = Keyring::load(&fixture.keyring()).unwrap();
    let file = TagKeys::read(&tag_keys_file(&fixture.data()), &keyring).unwrap();
    assert!(!file.is_due(&keyring, fixture.time().0));
    fixture.pass(121);
    assert!(matches!(
        send(&fixture, &engine, login("ada", PASSWORD, IP)),
        (Ok(_), true)
    ));
    drop(engine);
    assert!(matches!(
        send(&fixture, &fixture.start(), login("ada", PASSWORD, IP)),
        (Ok(_), true)
    ));
}
