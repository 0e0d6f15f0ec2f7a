//! One address that floods or sprays meets its own limits, and no owner elsewhere meets them.

use std::sync::mpsc;

use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD};
use crate::account::{LoginReply, Policy, Reply};
use crate::engine::{Engine, Outcome};

const SPRAYER: &str = "203.0.113.9";

fn sign_in(name: &str, password: &str, ip: &str) -> Value {
    json!({"username": name, "password": password, "context": {"ip": ip}})
}

fn register(fixture: &Fixture, engine: &Engine, name: &str) {
    let body = json!({"account_id": name, "username": name, "password": PASSWORD});
    fixture.send(engine, "register-account", body).unwrap();
}

fn refusal_of(fixture: &Fixture, engine: &Engine, body: Value) -> Option<ErrorCode> {
    fixture.send(engine, "start-login", body).err()
}

///
#[test]
fn one_password_on_every_name_is_slowed_down_by_the_address_it_comes_from() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    register(&fixture, &engine, "bob");
    // Ada has logged in from the office that the attacker shares.
    assert_eq!(
        refusal_of(&fixture, &engine, sign_in("ada", PASSWORD, SPRAYER)),
        None
    );
    let mut compared = 0;
    for n in 0..300 {
        let name = format!("name-{n}");
        let refused = refusal_of(&fixture, &engine, sign_in(&name, "Summer2026!", SPRAYER));
        compared += u32::from(refused == Some(ErrorCode::CredentialsInvalid));
        fixture.pass(1);
    }
    // A hundred are free, and in 200 s the waits of 5, 10, 20, 40, 80 and 160 s let six more pass.
    assert_eq!(compared, 106);
    let throttled = Some(ErrorCode::AccountThrottled);
    assert_eq!(
        refusal_of(&fixture, &engine, sign_in("bob", PASSWORD, SPRAYER)),
        throttled
    );
    assert_eq!(
        refusal_of(&fixture, &engine, sign_in("bob", PASSWORD, "192.0.2.7")),
        None
    );
    assert_eq!(
        refusal_of(&fixture, &engine, sign_in("ada", PASSWORD, SPRAYER)),
        None,
        "known here"
    );
}

/// Commands that passed the gate together are decided together: a comparison is never refused
/// later.
#[test]
fn what_an_address_sends_at_once_is_compared_and_counted_or_neither() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| options.policy.source_failures_free = 10);
    let (sender, receiver) = mpsc::channel();
    let before = engine.readings().comparisons;
    for n in 0..40 {
        let body = sign_in(&format!("name-{n}"), "a wrong password", SPRAYER);
        let request = fixture.request("start-login", &body, &fixture.fresh_id(), &engine);
        let sender = sender.clone();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    }
    drop(sender);
    let answers: Vec<_> = receiver
        .iter()
        .map(|o| o.result.unwrap_err().code)
        .collect();
    let count = |code| answers.iter().filter(|answer| **answer == code).count() as u64;
    let compared = engine.readings().comparisons - before;
    assert_eq!(count(ErrorCode::CredentialsInvalid), compared);
    assert_eq!(count(ErrorCode::AccountThrottled), 40 - compared);
    assert!((10..=12).contains(&compared), "{compared}");
}

/// the attack needs only the user name, and the owner's known place is not affected.
#[test]
fn a_crowd_at_an_account_does_not_keep_its_owner_out_where_they_logged_in_before() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(60);
    let log_in = |ip: &str| {
        let body = json!({"account_id": "ada", "password": PASSWORD, "context": {"ip": ip}});
        fixture.send(&engine, "start-login", body)
    };
    let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) = log_in("192.0.2.1")
    else {
        panic!("a challenge opens");
    };
    let code = fixture.code(&secret, 0);
    let body = json!({"challenge_id": challenge_id.reveal(), "code": code});
    fixture.send(&engine, "verify-login", body).unwrap();
    for n in 0..110 {
        let ip = format!("198.51.100.{n}");
        let refused = refusal_of(&fixture, &engine, sign_in("ada", "a wrong password", &ip));
        assert!(refused.is_some());
    }
    let refused = |ip| log_in(ip).err();
    assert_eq!(refused("192.0.2.1"), None, "at the first try");
    assert_eq!(refused("192.0.2.2"), None, "and at a new one");
    for _ in 0..2 {
        fixture.pass(60);
        refusal_of(
            &fixture,
            &engine,
            sign_in("ada", "a wrong password", "198.51.100.7"),
        );
    }
    assert_eq!(refused("198.51.100.7"), Some(ErrorCode::AccountThrottled));
    // With a code too, the owner can log in even from one of the crowd's addresses.
    let code = fixture.code(&secret, 1);
    let both = json!({"account_id": "ada", "password": PASSWORD, "code": code,
        "context": {"ip": "198.51.100.7"}});
    let verified = fixture.send(&engine, "start-login", both);
    assert!(matches!(
        verified,
        Ok(Reply::Login(LoginReply::Verified { .. }))
    ));
}

/// the attack: 80 sign-ins of random names at a time from one address.
#[test]
fn while_one_address_keeps_eighty_sign_ins_waiting_every_owner_elsewhere_is_answered() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| {
        options.policy.kdf_memory_kib = 256;
        options.policy.source_failures_free = 100_000;
    });
    let owners = 40;
    for n in 0..owners {
        register(&fixture, &engine, &format!("owner-{n}"));
    }
    let (floods, flood_replies) = mpsc::channel::<Outcome>();
    let mut sent = 0;
    let mut flood = |count: usize| {
        for _ in 0..count {
            sent += 1;
            let body = sign_in(&format!("random-{sent}"), "a wrong password", SPRAYER);
            let request = fixture.request("start-login", &body, &fixture.fresh_id(), &engine);
            let floods = floods.clone();
            engine.submit(request, Box::new(move |o| drop(floods.send(o))));
        }
    };
    flood(80);
    for n in 0..owners {
        let body = sign_in(&format!("owner-{n}"), PASSWORD, &format!("192.0.2.{n}"));
        assert_eq!(refusal_of(&fixture, &engine, body), None, "owner {n}");
        // The attacker keeps its eighty.
        let answered = flood_replies.try_iter().count();
        flood(answered);
    }
}

/// A login with password and code, where passwords of the account wait.
fn pair(password: &str, code: &str, ip: Option<&str>) -> Value {
    let mut body = json!({"account_id": "ada", "password": password, "code": code});
    if let Some(ip) = ip {
        body["context"] = json!({"ip": ip});
    }
    body
}

/// Wrong passwords until the source waits.
fn until_it_waits(fixture: &Fixture, engine: &Engine, ip: Option<&str>) {
    let mut body = pair("wrong", "", ip);
    body.as_object_mut().unwrap().remove("code");
    let wait = |_: &u32| {
        let refused = fixture.send(engine, "start-login", body.clone());
        refused.unwrap_err() == ErrorCode::AccountThrottled
    };
    assert!((0..1_000).any(|n| wait(&n)), "it never waits");
}

/// Returns how many of 500 wrong passwords with a code are compared.
fn compared(fixture: &Fixture, engine: &Engine, code: &str, ip: Option<&str>) -> usize {
    let tries = (0..500).map(|n| pair(&format!("guess {n}"), code, ip));
    let refused = tries.map(|body| fixture.send(engine, "start-login", body).unwrap_err());
    refused
        .filter(|code| *code == ErrorCode::CredentialsInvalid)
        .count()
}

/// An attacker who has one of the owner's backup codes and not the password, from one address, from
/// many, and through a platform that reports none.
#[test]
fn a_right_code_lets_few_wrong_passwords_past_a_wait() {
    let free = Policy::default().password_failures_free as usize;
    for ip in [None, Some("no address"), Some("203.0.113.9")] {
        let fixture = Fixture::new();
        let engine = fixture.start();
        let (_, codes) = fixture.enrol(&engine, "ada");
        until_it_waits(&fixture, &engine, ip);
        assert_eq!(
            compared(&fixture, &engine, &codes[0], ip),
            free + 1,
            "{ip:?}"
        );
        for n in 1..=5 {
            let other = format!("203.0.113.{n}");
            until_it_waits(&fixture, &engine, Some(&other));
            assert_eq!(compared(&fixture, &engine, &codes[0], Some(&other)), 0);
        }
    }
}

/// Otherwise an account would have one count for each text that names it.
#[test]
fn an_account_has_one_count_beside_a_right_code_whatever_names_it() {
    let ways = [("account_id", "ada"), ("username", "someone")];
    let free = Policy::default().password_failures_free as usize;
    for (first, other) in [(0, 1), (1, 0)] {
        let fixture = Fixture::new();
        let engine = fixture.start();
        let (_, codes) = fixture.enrol_as(&engine, "ada", "someone");
        let named = |way: usize, n: usize, code: Option<&str>| {
            let (by, text) = ways[way];
            let ip = format!("203.0.113.{}", way + 1);
            let mut body =
                json!({by: text, "password": format!("guess {n}"), "context": {"ip": ip}});
            body["code"] = code.into();
            fixture.send(&engine, "start-login", body).unwrap_err()
        };
        for way in [first, other] {
            let waits = |n: &usize| named(way, *n, None) == ErrorCode::AccountThrottled;
            assert!((0..1_000).any(|n| waits(&n)), "it never waits");
        }
        let compared = |way| {
            let answers = (0..100).map(|n| named(way, n, Some(&codes[0])));
            answers
                .filter(|code| *code == ErrorCode::CredentialsInvalid)
                .count()
        };
        assert_eq!(compared(first), free + 1, "{}", ways[first].0);
        assert_eq!(compared(other), 0, "{}", ways[other].0);
    }
}

/// An attacker without a code cannot lock the owner's pair out, and one caller or address has its
/// bound.
#[test]
fn wrong_codes_beside_wrong_passwords_keep_no_owner_out() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let wrong = "0000-0000-0000-0000";
    let free = Policy::default().source_failures_free as usize;
    for ip in [
        None,
        Some("a text"),
        Some("another text"),
        Some("203.0.113.9"),
    ] {
        until_it_waits(&fixture, &engine, ip);
    }
    assert_eq!(compared(&fixture, &engine, wrong, Some("a text")), free + 1);
    assert_eq!(compared(&fixture, &engine, wrong, Some("another text")), 0);
    assert_eq!(
        compared(&fixture, &engine, wrong, None),
        0,
        "the same caller"
    );
    let address = Some("203.0.113.9");
    assert_eq!(compared(&fixture, &engine, wrong, address), free + 1);
    let new = Some("203.0.113.77");
    until_it_waits(&fixture, &engine, new);
    let owner = fixture.send(&engine, "start-login", pair(PASSWORD, &codes[0], new));
    assert!(owner.is_ok(), "{:?}", owner.map(|_| ()));
}
