//! `suspend-factor`, in sentences: a stolen phone stays stopped until its authenticator ends.

use countersign_schemas::code::Code;
use countersign_schemas::event::log::v1::EpochStarted;
use countersign_schemas::refusal::ErrorCode;

use super::reset_words::*;
use super::scenario::Password::Right;
use super::scenario::Scenario;
use super::sentences::*;

type Given = fn(&Scenario) -> Code;
type Asked = fn() -> BoxedAsk;

/// The commands that take the second factor away or replace its codes.
const CHANGES: [Asked; 2] = [|| boxed(disable(Right)), || boxed(regenerate(Right))];

/// Support suspended the app of an owner who has asked for a reset.
fn suspended() -> Scenario {
    enabled_account()
        .by("agent-1")
        .when(request_reset)
        .when(suspend_factor)
        .then("suspended")
        .by("shop")
}

fn first_code(s: &Scenario) -> Code {
    backup_code(1)(s)
}

#[test]
fn while_the_app_is_suspended_the_password_alone_neither_ends_2fa_nor_makes_new_codes() {
    for by_whom in [suspended(), enabled_account().wrong_codes(100)] {
        for ask in CHANGES {
            let now: Given = |s| code_now(0)(s);
            for refused in [
                by_whom.clone().when(ask()),
                by_whom.clone().when(with_code(ask(), now, None)),
            ] {
                let case = by_whom.account.reset.clone();
                refused
                    .then("factor.suspended")
                    .records(&[])
                    .where_account(|a| a.on().is_some() && a.reset == case);
            }
        }
    }
}

#[test]
fn a_backup_code_beside_the_password_ends_2fa_and_new_codes_end_no_suspension_by_support() {
    suspended()
        .when(with_code(disable(Right), first_code, None))
        .then("off")
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 2")
        .when(verify_vouched(code_now(1)))
        .then("logged in by totp, 10 left");
    suspended()
        .when(with_code(regenerate(Right), first_code, None))
        .then("set 2, 9 superseded")
        .when(verify_vouched(code_now(0)))
        .then("factor.suspended")
        .where_account(|a| a.reset.is_some());
    enabled_account()
        .wrong_codes(100)
        .when(with_code(regenerate(Right), first_code, None))
        .then("set 2, 9 superseded")
        .where_account(|a| a.attempts.suspended.is_none());
}

#[test]
fn a_login_with_a_backup_code_ends_a_suspension_by_failures_and_reports_one_by_support() {
    suspended()
        .when(start_login(Right))
        .then("code required: backup code")
        .when(verify_login(first_code))
        .then("logged in by backup code, 9 left, app suspended")
        .when(verify_vouched(code_now(0)))
        .then("factor.suspended");
    let guessed = || enabled_account().wrong_codes(100);
    guessed()
        .when(verify_vouched(first_code))
        .then("logged in by backup code, 9 left")
        .where_account(|a| a.attempts.suspended.is_none());
    // A suspension by support outranks one by failures.
    guessed()
        .by("agent-1")
        .when(suspend_factor)
        .then("suspended")
        .by("shop")
        .when(verify_vouched(first_code))
        .then("logged in by backup code, 9 left, app suspended");
}

#[test]
fn a_second_suspension_that_would_change_nothing_is_refused_for_free() {
    let again = suspended().by("agent-2").when(suspend_factor);
    let again = again.then("factor.suspended").records(&[]);
    let opened = again.by("shop").when(start_login(Right));
    let stopped = opened.clone().by("agent-2").when(suspend_factor);
    stopped
        .then("suspended")
        .where_account(|a| a.challenges.is_empty());
    opened
        .later("+5m")
        .by("agent-2")
        .when(suspend_factor)
        .then("factor.suspended");
}

#[test]
fn a_suspended_accounts_refusal_names_only_the_ways_that_are_open() {
    let mut scenario = suspended();
    for used in 0..=10 {
        for ask in [
            boxed(verify_vouched(code_now(0))),
            boxed(disable(Right)),
            boxed(regenerate(Right)),
            boxed(clear_attempts),
        ] {
            let words = way_shown(&scenario, ask);
            assert_eq!(words.contains("backup code"), used < 10, "{used}: {words}");
            assert!(words.contains("reset"), "{words}");
        }
        if used < 10 {
            scenario = scenario.when(verify_vouched(backup_code(used + 1)));
        }
    }
    let mut lost = enabled_account();
    lost.account.went_through(&EpochStarted {
        epoch: 2,
        log_id: [2; 16],
        lost_from: Some(3),
        spent_through: 0,
        reason: "a disk".into(),
    });
    for ask in [
        boxed(verify_vouched(code_now(0))),
        boxed(start_login(Right)),
        boxed(disable(Right)),
        boxed(clear_attempts),
        boxed(suspend_factor),
    ] {
        let words = way_shown(&lost, ask);
        assert!(
            words.contains("reset") && !words.contains("backup"),
            "{words}"
        );
    }
}

/// Returns the detail of a refusal.
fn way_shown(scenario: &Scenario, ask: BoxedAsk) -> &'static str {
    let (command, password) = ask(scenario);
    let evidence = scenario.gather(&command, password);
    let refused = scenario.clone().submit(&command, &evidence).reply;
    let refusal = refused.expect("decided").expect_err("refused");
    assert_eq!(refusal.code, ErrorCode::FactorSuspended);
    refusal.detail.expect("it names a way")
}
