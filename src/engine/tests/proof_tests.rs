//! Codes as proofs, challenges and backup codes over the real engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{LoginReply, Reply, SecretReply};
use crate::engine::{Engine, system_random};

fn hardened(fixture: &Fixture) -> Engine {
    fixture.start_with(|options| options.policy.require_code_too = true)
}

fn with_code(code: &str) -> Value {
    json!({"account_id": "ada", "proof": {"password": PASSWORD, "code": code}})
}

#[test]
fn where_policy_asks_for_both_a_code_of_either_kind_is_needed_and_spent() {
    let fixture = Fixture::new();
    let engine = hardened(&fixture);
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let bare = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    for name in ["regenerate-backup-codes", "disable-2fa"] {
        let refused = fixture.send(&engine, name, bare.clone());
        assert_eq!(refused.unwrap_err(), ErrorCode::CredentialsInvalid);
        let refused = fixture.send(&engine, name, with_code("000000"));
        assert_eq!(refused.unwrap_err(), ErrorCode::CodeInvalid);
    }
    let app_code = fixture.code(&secret, 0);
    let change = |code: &str| json!({"account_id": "ada", "password": PASSWORD, "new_password": PASSWORD, "code": code});
    let changed = fixture.send(&engine, "change-password", change(&app_code));
    assert!(matches!(changed, Ok(Reply::PasswordChanged)), "{changed:?}");
    let new_codes = fixture.send(&engine, "regenerate-backup-codes", with_code(&codes[0]));
    let Ok(Reply::Secret(SecretReply::BackupCodesRegenerated {
        superseded_unused: 9,
        issued,
        ..
    })) = new_codes
    else {
        panic!("one is spent, nine are superseded: {new_codes:?}");
    };
    drop(engine);
    let engine = hardened(&fixture);
    for spent in [&app_code, &codes[0], &codes[1]] {
        let refused = fixture.send(&engine, "disable-2fa", with_code(spent));
        assert_eq!(refused.unwrap_err(), ErrorCode::CodeInvalid);
    }
    let disabled = fixture.send(&engine, "disable-2fa", with_code(&issued.codes[5].reveal()));
    assert!(matches!(disabled, Ok(Reply::FactorOff)), "{disabled:?}");
}

/// The stored outcome of a proven command is its effect's, before and after a restart.
#[test]
fn a_repeated_command_with_a_code_has_one_effect() {
    let fixture = Fixture::new();
    let engine = hardened(&fixture);
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let body = with_code(&fixture.code(&secret, 0));
    let first = fixture.send_as(&engine, "off", "disable-2fa", body.clone());
    assert!(matches!(first.result.unwrap().reply, Reply::FactorOff));
    drop(engine);
    let engine = hardened(&fixture);
    let again = fixture.send_as(&engine, "off", "disable-2fa", body);
    assert!(again.replayed && matches!(again.result.unwrap().reply, Reply::FactorOff));
}

fn open_challenge(fixture: &Fixture, engine: &Engine) -> String {
    let login = json!({"username": "ada", "password": PASSWORD});
    match fixture.send(engine, "start-login", login) {
        Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) => {
            challenge_id.reveal().to_owned()
        }
        other => panic!("2FA is on: {other:?}"),
    }
}

fn answer(challenge: &str, code: &str) -> Value {
    json!({"challenge_id": challenge, "code": code})
}

/// nine open, the oldest dropped, the others through a restart.
#[test]
fn of_nine_challenges_the_oldest_is_dropped_and_the_others_survive_a_restart() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let challenges: Vec<_> = (0..9).map(|_| open_challenge(&fixture, &engine)).collect();
    drop(engine);
    let engine = fixture.start();
    let oldest = fixture.send(&engine, "verify-login", answer(&challenges[0], &codes[0]));
    assert_eq!(oldest.unwrap_err(), ErrorCode::ChallengeExpired);
    for (challenge, code) in challenges[1..].iter().zip(&codes) {
        let done = fixture.send(&engine, "verify-login", answer(challenge, code));
        assert!(done.is_ok(), "{done:?}");
    }
}

/// a challenge is of its caller.
#[test]
fn a_challenge_of_another_caller_is_expired_and_stays_open_for_its_own() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let body = answer(&open_challenge(&fixture, &engine), &codes[0]);
    let (sender, receiver) = mpsc::channel();
    let mut request = fixture.request("verify-login", &body, "stolen", &engine);
    request.caller.name = "mallory".into();
    engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    let stolen = receiver.recv().unwrap().result.unwrap_err();
    assert_eq!(stolen.code, ErrorCode::ChallengeExpired);
    assert!(fixture.send(&engine, "verify-login", body).is_ok());
}

#[test]
fn a_new_password_and_disabling_void_open_challenges() {
    let voiding = [
        (
            "change-password",
            json!({"account_id": "ada", "password": PASSWORD, "new_password": "another password"}),
        ),
        (
            "disable-2fa",
            json!({"account_id": "ada", "proof": {"password": PASSWORD}}),
        ),
    ];
    for (name, body) in voiding {
        let fixture = Fixture::new();
        let engine = fixture.start();
        let (_, codes) = fixture.enrol(&engine, "ada");
        let challenge = open_challenge(&fixture, &engine);
        fixture.send(&engine, name, body).unwrap();
        let answered = fixture.send(&engine, "verify-login", answer(&challenge, &codes[0]));
        assert_eq!(answered.unwrap_err(), ErrorCode::ChallengeExpired, "{name}");
    }
}

/// E-08: an attacker who has the password cannot lock the owner out by backup codes.
#[test]
fn a_flood_of_wrong_backup_codes_leaves_the_owners_right_one_working() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    // Another account's codes: well formed, and useless here.
    let (_, foreign) = fixture.enrol(&engine, "eve");
    let (sender, receiver) = mpsc::channel();
    for n in 0..200 {
        let body = verify(&foreign[n % foreign.len()]);
        let request = fixture.request("verify-login", &body, &format!("flood-{n}"), &engine);
        let sender = sender.clone();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    }
    drop(sender);
    let refusals: Vec<_> = receiver.iter().map(|o| o.result.unwrap_err()).collect();
    assert!(
        refusals
            .iter()
            .all(|refusal| refusal.retry_after_s.is_none())
    );
    let errors: std::collections::BTreeSet<_> = refusals.iter().map(|r| r.code).collect();
    let allowed = [ErrorCode::CodeInvalid, ErrorCode::Overloaded].into();
    assert!(errors.is_subset(&allowed), "{errors:?}");
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
}

/// Whether the generator of the test below works.
static GENERATOR_WORKS: AtomicBool = AtomicBool::new(true);

/// E-12: nothing is made from bytes that are not random, and nothing is recorded.
#[test]
fn e12_while_the_generator_fails_nothing_is_enrolled_and_nothing_appended() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| {
        options.random = |bytes| GENERATOR_WORKS.load(Ordering::SeqCst) && system_random(bytes);
    });
    fixture.enrol(&engine, "ada");
    let body = json!({"account_id": "bob", "username": "bob", "password": PASSWORD});
    let position = |id: &str, name: &str, body: &Value| {
        let done = fixture.send_as(&engine, id, name, body.clone()).result;
        done.unwrap().details.position
    };
    let before = position("register", "register-account", &body);
    let bob = json!({"account_id": "bob", "proof": {"password": PASSWORD}});
    let ada = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    GENERATOR_WORKS.store(false, Ordering::SeqCst);
    for (name, body) in [("enable-2fa", &bob), ("regenerate-backup-codes", &ada)] {
        let refusal = fixture.send(&engine, name, body.clone()).unwrap_err();
        assert_eq!(refusal, ErrorCode::StoreUnavailable, "{name}");
    }
    GENERATOR_WORKS.store(true, Ordering::SeqCst);
    assert_eq!(position("enable", "enable-2fa", &bob), before + 1);
    let regenerated = position("regenerate", "regenerate-backup-codes", &ada);
    assert_eq!(regenerated, before + 2);
}

#[test]
fn support_clears_the_attempts_once_and_the_agents_reason_is_sealed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    for _ in 0..4 {
        fixture
            .send(&engine, "verify-login", verify("000000"))
            .unwrap_err();
    }
    let right = verify(&fixture.code(&secret, 0));
    let throttled = fixture.send(&engine, "verify-login", right.clone());
    assert_eq!(throttled.unwrap_err(), ErrorCode::AccountThrottled);
    let body = json!({"account_id": "ada", "reason": "she called from her desk"});
    let cleared = fixture.send_as(&engine, "clear", "clear-attempts", body.clone());
    assert!(matches!(
        cleared.result.unwrap().reply,
        Reply::AttemptsCleared
    ));
    drop(engine);
    let engine = fixture.start();
    let again = fixture.send_as(&engine, "clear", "clear-attempts", body.clone());
    assert!(again.replayed && again.result.is_ok());
    assert!(fixture.send(&engine, "verify-login", right).is_ok());
    fixture
        .send(&engine, "verify-login", verify("000000"))
        .unwrap_err();
    let twice = fixture.send(&engine, "clear-attempts", body);
    assert_eq!(twice.unwrap_err(), ErrorCode::QuotaExceeded);
    drop(engine);
    for file in std::fs::read_dir(fixture.data().join("log")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(10).any(|text| text == b"she called"));
    }
}

#[test]
fn repeats_wait_for_no_hash_however_many_come_at_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let first = fixture.send_as(&engine, "once", "verify-login", verify(&codes[0]));
    assert!(first.result.is_ok());
    let (sender, receiver) = mpsc::channel();
    for _ in 0..500 {
        let request = fixture.request("verify-login", &verify(&codes[0]), "once", &engine);
        let sender = sender.clone();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    }
    drop(sender);
    let outcomes: Vec<_> = receiver.iter().collect();
    assert_eq!(outcomes.len(), 500);
    for outcome in outcomes {
        assert!(outcome.replayed && outcome.result.is_ok());
    }
}
