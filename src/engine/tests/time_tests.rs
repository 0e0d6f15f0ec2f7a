//! Wall clocks that were set forward or back, over the real engine.

use countersign_schemas::query::AuditPageQuery;
use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::engine::Engine;

const DAY_S: i64 = 86_400;

fn with_reason(fixture: &Fixture, reason: &str) -> Engine {
    fixture.start_with(|options| options.accept_clock_back = Some(reason.into()))
}

/// The data of every event of a type.
fn recorded(engine: &Engine, kind: &str) -> Vec<Value> {
    let query = AuditPageQuery {
        types: Some(vec![kind.into()]),
        ..AuditPageQuery::default()
    };
    let page = engine.queries().audit_page(&query, None).unwrap();
    page.events.into_iter().map(|event| event.data).collect()
}

/// Sends a wrong password, which is counted at any time.
fn wrong_password(fixture: &Fixture, engine: &Engine) {
    let body = json!({"username": "ada", "password": "wrong password"});
    let before = recorded(engine, "password-rejected").len();
    let reply = fixture.send(engine, "start-login", body);
    assert_eq!(reply.unwrap_err(), ErrorCode::CredentialsInvalid);
    assert_eq!(recorded(engine, "password-rejected").len(), before + 1);
}

#[test]
fn a_forward_jump_against_the_monotonic_clock_is_recorded_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.pass(5_000);
    fixture.set_wall(60);
    wrong_password(&fixture, &engine);
    assert_eq!(recorded(&engine, "clock-jumped"), [] as [Value; 0]);
    fixture.set_wall(DAY_S);
    wrong_password(&fixture, &engine);
    wrong_password(&fixture, &engine);
    let jumps = recorded(&engine, "clock-jumped");
    let [jump] = jumps.as_slice() else {
        panic!("one jump: {jumps:?}");
    };
    let by_us = jump["by_us"].as_i64().unwrap();
    let least = DAY_S * 1_000_000;
    assert!((least..=least + 60_000_000).contains(&by_us), "{by_us}");
}

/// TM-03: passwords are counted, codes are not checked, until the wall clock has caught up.
#[test]
fn tm03_with_the_clock_ten_minutes_back_no_code_is_checked_and_passwords_count() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.set_wall(-600);
    for code in [fixture.code(&secret, 0), codes[0].clone()] {
        let reply = fixture.send(&engine, "verify-login", verify(&code));
        assert_eq!(reply.unwrap_err(), ErrorCode::StoreUnavailable);
    }
    wrong_password(&fixture, &engine);
    drop(engine);
    let engine = fixture.start();
    let reply = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(
        reply.unwrap_err(),
        ErrorCode::StoreUnavailable,
        "after a restart too"
    );
    fixture.pass(541);
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
}

/// The time of an assertion is valid for a minute on other services' clocks.
#[test]
fn a_login_says_when_it_was_decided_though_the_log_is_ahead() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let body = json!({"account_id": "bob", "username": "bob", "password": PASSWORD});
    fixture.send(&engine, "register-account", body).unwrap();
    let login = |id| {
        let body = json!({"username": "bob", "password": PASSWORD});
        fixture
            .send_as(&engine, id, "start-login", body)
            .result
            .unwrap()
    };
    let done = login("l-1");
    assert_eq!(done.decided_at, done.details.at);
    fixture.set_wall(-3_600);
    let done = login("l-2");
    let ahead_s = done.details.at.seconds_since(done.decided_at);
    assert!((3_599..=3_601).contains(&ahead_s), "{ahead_s}");
    assert_eq!(
        login("l-2").decided_at,
        done.decided_at,
        "as in the first reply"
    );
}

/// TM-04: a day forward and back frees no old code and ends no wait early.
#[test]
fn tm04_a_clock_a_day_ahead_and_back_frees_no_old_code() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let spent = fixture.code(&secret, 0);
    fixture
        .send(&engine, "verify-login", verify(&spent))
        .unwrap();
    fixture.set_wall(DAY_S);
    wrong_password(&fixture, &engine);
    fixture.set_wall(-DAY_S);
    let reply = fixture.send(&engine, "verify-login", verify(&spent));
    assert_eq!(reply.unwrap_err(), ErrorCode::StoreUnavailable);
    drop(engine);
    let engine = with_reason(&fixture, "the time server was wrong");
    for used in [&spent, &spent] {
        let reply = fixture.send(&engine, "verify-login", verify(used));
        assert_eq!(reply.unwrap_err(), ErrorCode::CodeInvalid);
    }
    for _ in 0..2 {
        fixture
            .send(&engine, "verify-login", verify("000000"))
            .unwrap_err();
    }
    fixture.pass(3_600);
    let reply = fixture.send(&engine, "verify-login", verify(&fixture.code(&secret, 0)));
    assert_eq!(
        reply.unwrap_err(),
        ErrorCode::AccountThrottled,
        "log time stands still"
    );
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
}

#[test]
fn an_accepted_clock_checks_codes_until_it_has_caught_up_and_no_longer() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.set_wall(DAY_S);
    wrong_password(&fixture, &engine);
    fixture.set_wall(-DAY_S);
    drop(engine);
    let engine = with_reason(&fixture, "the time server was wrong");
    let accepted = recorded(&engine, "clock-back-accepted");
    assert_eq!(accepted[0]["reason"], "the time server was wrong");
    fixture.pass(30);
    let code = fixture.code(&secret, 0);
    assert!(fixture.send(&engine, "verify-login", verify(&code)).is_ok());
    let again = fixture.send(&engine, "verify-login", verify(&code));
    assert_eq!(again.unwrap_err(), ErrorCode::CodeInvalid);
    drop(engine);
    // The log remembers the acceptance, so the next start needs no option.
    let engine = fixture.start();
    fixture.pass(30);
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&fixture.code(&secret, 0)))
            .is_ok()
    );
    fixture.set_wall(-120);
    let further = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(
        further.unwrap_err(),
        ErrorCode::StoreUnavailable,
        "further back"
    );
    fixture.set_wall(120);
    fixture.pass(DAY_S.cast_unsigned());
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
    fixture.set_wall(-DAY_S);
    let back = fixture.send(&engine, "verify-login", verify(&codes[1]));
    assert_eq!(
        back.unwrap_err(),
        ErrorCode::StoreUnavailable,
        "it has lapsed"
    );
}

/// TM-05 over the engine: a clock in 2038 and in 2106 is a clock.
#[test]
fn tm05_codes_are_checked_in_2038_and_2106() {
    for unix_s in [2_147_483_648, 4_294_967_296_i64] {
        let fixture = Fixture::new();
        fixture.set_wall(unix_s - fixture.time().unix_s().cast_signed());
        let engine = fixture.start();
        let (secret, _) = fixture.enrol(&engine, "ada");
        fixture.pass(30);
        let code = fixture.code(&secret, 0);
        assert!(fixture.send(&engine, "verify-login", verify(&code)).is_ok());
        let login = json!({"username": "ada", "password": PASSWORD});
        assert!(fixture.send(&engine, "start-login", login).is_ok());
    }
}

/// A deadline is an instant of the caller's clock, not a duration of log time.
#[test]
fn a_deadline_is_met_by_the_wall_clock_while_log_time_stands_ahead() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.set_wall(-600);
    let login = json!({"username": "ada", "password": PASSWORD});
    let mut request = fixture.request("start-login", &login, "in-time", &engine);
    request.deadline = Some(fixture.time().plus_s(5));
    let (sender, receiver) = std::sync::mpsc::channel();
    engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    assert!(receiver.recv().unwrap().result.is_ok());
}

#[test]
fn a_clock_that_is_not_behind_needs_no_acceptance() {
    let fixture = Fixture::new();
    let engine = with_reason(&fixture, "just in case");
    assert_eq!(recorded(&engine, "clock-back-accepted"), [] as [Value; 0]);
}
