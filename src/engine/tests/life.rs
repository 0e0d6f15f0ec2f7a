//! The engine end to end, in process: the life of a factor, and each effect once.

use std::sync::mpsc;

use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{LoginReply, Reply, SecretReply};
use crate::engine::{Done, Engine, Outcome, PasswordsBy};

#[test]
fn the_whole_life_survives_a_restart_between_any_two_steps() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    let engine = fixture.start();
    let confirming = fixture.code(&secret, 0);
    assert_eq!(
        fixture
            .send(&engine, "verify-login", verify(&confirming))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    fixture.pass(30);
    let code = fixture.code(&secret, 0);
    assert!(fixture.send(&engine, "verify-login", verify(&code)).is_ok());
    drop(engine);
    let engine = fixture.start();
    assert_eq!(
        fixture
            .send(&engine, "verify-login", verify(&code))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[3]))
            .is_ok()
    );
    drop(engine);
    let engine = fixture.start();
    assert_eq!(
        fixture
            .send(&engine, "verify-login", verify(&codes[3]))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    let proof = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    let Ok(Reply::Secret(SecretReply::BackupCodesRegenerated {
        set_no: 2,
        superseded_unused: 9,
        ..
    })) = fixture.send(&engine, "regenerate-backup-codes", proof.clone())
    else {
        panic!("a second set, nine old codes void");
    };
    assert_eq!(
        fixture
            .send(&engine, "verify-login", verify(&codes[4]))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    assert!(fixture.send(&engine, "disable-2fa", proof).is_ok());
    drop(engine);
    let engine = fixture.start();
    let login = json!({"username": "ADA", "password": PASSWORD});
    assert!(matches!(
        fixture.send(&engine, "start-login", login),
        Ok(Reply::Login(LoginReply::ByPassword { .. }))
    ));
    let ada = AccountId::parse("ada").unwrap();
    let status = engine.queries().login_status(&ada, None).unwrap();
    assert_eq!(status.second_factor, FactorState::Off);
}

#[test]
fn a_challenge_survives_a_restart_and_is_spent_by_a_success() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let login = json!({"username": "ada", "password": PASSWORD});
    let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) =
        fixture.send(&engine, "start-login", login)
    else {
        panic!("2FA is on");
    };
    drop(engine);
    let engine = fixture.start();
    let body = |code: String| json!({"challenge_id": challenge_id.reveal(), "code": code});
    let wrong = fixture.send(&engine, "verify-login", body("000000".into()));
    assert_eq!(wrong.unwrap_err(), ErrorCode::CodeInvalid);
    assert!(
        fixture
            .send(&engine, "verify-login", body(fixture.code(&secret, 0)))
            .is_ok()
    );
    fixture.pass(30);
    let again = fixture.send(&engine, "verify-login", body(fixture.code(&secret, 0)));
    assert_eq!(again.unwrap_err(), ErrorCode::ChallengeExpired);
}

#[test]
fn the_same_command_id_has_one_effect_and_one_outcome() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    let body = verify(&fixture.code(&secret, 0));
    let place = |outcome: &Outcome| match &outcome.result {
        Ok(Done { details, .. }) => (details.position, outcome.replayed),
        Err(refusal) => panic!("{refusal:?}"),
    };
    let first = fixture.send_as(&engine, "one", "verify-login", body.clone());
    let (position, _) = place(&first);
    assert_eq!(
        place(&fixture.send_as(&engine, "one", "verify-login", body.clone())),
        (position, true)
    );
    let other = fixture.send_as(&engine, "one", "verify-login", verify("000000"));
    assert_eq!(
        other.result.unwrap_err().code,
        ErrorCode::IdempotencyMismatch
    );
    drop(engine);
    let engine = fixture.start();
    let after_restart = fixture.send_as(&engine, "one", "verify-login", body.clone());
    assert_eq!(place(&after_restart), (position, true));
    fixture.pass(86_401);
    let a_day_later = fixture.send_as(&engine, "one", "verify-login", body);
    assert_eq!(a_day_later.result.unwrap_err().code, ErrorCode::CodeInvalid);
}

#[test]
fn a_secret_reply_is_repeated_for_two_minutes_and_unseen_afterwards() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    let first = fixture.send_as(&engine, "new", "regenerate-backup-codes", body.clone());
    let again = fixture.send_as(&engine, "new", "regenerate-backup-codes", body.clone());
    assert!(again.replayed && first.result.is_ok() && again.result.is_ok());
    fixture.pass(121);
    let late = fixture.send_as(&engine, "new", "regenerate-backup-codes", body);
    assert_eq!(late.result.unwrap_err().code, ErrorCode::OutcomeUnseen);
    assert!(!late.replayed);
}

#[test]
fn two_equal_names_at_once_have_one_winner() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (sender, receiver) = mpsc::channel();
    for n in 0..8 {
        let body = json!({"account_id": format!("a{n}"), "username": "Ada", "password": PASSWORD});
        let request = fixture.request("register-account", &body, &format!("r{n}"), &engine);
        let sender = sender.clone();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
    }
    let outcomes: Vec<_> = receiver
        .iter()
        .take(8)
        .map(|o| o.result.map_err(|r| r.code))
        .collect();
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    let taken = outcomes
        .iter()
        .filter(|o| matches!(o, Err(ErrorCode::AccountExists)))
        .count();
    assert_eq!(taken, 7);
}

/// Gitea CVE-2026-20779, Keycloak #26106, Appwrite #11692, librefang #3560 and
/// OwnPay #145 for app codes, artifact-keeper #1822 for backup codes.
#[test]
fn one_code_sent_thirty_two_times_at_once_is_accepted_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    for code in [fixture.code(&secret, 0), codes[0].clone()] {
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|threads| {
            for n in 0..32 {
                let (fixture, engine, sender, code) =
                    (&fixture, &engine, sender.clone(), code.clone());
                threads.spawn(move || {
                    let id = format!("{}-{n}", code.len());
                    let outcome = fixture.send_as(engine, &id, "verify-login", verify(&code));
                    sender.send(outcome.result.is_ok()).unwrap();
                });
            }
        });
        drop(sender);
        assert_eq!(
            receiver.iter().filter(|accepted| *accepted).count(),
            1,
            "{}",
            code.len()
        );
    }
}

#[test]
fn an_unknown_user_and_a_wrong_password_answer_alike_and_both_wait() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    for name in ["ada", "unknown"] {
        let body = json!({"username": name, "password": "wrong password"});
        for n in 1..=11 {
            let answer = fixture.send(&engine, "start-login", body.clone());
            assert_eq!(
                answer.unwrap_err(),
                ErrorCode::CredentialsInvalid,
                "{name} {n}"
            );
        }
        let right = json!({"username": name, "password": PASSWORD});
        let waiting = fixture.send(&engine, "start-login", right);
        assert_eq!(waiting.unwrap_err(), ErrorCode::AccountThrottled, "{name}");
    }
}

/// The same number in every query.
#[test]
fn every_query_says_that_codes_run_low_as_a_login_does() {
    let fixture = Fixture::new();
    for (low_codes, is_low) in [(9, true), (8, false)] {
        let engine = fixture.start_with(|options| options.policy.low_codes = low_codes);
        let account = format!("a-{low_codes}");
        let (_, codes) = fixture.enrol(&engine, &account);
        let body = json!({"account_id": account, "code": codes[0]});
        let Ok(Reply::Login(LoginReply::Verified { low, .. })) =
            fixture.send(&engine, "verify-login", body)
        else {
            panic!("the code is right");
        };
        let id = AccountId::parse(&account).unwrap();
        let status = engine.queries().login_status(&id, None).unwrap();
        assert_eq!((low, status.backup_codes_low), (is_low, is_low));
        let position = engine.admin.log.head();
        let moment = json!({"position": position});
        let moment = serde_json::from_value(moment).unwrap();
        let then = engine.queries().account_at(&id, &moment).unwrap();
        assert_eq!(then.backup_codes_low, is_low, "as it was");
        let body = json!({"account_id": account, "code": codes[1]});
        fixture.send(&engine, "verify-login", body).unwrap();
        let asked = json!({"position": position + 1});
        let asked = serde_json::from_value(asked).unwrap();
        let before = engine.queries().audit_explain(&asked).unwrap().before;
        assert_eq!(before.unwrap().backup_codes_low, is_low, "as explained");
    }
}

#[test]
fn with_vouched_logins_no_registration_and_no_password_is_needed() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| options.passwords_by = PasswordsBy::Caller);
    let eve = AccountId::parse("eve").unwrap();
    let status = engine.queries().login_status(&eve, None).unwrap();
    assert_eq!(status.second_factor, FactorState::Off);
    let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret,
        ..
    })) = fixture.send(&engine, "enable-2fa", json!({"account_id": "eve"}))
    else {
        panic!("the caller answers for the first factor");
    };
    let code = fixture.code(&secret, 0);
    let body = json!({"account_id": "eve", "authenticator_id": authenticator_id, "code": code});
    assert!(fixture.send(&engine, "confirm-code", body).is_ok());
    let login = fixture.send(&engine, "start-login", json!({"account_id": "eve"}));
    assert!(
        matches!(login, Ok(Reply::Login(LoginReply::CodeRequired { .. }))),
        "{login:?}"
    );
    assert!(
        fixture
            .send(&engine, "disable-2fa", json!({"account_id": "eve"}))
            .is_ok()
    );
}

#[test]
fn a_login_without_a_password_is_invalid_where_this_service_holds_them() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let login = fixture.send(&engine, "start-login", json!({"username": "ada"}));
    assert_eq!(login.unwrap_err(), ErrorCode::RequestInvalid);
    let disable = fixture.send(&engine, "disable-2fa", json!({"account_id": "ada"}));
    assert_eq!(disable.unwrap_err(), ErrorCode::CredentialsInvalid);
}

#[test]
fn only_a_listed_caller_vouches_for_the_first_factor() {
    let fixture = Fixture::new();
    let forbidden = |engine: &Engine, name: &str, body: Value| {
        matches!(
            fixture.send(engine, name, body),
            Err(ErrorCode::ActorForbidden)
        )
    };
    let listed = |name: &str| Some([name.to_owned()].into());
    let engine = fixture.start_with(|options| options.vouching = listed("another"));
    let (_, codes) = fixture.enrol(&engine, "ada");
    assert!(forbidden(&engine, "verify-login", verify(&codes[0])));
    let proof = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    assert!(!forbidden(&engine, "regenerate-backup-codes", proof));
    let login = json!({"username": "ada", "password": PASSWORD});
    assert!(!forbidden(&engine, "start-login", login.clone()));
    drop(engine);
    for (name, is_listed) in [("another", false), ("test", true)] {
        let engine = fixture.start_with(|options| {
            options.passwords_by = PasswordsBy::Caller;
            options.vouching = listed(name);
        });
        for (name, body) in [
            ("start-login", json!({"account_id": "ada"})),
            ("enable-2fa", json!({"account_id": "eve"})),
            ("regenerate-backup-codes", json!({"account_id": "ada"})),
            ("verify-login", verify("000000")),
            (
                "disable-2fa",
                json!({"account_id": "ada", "proof": {"code": "000000"}}),
            ),
        ] {
            assert_eq!(forbidden(&engine, name, body), !is_listed, "{name}");
        }
        assert!(!forbidden(&engine, "start-login", login.clone()));
    }
}
