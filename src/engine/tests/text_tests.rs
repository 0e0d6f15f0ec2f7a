//! Wrong passwords by the text that names an account: as an id and as a username, known or unknown.

use std::sync::mpsc;

use countersign_schemas::refusal::{ErrorCode, Refusal};
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD};
use crate::engine::{Engine, Outcome};

const BY_ID: &str = "account_id";
const BY_NAME: &str = "username";
const HERE: &str = "203.0.113.7";
const ELSEWHERE: &str = "203.0.113.8";

/// A login with a text, taken as an id or as a username, from an address.
fn login((by, text): (&str, &str), ip: &str, right: bool) -> Value {
    let password = if right { PASSWORD } else { "a wrong password" };
    json!({by: text, "password": password, "context": {"ip": ip}})
}

fn tries(fixture: &Fixture, engine: &Engine, way: (&str, &str), ip: &str, right: bool) -> Outcome {
    let body = login(way, ip, right);
    fixture.send_as(engine, &fixture.fresh_id(), "start-login", body)
}

fn refused(outcome: Outcome) -> Refusal {
    outcome.result.map(|done| done.reply).unwrap_err()
}

fn register(fixture: &Fixture, engine: &Engine, id: &str, username: &str) {
    let body = json!({"account_id": id, "username": username, "password": PASSWORD});
    fixture.send(engine, "register-account", body).unwrap();
}

/// The owners of the text `ada`: no account, one with that id, one with that name, both, or one
/// account with both.
const HAVE_IT: [&[(&str, &str)]; 6] = [
    &[],
    &[("ada", "someone")],
    &[("u-1", "ada")],
    &[("ada", "someone"), ("u-1", "ada")],
    &[("ada", "ada")],
    &[("Ada", "ada")],
];

fn with(accounts: &[(&str, &str)]) -> (Fixture, Engine) {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for (id, username) in accounts {
        register(&fixture, &engine, id, username);
    }
    (fixture, engine)
}

/// otherwise the wait of one and the answer of the other show which of them exists.
#[test]
fn the_same_text_as_id_and_as_username_has_one_failure_bucket_for_every_account() {
    let ways = [
        ((BY_ID, "ada"), (BY_NAME, "ada")),
        ((BY_NAME, "ada"), (BY_ID, "ada")),
        ((BY_NAME, "ADA"), (BY_ID, "ada")),
        ((BY_ID, "Ada"), (BY_NAME, "ada")),
    ];
    for accounts in HAVE_IT {
        for (first, other) in ways {
            let (fixture, engine) = with(accounts);
            let answer = |way, ip| {
                let refusal = refused(tries(&fixture, &engine, way, ip, false));
                (refusal.code, refusal.retry_after_s)
            };
            let counted = (ErrorCode::CredentialsInvalid, None);
            for n in 0..11 {
                let way = if n % 3 == 2 { other } else { first };
                assert_eq!(answer(way, HERE), counted, "{accounts:?} {way:?}");
            }
            let waits = (ErrorCode::AccountThrottled, Some(5));
            for way in [first, other] {
                assert_eq!(answer(way, HERE), waits, "{accounts:?} {way:?}");
                assert_eq!(answer(way, ELSEWHERE), counted, "another source");
            }
        }
    }
}

/// text that is not an address counts as its caller, however it is written. In a list the
/// last address counts.
#[test]
fn a_caller_that_chooses_the_text_of_an_address_gets_no_new_attempts() {
    let written: [fn(usize) -> String; 2] = [
        |n| [format!("host-{n}"), format!("203.0.113.{n}, {n}.x")][n % 2].clone(),
        |n| format!("203.0.113.{n}, 198.51.100.7"),
    ];
    for accounts in [HAVE_IT[0], HAVE_IT[5]] {
        for write in written {
            let (fixture, engine) = with(accounts);
            let answer =
                |ip: &str| refused(tries(&fixture, &engine, (BY_NAME, "ada"), ip, false)).code;
            for n in 0..11 {
                assert_eq!(answer(&write(n)), ErrorCode::CredentialsInvalid, "{n}");
            }
            for n in 11..20 {
                assert_eq!(answer(&write(n)), ErrorCode::AccountThrottled, "{n}");
            }
            assert_eq!(
                answer(HERE),
                ErrorCode::CredentialsInvalid,
                "another source"
            );
        }
    }
}

/// A wait belongs to the source and the text, and does not apply to a source known at the account.
#[test]
fn other_texts_other_sources_and_known_ones_do_not_wait() {
    let (fixture, engine) = with(&[("ada", "someone"), ("u-1", "ada")]);
    for _ in 0..11 {
        refused(tries(&fixture, &engine, (BY_ID, "ada"), HERE, false));
    }
    let logs_in = |way, ip| tries(&fixture, &engine, way, ip, true).result.is_ok();
    assert!(!logs_in((BY_NAME, "ada"), HERE));
    assert!(logs_in((BY_NAME, "ada"), ELSEWHERE));
    assert!(logs_in((BY_ID, "u-1"), HERE));
    assert!(logs_in((BY_NAME, "ada"), HERE), "known there by now");
    assert!(!logs_in((BY_ID, "ada"), HERE), "by its own failures");
    fixture.pass(5);
    assert!(logs_in((BY_ID, "ada"), HERE));
}

/// As at the account itself: the right password clears the count of its source. With a second
/// factor it makes no source known.
#[test]
fn the_right_password_forgets_the_failures_of_its_source_at_the_text() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let answer = |right| tries(&fixture, &engine, (BY_ID, "ada"), HERE, right);
    for _ in 0..3 {
        for _ in 0..10 {
            assert_eq!(refused(answer(false)).code, ErrorCode::CredentialsInvalid);
        }
        assert!(answer(true).result.is_ok());
    }
}

/// A source that waits at an unknown text costs nothing, so at a known one it costs nothing either.
#[test]
fn nothing_is_compared_for_a_source_that_waits_at_the_text() {
    for accounts in HAVE_IT {
        let (fixture, engine) = with(accounts);
        for _ in 0..11 {
            refused(tries(&fixture, &engine, (BY_ID, "ada"), HERE, false));
        }
        let costs = || {
            let readings = engine.readings();
            (readings.comparisons, readings.hashes, readings.head)
        };
        let before = costs();
        for by in [BY_NAME, BY_ID] {
            for right in [true, false] {
                let refusal = refused(tries(&fixture, &engine, (by, "ada"), HERE, right));
                assert_eq!(refusal.code, ErrorCode::AccountThrottled);
            }
        }
        assert_eq!(costs(), before, "{accounts:?}");
    }
}

/// A failure at the text's other account, decided meanwhile, gives no wait to a user who was let
/// in.
#[test]
fn what_is_compared_at_two_accounts_of_a_text_at_once_is_on_record() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| options.policy.kdf_memory_kib = 4_096);
    register(&fixture, &engine, "ada", "someone");
    register(&fixture, &engine, "u-1", "ada");
    for _ in 0..10 {
        refused(tries(&fixture, &engine, (BY_ID, "ada"), HERE, false));
    }
    let before = engine.readings();
    let (sender, receiver) = mpsc::channel();
    for n in 0..8 {
        let by = if n % 2 == 0 { BY_ID } else { BY_NAME };
        let body = login((by, "ada"), HERE, false);
        let request = fixture.request("start-login", &body, &fixture.fresh_id(), &engine);
        let sender = sender.clone();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    }
    drop(sender);
    let codes: Vec<_> = receiver.iter().map(|o| refused(o).code).collect();
    let counted = |code: &&ErrorCode| **code == ErrorCode::CredentialsInvalid;
    let counted = codes.iter().filter(counted).count() as u64;
    let after = engine.readings();
    assert_eq!(after.comparisons - before.comparisons, counted, "{codes:?}");
    assert_eq!(after.head - before.head, counted, "{codes:?}");
    assert!((1..=2).contains(&counted), "one at each account: {codes:?}");
}
