//! Decisions that no rule makes, as a log could hold them.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountErased, PasswordRehashed};
use countersign_schemas::event::attempts::v1::{
    AttemptsSuppressed, AttemptsThrottled, DoubleCodeRequired, FactorSuspended, SuspendedCause,
};
use countersign_schemas::event::log::v1::KeysRotated;
use countersign_schemas::event::login::v1::LoginCompleted;
use countersign_schemas::event::reset::v1::{CancelledBy, ResetCancelled, ResetExpired};
use countersign_schemas::record::Role;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::scenario::{ACCOUNT, Password, START, Scenario};
use super::sentences::{
    backup_code, code_now, enabled_account, registered_account, start_login, verify_login,
};
use crate::account::explain::recording::{Across, Recording, Rerun};
use crate::account::explain::rerun::rerun;
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
fn what_does_not_follow_from_the_account_comes_out_otherwise() {
    let nobody = Account::default();
    let completed = |credential| [Event::LoginCompleted(LoginCompleted { credential })];
    let of = |events: [Event; 1]| again(&nobody, Role::Platform, &events, START, None);
    assert_eq!(
        of(completed(2)),
        different("the evidence does not fit the account")
    );
    let what = "[] comes out (credentials.invalid), [login-completed] was recorded";
    assert_eq!(of(completed(0)), different(what));
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

/// Each of these follows another event of its group, or stands for no command at all.
#[test]
fn what_no_command_records_as_it_stands_there_comes_out_otherwise() {
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
    ];
    let what = different("no command records these events as they stand here");
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
    let nobody = Account::default();
    let again = again(
        &nobody,
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
fn keys_of_another_number_or_before_the_last_ones_are_done_come_out_otherwise() {
    let nobody = Account::default();
    let rotated = [Event::KeysRotated(KeysRotated {
        key_id: 3,
        reason: Some(Protected::clear(b"r")),
    })];
    let with = |next| again(&nobody, Role::Operator, &rotated, START, next);
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
