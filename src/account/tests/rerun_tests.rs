//! Decisions that no rule makes, as a log could hold them.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{
    AccountErased, AccountRegistered, PasswordCause, PasswordRehashed, PasswordSet,
};
use countersign_schemas::event::attempts::v1::{
    AttemptsSuppressed, AttemptsThrottled, DoubleCodeRequired, FactorSuspended, SuspendedCause,
};
use countersign_schemas::event::log::v1::KeysRotated;
use countersign_schemas::event::login::v1::{LoginCompleted, LoginPairRejected};
use countersign_schemas::event::reset::v1::{CancelledBy, ResetCancelled, ResetExpired};
use countersign_schemas::record::Role;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::scenario::{ACCOUNT, Password, START, Scenario, offset};
use super::sentences::*;
use crate::account::explain::recording::{Across, Recording, Rerun};
use crate::account::explain::rerun::rerun;
use crate::account::explain::taken_as_recorded::taken_as_recorded;
use crate::account::{Account, Policy};

fn again(
    before: &Account,
    role: Role,
    events: &[Event],
    at: Micros,
    next_key_id: Option<u32>,
) -> Rerun {
    rerun(&Recording {
        before,
        account_id: ACCOUNT,
        events,
        at,
        caller: "login-gw",
        role,
        source_key: [0; 8],
        policy: &Policy::default(),
        across: Across {
            next_key_id,
            ..Across::default()
        },
    })
}

fn of(before: &Scenario, role: Role, events: &[Event]) -> Rerun {
    again(&before.account, role, events, START, None)
}

fn different(what: &str) -> Rerun {
    Rerun::Different(what.to_owned())
}

#[test]
fn events_that_do_not_follow_from_the_account_give_a_different_result() {
    let absent = Account::default();
    let completed = |credential| [Event::LoginCompleted(LoginCompleted { credential })];
    let of = |events: [Event; 1]| again(&absent, Role::Platform, &events, START, None);
    assert_eq!(
        of(completed(2)),
        different("the evidence does not fit the account")
    );
    let what = "[] comes out (credentials.invalid), [login-completed] was recorded";
    assert_eq!(of(completed(0)), different(what));
    let what = "[login-started] comes out, [login-completed] was recorded";
    let on = super::rerun_tests::of(&enabled_account(), Role::Platform, &completed(0));
    assert_eq!(on, different(what));
}

#[test]
fn what_the_service_records_by_itself_is_no_decision() {
    let suppressed = Event::AttemptsSuppressed(AttemptsSuppressed { count: 3 });
    let erased = Event::AccountErased(AccountErased { reason: None });
    let rotated = Event::KeysRotated(KeysRotated {
        key_id: 2,
        reason: None,
    });
    let account = enabled_account();
    for event in [&suppressed, &erased, &rotated] {
        let again = of(&account, Role::Service, std::slice::from_ref(event));
        assert!(matches!(again, Rerun::Not(_)), "{}", event.name());
    }
    assert!(matches!(of(&account, Role::Service, &[]), Rerun::Not(_)));
}

/// Each of these follows another event of its group, or belongs to no command at all.
#[test]
fn events_that_no_command_records_in_this_combination_give_a_different_result() {
    let until = START.plus_s(60);
    let cancelled = |by| {
        Event::ResetCancelled(ResetCancelled {
            case_id: "c".into(),
            by,
            reason: None,
        })
    };
    let suppressed = || Event::AttemptsSuppressed(AttemptsSuppressed { count: 3 });
    let alone = [
        vec![Event::AttemptsThrottled(AttemptsThrottled { until })],
        vec![Event::DoubleCodeRequired(DoubleCodeRequired { until })],
        vec![Event::FactorSuspended(FactorSuspended {
            cause: SuspendedCause::Failures,
            reason: None,
            ticket: None,
        })],
        vec![Event::PasswordRehashed(PasswordRehashed {
            verifier: Protected::clear(b"v"),
        })],
        vec![cancelled(CancelledBy::Login)],
        vec![cancelled(CancelledBy::Disabled)],
        vec![suppressed(), suppressed()],
        vec![Event::PasswordSet(PasswordSet {
            cause: PasswordCause::Registered,
            verifier: Protected::clear(b"v"),
        })],
    ];
    let what = different("no command records these events in this combination");
    for events in alone {
        let account = enabled_account();
        assert_eq!(of(&account, Role::Platform, &events), what, "{events:?}");
    }
}

#[test]
fn a_case_that_was_not_open_does_not_lapse_and_an_account_that_was_not_there_is_not_erased() {
    let expired = Event::ResetExpired(ResetExpired {
        case_id: "c".into(),
    });
    let what = "[] comes out (reset.closed), [reset-expired] was recorded";
    assert_eq!(
        of(&enabled_account(), Role::Support, &[expired]),
        different(what)
    );
    let erased = Event::AccountErased(AccountErased {
        reason: Some(Protected::clear(b"r")),
    });
    let what = "[] comes out (account.not_found), [account-erased] was recorded";
    let absent = Account::default();
    let again = again(
        &absent,
        Role::Operator,
        std::slice::from_ref(&erased),
        START,
        None,
    );
    assert_eq!(again, different(what));
    let account = registered_account();
    assert_eq!(of(&account, Role::Operator, &[erased]), Rerun::Same);
}

#[test]
fn keys_of_another_number_or_before_the_last_ones_are_done_give_a_different_result() {
    let absent = Account::default();
    let rotated = [Event::KeysRotated(KeysRotated {
        key_id: 3,
        reason: Some(Protected::clear(b"r")),
    })];
    let with = |next| again(&absent, Role::Operator, &rotated, START, next);
    assert_eq!(with(Some(3)), Rerun::Same);
    let what = r#"keys-rotated comes out as {"key_id":2} and was recorded as {"key_id":3}"#;
    assert_eq!(with(Some(2)), different(what));
    let what = "[] comes out (overloaded, 60 s too early), [keys-rotated] was recorded";
    assert_eq!(with(None), different(what));
}

/// The challenge was open when the code's hash began, and had ended when it was done. An app code
/// has no hash: a login with one after its challenge had ended is no decision of this service.
#[test]
fn a_login_whose_challenge_ended_while_its_code_was_hashed_comes_out_the_same() {
    let opened = enabled_account().when(start_login(Password::Right));
    let (before, caller, source_key) = (opened.account.clone(), opened.caller, opened.source_key);
    let ends = before.challenges[0].expires_at;
    let again = |answered: &Scenario, at| {
        rerun(&Recording {
            before: &before,
            account_id: ACCOUNT,
            events: answered.events(),
            at,
            caller,
            role: Role::Platform,
            source_key,
            policy: &Policy::default(),
            across: Across::default(),
        })
    };
    let by_backup_code = opened.clone().when(verify_login(backup_code(1)));
    assert_eq!(again(&by_backup_code, ends.plus_s(2)), Rerun::Same);
    let late = again(&by_backup_code, ends.plus_s(60));
    assert!(matches!(late, Rerun::Different(_)));
    let by_app = opened.when(verify_login(code_now(0)));
    let late = again(&by_app, ends.plus_s(2));
    assert!(matches!(late, Rerun::Different(_)), "{late:?}");
}

#[test]
fn a_confirmation_whose_enrolment_ended_while_the_codes_were_hashed_comes_out_the_same() {
    let pending = pending_account();
    let confirmed = pending.clone().at("+9m59s").when(confirm(code_now(0)));
    let again = |at| {
        again(
            &pending.account,
            Role::Platform,
            &confirmed.events,
            at,
            None,
        )
    };
    assert_eq!(again(offset("+10m1s")), Rerun::Same);
    assert!(matches!(again(offset("+12m")), Rerun::Different(_)));
}

/// The two challenges of a login differ by their caller and their expiry.
#[test]
fn a_code_is_decided_again_with_the_challenge_that_it_was_for() {
    // Another challenge is still open beside it.
    enabled_account()
        .when(start_login(Password::Vouched))
        .when(verify_vouched(code_now(0)))
        .then("logged in by totp, 10 left");
    // The challenge rests on a password that waits by now.
    let mut waiting = enabled_account().when(start_login(Password::Right));
    for _ in 0..11 {
        waiting = waiting.when(start_login(Password::Wrong));
    }
    waiting
        .clone()
        .when(start_login(Password::Right))
        .then("account.throttled for 5 s");
    waiting
        .when(verify_login(wrong_code()))
        .records(&["totp-rejected"]);
    // It ended at this moment, and the code came with its password.
    let mut ended = enabled_account().when(start_login(Password::Right));
    ended.wall = ended.account.challenges[0].expires_at;
    ended
        .when(with_code(start_login(Password::Right), wrong_code(), None))
        .records(&["totp-rejected"]);
}

/// A step may pass between the arrival of a code and its record.
#[test]
fn a_spent_code_is_decided_again_at_a_step_near_its_own() {
    let policy = Policy {
        window_steps: 2,
        ..Policy::default()
    };
    let used = enabled_account()
        .under(policy.clone())
        .when(verify_vouched(code_now(1)))
        .later("+60s");
    let replayed = used.clone().when(verify_vouched(code_now(-2)));
    let replayed = replayed.records(&["code-replayed"]);
    let again = rerun(&Recording {
        before: &used.account,
        account_id: ACCOUNT,
        events: &replayed.events,
        at: used.now().plus_s(60),
        caller: used.caller,
        role: Role::Platform,
        source_key: used.source_key,
        policy: &policy,
        across: Across::default(),
    });
    assert_eq!(again, Rerun::Same);
}

/// What the log cannot show, by the beginnings of its sentences.
#[test]
fn what_is_taken_as_it_was_recorded_is_said() {
    const PASSWORD: &str = "Whether the password matched";
    const VOUCHED: &str = "That the first factor was right";
    const APP_CODE: &str = "Which time step";
    let registered = |username| Event::AccountRegistered(AccountRegistered { username });
    let name = Some(Protected::clear(b"ada"));
    let completed = Event::LoginCompleted(LoginCompleted { credential: 0 });
    let pair = Event::LoginPairRejected(LoginPairRejected { credential: 2 });
    let expired = || {
        Event::ResetExpired(ResetExpired {
            case_id: "c".into(),
        })
    };
    let used = enabled_account().when(verify_vouched(code_now(0)));
    let replayed = used.when(verify_vouched(code_now(0))).events;
    for (events, sentences) in [
        (replayed, &[VOUCHED, APP_CODE][..]),
        (vec![pair], &[PASSWORD, "That passwords waited"]),
        (
            vec![registered(name)],
            &["That no other account had the name"],
        ),
        (vec![registered(None), completed], &[VOUCHED]),
        (vec![expired()], &["Which step found"]),
        (vec![expired(), expired()], &[]),
    ] {
        let taken = taken_as_recorded(&Recording {
            before: &Account::default(),
            account_id: ACCOUNT,
            events: &events,
            at: START,
            caller: "login-gw",
            role: Role::Platform,
            source_key: [0; 8],
            policy: &Policy::default(),
            across: Across::default(),
        });
        assert_eq!(taken.len(), sentences.len(), "{taken:?}");
        for (taken, sentence) in taken.iter().zip(sentences) {
            assert!(taken.starts_with(sentence), "{taken}");
        }
    }
}
