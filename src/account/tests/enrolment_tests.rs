//! Turning the second factor on and off, in sentences.

use countersign_schemas::event::Event;
use countersign_schemas::event::enrolment::v1::FirstFactor;

use super::scenario::Password::{Right, Vouched, Wrong};
use super::scenario::{Scenario, step, unregistered};
use super::sentences::*;
use crate::account::{CodeEvidence, Factor, Policy};

#[test]
fn an_enrolment_changes_nothing_until_it_is_confirmed() {
    registered_account()
        .when(enable(Right))
        .then("enrolment started")
        .records(&["enrolment-started"])
        .where_account(|a| a.pending().is_some() && a.on().is_none());
}

#[test]
fn the_right_code_turns_2fa_on_and_issues_ten_codes() {
    pending_account()
        .when(confirm(code_now(0)))
        .then("on, set 1")
        .records(&["two-factor-enabled", "backup-codes-issued"])
        .where_account(|a| a.on().is_some_and(|on| on.codes.left() == 10));
}

#[test]
fn a_code_one_step_early_or_late_confirms_and_is_the_step_that_is_spent() {
    for drift in [-1, 1] {
        let spent = step("+0s").wrapping_add_signed(drift);
        pending_account()
            .when(confirm(code_now(drift)))
            .then("on, set 1")
            .where_account(|a| a.on().is_some_and(|on| on.last_step == spent));
    }
}

/// C-14.
#[test]
fn c14_the_code_that_confirmed_does_not_log_in() {
    pending_account()
        .when(confirm(code_now(0)))
        .log_in_with(code_now(0))
        .then("code.invalid")
        .records(&["code-replayed"])
        .log_in_with(code_now(1))
        .then("logged in by totp, 10 left");
}

///
#[test]
fn an_enrolment_needs_the_password() {
    registered_account()
        .when(enable(Wrong))
        .then("credentials.invalid")
        .records(&["password-rejected"])
        .where_account(|a| a.pending().is_none());
}

/// E-07, as the contract has it.
#[test]
fn e07_a_factor_that_is_on_is_not_enrolled_over() {
    let on = enabled_account();
    let factor = on.account.factor.clone();
    on.when(enable(Right))
        .then("factor.already_on")
        .records(&[])
        .where_account(|a| a.factor == factor);
}

/// In `vouched` and `nats` mode an account needs no registration.
#[test]
fn a_vouched_enrolment_makes_its_account() {
    unregistered()
        .when(enable(Vouched))
        .then("enrolment started")
        .records(&["account-registered", "enrolment-started"])
        .where_account(|a| a.exists() && a.username.is_none())
        .when(confirm(code_now(0)))
        .then("on, set 1");
}

/// E-01.
#[test]
fn e01_nothing_pending_is_confirmed_or_cancelled() {
    for ask in [boxed(confirm_unknown()), boxed(cancel_unknown())] {
        registered_account()
            .when(ask)
            .then("factor.not_pending")
            .records(&[]);
    }
    for ask in [boxed(confirm_unknown()), boxed(cancel_unknown())] {
        unregistered()
            .when(ask)
            .then("account.not_found")
            .records(&[]);
    }
}

/// E-02.
#[test]
fn e02_a_second_enrolment_replaces_the_first() {
    let twice = pending_account().when(enable(Right));
    twice
        .clone()
        .when(confirm(|s| code_of_step(s, 0, s.step_now())))
        .then("code.invalid")
        .when(confirm(code_now(0)))
        .then("on, set 1");
    // E-03: the old id, even with the new secret's code.
    twice
        .when(confirm_nth(0, code_now(0)))
        .then("factor.not_pending")
        .records(&[])
        .when(cancel_nth(0))
        .then("factor.not_pending");
}

#[test]
fn a_replaced_enrolment_begins_with_all_its_tries() {
    let mut scenario = wrong_confirms(pending_account(), 4).when(enable(Right));
    scenario = wrong_confirms(scenario, 4);
    scenario.when(confirm(code_now(0))).then("on, set 1");
}

/// E-03.
#[test]
fn e03_the_id_of_another_authenticator_confirms_nothing() {
    pending_account()
        .when(confirm_unknown())
        .then("factor.not_pending")
        .records(&[]);
}

/// E-04.
#[test]
fn e04_an_enrolment_is_confirmed_within_ten_minutes() {
    pending_account()
        .at("+9m59s")
        .when(confirm(code_now(0)))
        .then("on, set 1");
    for late in ["+10m", "+10m1s"] {
        pending_account()
            .at(late)
            .when(confirm(code_now(0)))
            .then("enrolment.expired")
            .records(&["enrolment-expired"])
            .when(confirm(code_now(0)))
            .then("enrolment.expired")
            .records(&[])
            .when(confirm_unknown())
            .then("factor.not_pending")
            .when(cancel_nth(0))
            .then("factor.not_pending")
            .when(start_login(Right))
            .then("logged in by password");
    }
}

#[test]
fn four_wrong_codes_leave_one_try() {
    wrong_confirms(pending_account(), 4)
        .when(confirm(code_now(0)))
        .then("on, set 1");
}

/// E-05.
#[test]
fn e05_the_fifth_wrong_code_drops_the_enrolment() {
    let tries = usize::from(Policy::default().enrolment_tries);
    wrong_confirms(pending_account(), tries)
        .where_event(|e| matches!(e, Event::EnrolmentCodeRejected(e) if e.tries_left == 0))
        .where_account(|a| a.factor == Factor::default())
        .when(confirm(code_now(0)))
        .then("factor.not_pending")
        .records(&[]);
}

#[test]
fn a_code_of_another_time_shows_how_far_the_phones_clock_is_off() {
    for steps in [-10_i64, -2, 2, 10] {
        pending_account()
            .when(confirm(code_now(steps)))
            .then(&format!("code.invalid, clock off by {steps}"))
            .records(&["enrolment-code-rejected"]);
    }
    for steps in [-11, 11] {
        pending_account()
            .when(confirm(code_now(steps)))
            .then("code.invalid");
    }
}

#[test]
fn of_several_steps_with_the_code_the_nearest_shows_how_far_the_clock_is_off() {
    pending_account()
        .when_with(confirm(wrong_code()), |evidence| {
            if let CodeEvidence::Totp {
                step_now, matched, ..
            } = &mut evidence.code
            {
                *matched = vec![*step_now - 9, *step_now + 3];
            }
        })
        .then("code.invalid, clock off by 3");
}

/// B-05.
#[test]
fn b05_a_backup_code_confirms_nothing_and_costs_a_try() {
    pending_account()
        .when(confirm(wrong_backup_code(1)))
        .then("code.invalid")
        .records(&["enrolment-code-rejected"])
        .where_account(|a| a.pending().is_some_and(|p| p.rejected == 1));
}

/// TM-03.
#[test]
fn tm03_a_clock_that_went_back_confirms_nothing_and_costs_no_try() {
    pending_account()
        .at("-2m")
        .when(confirm(code_now(0)))
        .then("store.unavailable")
        .records(&[])
        .at("-1m")
        .when(confirm(code_now(0)))
        .then("on, set 1");
}

/// E-08, twofactor_totp #214: an unfinished enrolment locks no user out.
#[test]
fn e08_a_pending_enrolment_asks_no_login_for_a_code() {
    pending_account()
        .when(start_login(Right))
        .then("logged in by password")
        .records(&["login-completed"])
        .when(verify_vouched(code_now(0)))
        .then("factor.not_on")
        .records(&[]);
}

#[test]
fn a_cancelled_enrolment_is_gone() {
    pending_account()
        .when(cancel_nth(0))
        .then("off")
        .records(&["enrolment-cancelled"])
        .when(confirm(code_now(0)))
        .then("factor.not_pending")
        .when(cancel_nth(0))
        .then("factor.not_pending");
}

#[test]
fn a_factor_that_is_on_is_not_cancelled() {
    enabled_account()
        .when(cancel_nth(0))
        .then("factor.not_pending")
        .records(&[])
        .where_account(|a| a.on().is_some());
}

#[test]
fn a_factor_is_turned_off_with_the_password() {
    enabled_account()
        .when(disable(Right))
        .then("off")
        .records(&["two-factor-disabled"])
        .when(start_login(Right))
        .then("logged in by password");
    enabled_account()
        .when(disable(Wrong))
        .then("credentials.invalid")
        .records(&["password-rejected"])
        .where_account(|a| a.on().is_some());
}

#[test]
fn what_is_off_is_not_turned_off() {
    for scenario in [registered_account(), pending_account()] {
        let factor = scenario.account.factor.clone();
        scenario
            .when(disable(Right))
            .then("factor.not_on")
            .records(&[])
            .where_account(|a| a.factor == factor);
    }
}

#[test]
fn after_off_and_on_again_no_code_of_the_first_time_works() {
    let again = enabled_account()
        .when(start_login(Right))
        .when(disable(Right))
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 2");
    again
        .clone()
        .when(verify_login(code_now(1)))
        .then("challenge.expired");
    again
        .clone()
        .log_in_with(|s| code_of_step(s, 0, s.step_now() + 1))
        .then("code.invalid")
        .records(&["totp-rejected"]);
    again
        .log_in_with(backup_code_of(1, 3))
        .then("code.invalid")
        .records(&["backup-code-rejected"]);
}

#[test]
fn the_proof_is_in_the_event() {
    let credential = registered_account().account.credential.map(|c| c.version);
    let proof = FirstFactor::Password(credential.expect("registered"));
    registered_account()
        .when(enable(Right))
        .where_event(|e| matches!(e, Event::EnrolmentStarted(e) if e.proof == proof));
    registered_account().when(enable(Vouched)).where_event(
        |e| matches!(e, Event::EnrolmentStarted(e) if e.proof == FirstFactor::Vouched),
    );
}

/// R-01, devise CVE-2024-8796 (120 bits): every enrolment has a secret and an id of its own.
#[test]
fn no_two_enrolments_share_a_secret_or_an_id() {
    let twice = pending_account().when(enable(Right));
    assert_ne!(twice.authenticators[0], twice.authenticators[1]);
    assert_ne!(twice.secrets[0].as_bytes(), twice.secrets[1].as_bytes());
}

fn wrong_confirms(mut scenario: Scenario, count: usize) -> Scenario {
    for _ in 0..count {
        scenario = scenario
            .when(confirm(wrong_code()))
            .then("code.invalid")
            .records(&["enrolment-code-rejected"]);
    }
    scenario
}
