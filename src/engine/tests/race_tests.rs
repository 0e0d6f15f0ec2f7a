//! Guesses in parallel, over the real engine: a count is never beaten, and never forgotten.

use std::sync::mpsc;

use countersign_schemas::refusal::{ErrorCode, Refusal};
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::engine::Engine;

/// Guesses of one burst.
const BURST: usize = 1_000;

/// Sends many of the same command at once, and returns how many got this error.
fn burst(
    fixture: &Fixture,
    engine: &Engine,
    name: &str,
    body: &Value,
    expected: ErrorCode,
) -> usize {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..BURST {
        let id = fixture.fresh_id();
        let sender = sender.clone();
        let request = fixture.request(name, body, &id, engine);
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome.result.map(|_| ())).unwrap()),
        );
    }
    drop(sender);
    let refused = |answer: &Result<(), Refusal>| {
        answer
            .as_ref()
            .is_err_and(|refusal| refusal.code == expected)
    };
    receiver.iter().filter(refused).count()
}

/// Zitadel CVE-2023-47111, where parallel checks all passed the count before any had
/// raised it.
#[test]
fn zitadel_cve_2023_47111_of_a_thousand_parallel_wrong_codes_only_the_budget_is_compared() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let wrong = verify("000000");
    for n in 0..7 {
        fixture.pass(900);
        let reply = fixture.send(&engine, "verify-login", wrong.clone());
        assert_eq!(reply.unwrap_err(), ErrorCode::CodeInvalid, "{n}");
    }
    let mut compared = Vec::new();
    for _ in 0..5 {
        fixture.pass(900);
        compared.push(burst(
            &fixture,
            &engine,
            "verify-login",
            &wrong,
            ErrorCode::CodeInvalid,
        ));
    }
    assert_eq!(compared, [1, 1, 1, 0, 0], "three were left of the budget");
    let reply = fixture.send(&engine, "verify-login", wrong).unwrap_err();
    assert_eq!(reply, ErrorCode::CodeSecondRequired);
}

/// The same for passwords, as it was there: ten are free, the eleventh sets the wait.
#[test]
fn zitadel_cve_2023_47111_of_a_thousand_parallel_wrong_passwords_eleven_are_compared() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let wrong = json!({"username": "ada", "password": "wrong password"});
    let expected = ErrorCode::CredentialsInvalid;
    // At least one of a burst is compared while any may be.
    let compared: usize = (0..12)
        .map(|_| burst(&fixture, &engine, "start-login", &wrong, expected))
        .sum();
    assert_eq!(compared, 11);
}

/// D-03, R-04; Nextcloud CVE-2021-41177, where the count lived in a cache that was not there.
#[test]
fn nextcloud_cve_2021_41177_a_restart_forgets_no_failure_and_ends_no_wait() {
    let fixture = Fixture::new();
    let mut engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    for n in 0..10 {
        let reply = fixture.send(&engine, "verify-login", verify("000000"));
        assert_eq!(reply.unwrap_err(), ErrorCode::CodeInvalid, "{n}");
        drop(engine);
        engine = fixture.start();
        if n >= 3 {
            let right = verify(&fixture.code(&secret, 0));
            let reply = fixture.send(&engine, "verify-login", right);
            assert_eq!(reply.unwrap_err(), ErrorCode::AccountThrottled, "{n}");
        }
        fixture.pass(900);
    }
    let right = verify(&fixture.code(&secret, 0));
    let reply = fixture.send(&engine, "verify-login", right).unwrap_err();
    assert_eq!(reply, ErrorCode::CodeSecondRequired);
    let wrong = json!({"username": "ada", "password": "wrong password"});
    for _ in 0..11 {
        fixture
            .send(&engine, "start-login", wrong.clone())
            .unwrap_err();
    }
    drop(engine);
    let engine = fixture.start();
    let right = json!({"username": "ada", "password": PASSWORD});
    let reply = fixture.send(&engine, "start-login", right).unwrap_err();
    assert_eq!(reply, ErrorCode::AccountThrottled);
}
