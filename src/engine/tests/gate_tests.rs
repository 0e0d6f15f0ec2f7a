//! However a command fails late, either nothing of it was compared or its failure is on record; and
//! where it is refused, a right secret costs as much as a wrong one.
//!
//! Costs are counted, in comparisons and in Argon2id: no clock is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD};
use crate::account::{Reply, SecretReply};
use crate::crypto::otp::TotpSecret;
use crate::engine::{Engine, Outcome};

/// An account with 2FA on, and one that waits for its first code.
struct Person {
    account: String,
    secret: TotpSecret,
    codes: Vec<String>,
    /// A code of another account's set, well-formed and wrong.
    foreign_code: String,
    pending: (String, String, TotpSecret),
}

fn person(fixture: &Fixture, engine: &Engine, name: &str) -> Person {
    let (secret, codes) = fixture.enrol(engine, name);
    let (_, mut foreign) = fixture.enrol(engine, &format!("{name}-other"));
    let pending = format!("{name}-pending");
    let body = json!({"account_id": pending, "username": pending, "password": PASSWORD});
    fixture.send(engine, "register-account", body).unwrap();
    let body = json!({"account_id": pending, "proof": {"password": PASSWORD}});
    let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret: new,
        ..
    })) = fixture.send(engine, "enable-2fa", body)
    else {
        panic!("enrolment starts");
    };
    fixture.pass(30);
    Person {
        account: name.into(),
        secret,
        codes,
        foreign_code: foreign.swap_remove(0),
        pending: (pending, authenticator_id.as_str().into(), new),
    }
}

/// Every command that brings a secret, by its name; `is_right` says whether the secret is.
const ASKS: [(&str, &str); 12] = [
    ("start-login", "password"),
    ("enable-2fa", "password"),
    ("disable-2fa", "password"),
    ("disable-2fa", "app code"),
    ("disable-2fa", "backup code"),
    ("regenerate-backup-codes", "password"),
    ("regenerate-backup-codes", "app code"),
    ("change-password", "password"),
    ("change-password", "app code"),
    ("confirm-code", "app code"),
    ("verify-login", "app code"),
    ("verify-login", "backup code"),
];

/// Returns the body of a command, right in everything except perhaps the secret in question.
fn body(fixture: &Fixture, person: &Person, (name, secret): (&str, &str), is_right: bool) -> Value {
    let id = &person.account;
    let password = match (secret, is_right) {
        ("password", false) => "a wrong password",
        _ => PASSWORD,
    };
    let code = match (secret, is_right) {
        ("app code", true) => Some(fixture.code(&person.secret, 0)),
        ("app code", false) => Some("000000".to_owned()),
        ("backup code", true) => Some(person.codes[0].clone()),
        ("backup code", false) => Some(person.foreign_code.clone()),
        _ => None,
    };
    match name {
        "start-login" => json!({"account_id": id, "password": password}),
        "change-password" => json!({
            "account_id": id, "password": password, "new_password": "another good one", "code": code
        }),
        "confirm-code" => {
            let (id, authenticator, secret) = &person.pending;
            let code = match is_right {
                true => fixture.code(secret, 0),
                false => "000000".into(),
            };
            json!({"account_id": id, "authenticator_id": authenticator, "code": code})
        }
        "verify-login" => json!({"account_id": id, "code": code}),
        _ => json!({"account_id": id, "proof": {"password": password, "code": code}}),
    }
    .without_nulls()
}

trait WithoutNulls {
    fn without_nulls(self) -> Self;
}

impl WithoutNulls for Value {
    fn without_nulls(mut self) -> Self {
        if let Some(fields) = self.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            for value in fields.values_mut() {
                *value = value.take().without_nulls();
            }
        }
        self
    }
}

/// What a command cost and recorded.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Option<ErrorCode>,
    comparisons: u64,
    hashes: u64,
    events: u64,
}

fn counts(engine: &Engine) -> (u64, u64, u64) {
    let readings = engine.readings();
    (readings.comparisons, readings.hashes, readings.head)
}

fn seen(engine: &Engine, ask: impl FnOnce() -> Outcome) -> Seen {
    let before = counts(engine);
    let outcome = ask();
    let after = counts(engine);
    Seen {
        code: outcome.result.err().map(|refusal| refusal.code),
        comparisons: after.0 - before.0,
        hashes: after.1 - before.1,
        events: after.2 - before.2,
    }
}

/// Makes the command fail late, for a right and for a wrong secret, and checks both laws.
fn assert_fails_alike(
    way: &str,
    refused: impl Fn((&str, &str)) -> Option<ErrorCode>,
    prepare: impl Fn(&Fixture, &Engine, &Person),
) {
    for ask in ASKS {
        let Some(expected) = refused(ask) else {
            continue;
        };
        let [right, wrong] = [true, false].map(|is_right| {
            let fixture = Fixture::new();
            let engine = fixture.start();
            let person = person(&fixture, &engine, "ada");
            prepare(&fixture, &engine, &person);
            let body = body(&fixture, &person, ask, is_right);
            seen(&engine, || fixture.send_as(&engine, "late", ask.0, body))
        });
        // A wrong password is refused as such, where it is compared.
        let is_wrong = wrong.code == Some(ErrorCode::CredentialsInvalid);
        if ask.1 == "password" && is_wrong && right.code != wrong.code {
            assert!(
                wrong.comparisons == 0 || wrong.events > 0,
                "{way} {ask:?}: {wrong:?}"
            );
            continue;
        }
        assert_eq!(right, wrong, "{way} {ask:?}");
        assert_eq!(right.code, Some(expected), "{way} {ask:?}");
        // The password comes before the code, and is right here.
        let most = u64::from(brings_password(ask));
        assert!(
            right.comparisons <= most || right.events > 0,
            "{way} {ask:?}: {right:?}"
        );
    }
}

/// Whether the right password is compared before the code is checked.
fn brings_password((name, secret): (&str, &str)) -> bool {
    secret != "password" && !matches!(name, "verify-login" | "confirm-code")
}

fn app_code_of_a_login_or_proof(ask: (&str, &str), code: ErrorCode) -> Option<ErrorCode> {
    (ask.1 == "app code" && ask.0 != "confirm-code").then_some(code)
}

fn wrong_codes(fixture: &Fixture, engine: &Engine, account: &str, count: u64, apart_s: u64) {
    for _ in 0..count {
        let wrong = json!({"account_id": account, "code": "000000"});
        fixture.send(engine, "verify-login", wrong).unwrap_err();
        fixture.pass(apart_s);
    }
}

#[test]
fn behind_a_wait_no_app_code_is_compared() {
    assert_fails_alike(
        "throttled",
        |ask| app_code_of_a_login_or_proof(ask, ErrorCode::AccountThrottled),
        |fixture, engine, person| wrong_codes(fixture, engine, &person.account, 4, 0),
    );
}

#[test]
fn in_double_code_mode_a_single_code_is_not_compared_with_whatever_command_it_comes() {
    assert_fails_alike(
        "double code",
        |ask| app_code_of_a_login_or_proof(ask, ErrorCode::CodeSecondRequired),
        |fixture, engine, person| wrong_codes(fixture, engine, &person.account, 10, 900),
    );
}

#[test]
fn while_support_has_suspended_the_app_no_code_of_it_is_compared() {
    assert_fails_alike(
        "suspended",
        |ask| app_code_of_a_login_or_proof(ask, ErrorCode::FactorSuspended),
        |fixture, engine, person| {
            let stolen = json!({"account_id": person.account, "reason": "stolen", "ticket": "T-1"});
            fixture.send(engine, "suspend-factor", stolen).unwrap();
        },
    );
}

#[test]
fn behind_a_sources_wait_no_password_is_compared() {
    assert_fails_alike(
        "source waits",
        |ask| {
            let brings_password = ask.1 == "password" || brings_password(ask);
            brings_password.then_some(ErrorCode::AccountThrottled)
        },
        |fixture, engine, person| {
            for _ in 0..11 {
                let wrong = json!({"account_id": person.account, "password": "wrong password"});
                fixture.send(engine, "start-login", wrong).unwrap_err();
            }
        },
    );
}

#[test]
fn an_enrolment_that_lapsed_compares_nothing() {
    assert_fails_alike(
        "lapsed",
        |ask| (ask.0 == "confirm-code").then_some(ErrorCode::EnrolmentExpired),
        |fixture, _, _| fixture.pass(601),
    );
}

#[test]
fn a_wall_clock_behind_the_log_compares_no_code() {
    assert_fails_alike(
        "clock behind",
        |ask| (ask.1 != "password").then_some(ErrorCode::StoreUnavailable),
        |fixture, _, _| fixture.set_wall(-3_600),
    );
}

#[test]
fn an_erased_account_answers_a_right_secret_as_a_wrong_one() {
    assert_fails_alike(
        "erased",
        |(name, _)| match name {
            "verify-login" => Some(ErrorCode::AccountNotFound),
            "confirm-code" => None,
            _ => Some(ErrorCode::CredentialsInvalid),
        },
        |fixture, engine, person| {
            let erase = json!({"account_id": person.account, "reason": "asked for"});
            fixture.send(engine, "erase-account", erase).unwrap();
        },
    );
}

/// The same id with another body: nothing of the second is compared, before and after the first.
#[test]
fn another_body_under_a_used_id_is_not_compared() {
    assert_fails_alike(
        "used id",
        |_| Some(ErrorCode::IdempotencyMismatch),
        |fixture, engine, person| {
            let wrong = json!({"account_id": person.account, "password": "the first body"});
            let first = fixture.send_as(engine, "late", "start-login", wrong);
            let refused = first.result.unwrap_err().code;
            assert_eq!(refused, ErrorCode::CredentialsInvalid);
        },
    );
}

/// A clock that each reading moves on by a millisecond, so that a deadline passes anywhere.
fn restless(fixture: &Fixture) -> (Engine, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(fixture.time().0));
    let clock = Arc::clone(&now);
    let engine = fixture.start_with(|options| {
        options.clock = Arc::new(move || Micros(clock.fetch_add(1_000, Ordering::SeqCst)));
    });
    (engine, now)
}

///
#[test]
fn whenever_a_deadline_passes_nothing_was_compared_or_the_failure_is_on_record() {
    let (mut late, mut decided) = (0, 0);
    for ask in ASKS {
        for after_ms in [0, 1, 2, 3, 4, 6, 8, 12] {
            let fixture = Fixture::new();
            let engine = fixture.start();
            let person = person(&fixture, &engine, "ada");
            let body = body(&fixture, &person, ask, false);
            drop(engine);
            let (engine, now) = restless(&fixture);
            let mut request = fixture.request(ask.0, &body, "late", &engine);
            request.received_at = fixture.time();
            let (sender, receiver) = mpsc::channel();
            let result = seen(&engine, || {
                let at = now.load(Ordering::SeqCst) + after_ms * 1_000;
                request.deadline = Some(Micros(at));
                engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
                receiver.recv().unwrap()
            });
            match result.code {
                Some(ErrorCode::DeadlineExceeded) => {
                    late += 1;
                    assert_eq!(
                        (result.comparisons, result.hashes, result.events),
                        (0, 0, 0),
                        "{ask:?}"
                    );
                }
                _ => {
                    decided += 1;
                    assert!(
                        result.comparisons > 0 && result.events > 0,
                        "{ask:?} {result:?}"
                    );
                }
            }
        }
    }
    assert!(late > 20 && decided > 20, "{late} late, {decided} decided");
}

/// Wrong passwords of many accounts at once, each from an address of its own.
fn flood(fixture: &Fixture, engine: &Engine, count: usize) -> mpsc::Receiver<Outcome> {
    for n in 0..count {
        let id = format!("user-{n}");
        let body = json!({"account_id": id, "username": id, "password": PASSWORD});
        fixture.send(engine, "register-account", body).unwrap();
    }
    let (sender, receiver) = mpsc::channel();
    for n in 0..count {
        let body = json!({
            "account_id": format!("user-{n}"), "password": "wrong password",
            "context": {"ip": format!("192.0.2.{n}")}
        });
        let request = fixture.request("start-login", &body, &fixture.fresh_id(), engine);
        let sender = sender.clone();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
    }
    receiver
}

fn refusals(answers: &[Outcome], code: ErrorCode) -> u64 {
    let is = |outcome: &&Outcome| outcome.result.as_ref().is_err_and(|r| r.code == code);
    answers.iter().filter(is).count() as u64
}

#[test]
fn a_full_pool_and_a_stop_turn_away_only_what_was_not_compared() {
    for stops in [false, true] {
        let fixture = Fixture::new();
        // One hash takes as long as many requests, so most of them find the pool full.
        let engine = fixture.start_with(|options| options.policy.kdf_memory_kib = 8_192);
        let registered = counts(&engine);
        let flood = flood(&fixture, &engine, 200);
        let mut answers = Vec::new();
        while stops && refusals(&answers, ErrorCode::CredentialsInvalid) == 0 {
            answers.push(flood.recv().unwrap());
        }
        if stops {
            engine.finish(Duration::ZERO);
        }
        answers.extend(flood.iter().take(200 - answers.len()));
        let counted = refusals(&answers, ErrorCode::CredentialsInvalid);
        let away =
            refusals(&answers, ErrorCode::Overloaded) + refusals(&answers, ErrorCode::Draining);
        assert_eq!(counted + away, 200, "stops: {stops}");
        assert!(
            counted > 0 && away > 0,
            "{counted} counted, {away} turned away"
        );
        let after = counts(&engine);
        assert_eq!(
            after.0 - registered.0,
            counted,
            "each comparison is on record"
        );
        // Two events for each account that was registered, and one for each wrong password.
        assert_eq!(after.2 - registered.2, 2 * 200 + counted);
    }
}

///
/// Nothing is made before its decision: ten codes cost ten hashes, a verifier one.
#[test]
fn codes_and_verifiers_are_made_only_for_what_is_accepted() {
    for (ask, right_costs) in [
        (("confirm-code", "app code"), 10),
        (("regenerate-backup-codes", "password"), 11),
        (("regenerate-backup-codes", "app code"), 11),
        (("change-password", "password"), 2),
        (("change-password", "app code"), 2),
    ] {
        for is_right in [true, false] {
            let fixture = Fixture::new();
            let engine = fixture.start();
            let person = person(&fixture, &engine, "ada");
            let body = body(&fixture, &person, ask, is_right);
            let result = seen(&engine, || fixture.send_as(&engine, "once", ask.0, body));
            let wrong_costs = u64::from(ask.0 != "confirm-code");
            let (code, cost) = match (is_right, ask.1) {
                (true, _) => (None, right_costs),
                (false, "password") => (Some(ErrorCode::CredentialsInvalid), wrong_costs),
                (false, _) => (Some(ErrorCode::CodeInvalid), wrong_costs),
            };
            assert_eq!(
                (result.code, result.hashes),
                (code, cost),
                "{ask:?} {is_right}"
            );
            assert!(result.events > 0, "{ask:?} {is_right}");
        }
    }
}

/// An unknown name costs the same hashes as a known one.
#[test]
fn an_unknown_name_costs_as_many_hashes_as_a_known_one() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    for name in ["ada", "unknown"] {
        let body = json!({"username": name, "password": "a wrong password"});
        let result = seen(&engine, || {
            fixture.send_as(&engine, name, "start-login", body)
        });
        assert_eq!(result.code, Some(ErrorCode::CredentialsInvalid));
        assert_eq!((result.comparisons, result.hashes), (1, 1), "{name}");
    }
}

/// no command overtakes another, so none goes stale. Two commands under one id for two
/// accounts: the second is refused while the first is under way.
#[test]
fn an_id_is_under_way_for_one_command_only() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    person(&fixture, &engine, "ada");
    person(&fixture, &engine, "bob");
    let (sender, receiver) = mpsc::channel();
    let before = counts(&engine);
    for account in ["ada", "bob"] {
        let body = json!({"account_id": account, "password": "wrong password"});
        let request = fixture.request("start-login", &body, "same", &engine);
        let sender = sender.clone();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
    }
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(refusals(&answers, ErrorCode::CredentialsInvalid), 1);
    assert_eq!(refusals(&answers, ErrorCode::IdempotencyMismatch), 1);
    let after = counts(&engine);
    assert_eq!((after.0 - before.0, after.2 - before.2), (1, 1));
}

/// The same command twice at once, for which the service chooses the account's id: one account.
#[test]
fn the_same_command_again_waits_for_the_first_and_gets_its_outcome() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..2 {
        let body = json!({"username": "ada", "password": PASSWORD});
        let request = fixture.request("register-account", &body, "same", &engine);
        let sender = sender.clone();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
    }
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert!(
        answers.iter().all(|outcome| outcome.result.is_ok()),
        "{answers:?}"
    );
    assert_eq!(answers.iter().filter(|outcome| outcome.replayed).count(), 1);
}
