//! Codes used as proofs, in sentences: judged, counted and spent as at login.

use countersign_schemas::event::Event;

use super::scenario::Password::{Right, Vouched, Wrong};
use super::scenario::Scenario;
use super::sentences::*;
use crate::account::policy::Policy;

fn hardened() -> Scenario {
    let policy = Policy {
        require_code_too: true,
        ..Policy::default()
    };
    enabled_account().under(policy)
}

/// A command without its code; its answer when it is done; its event.
type Hardened = (fn() -> BoxedAsk, &'static str, &'static str);

/// Each command that policy hardens.
fn hardened_commands() -> Vec<Hardened> {
    vec![
        (|| boxed(disable(Right)), "off", "two-factor-disabled"),
        (
            || boxed(regenerate(Right)),
            "set 2, 10 superseded",
            "backup-codes-issued",
        ),
        (
            || boxed(change_password(Right, "a new password")),
            "password changed",
            "password-set",
        ),
    ]
}

/// R-11, B-08, P-09.
#[test]
fn where_policy_asks_for_a_code_the_password_alone_proves_nothing() {
    for (ask, done, _) in hardened_commands() {
        hardened()
            .when(ask())
            .then("credentials.invalid")
            .records(&["password-rejected"]);
        enabled_account().when(ask()).then(done);
    }
}

#[test]
fn a_code_as_a_proof_is_spent_before_what_it_proves() {
    for scenario in [hardened(), enabled_account()] {
        for (ask, done, event) in hardened_commands() {
            scenario
                .clone()
                .when(with_code(ask(), code_now(0), None))
                .then(done)
                .records(&["totp-accepted", event]);
        }
    }
}

/// E-07 for proofs: neither kind of code is a proof and a login.
#[test]
fn a_code_that_was_a_proof_is_no_login_and_the_other_way_round() {
    for code in [boxed_code(code_now(0)), boxed_code(backup_code(1))] {
        let changed = |scenario: Scenario| {
            let ask = change_password(Right, "a new password");
            scenario.when(with_code(ask, &code, None))
        };
        changed(hardened())
            .then("password changed")
            .when(verify_vouched(&code))
            .then("code.invalid");
        changed(hardened().when(verify_vouched(&code)))
            .then("code.invalid")
            .where_account(|a| a.credential.as_ref().is_some_and(|c| c.version == 2));
    }
}

type BoxedCode = Box<dyn Fn(&Scenario) -> countersign_schemas::code::Code>;

fn boxed_code(code: impl Fn(&Scenario) -> countersign_schemas::code::Code + 'static) -> BoxedCode {
    Box::new(code)
}

#[test]
fn a_wrong_code_as_a_proof_is_counted_and_nothing_else_happens() {
    for scenario in [hardened(), enabled_account()] {
        for (ask, _, _) in hardened_commands() {
            let before = scenario.account.clone();
            scenario
                .clone()
                .when(with_code(ask(), wrong_code(), None))
                .then("code.invalid")
                .records(&["totp-rejected"])
                .where_account(|a| a.credential == before.credential && a.factor == before.factor)
                .where_account(|a| a.attempts.failed_at.len() == 1);
            scenario
                .clone()
                .when(with_code(ask(), wrong_backup_code(3), None))
                .then("code.invalid")
                .records(&["backup-code-rejected"]);
        }
    }
}

/// proofs and logins share one budget and one gate; Vaultwarden CVE-2026-27801.
#[test]
fn proofs_and_logins_share_one_budget() {
    let mut scenario = hardened();
    for (n, (ask, _, _)) in hardened_commands().into_iter().cycle().take(4).enumerate() {
        let events: &[&str] = match n {
            3 => &["totp-rejected", "attempts-throttled"],
            _ => &["totp-rejected"],
        };
        scenario = scenario
            .when(with_code(ask(), wrong_code(), None))
            .records(events);
    }
    for code in [boxed_code(code_now(0)), boxed_code(wrong_code())] {
        scenario
            .clone()
            .when(with_code(disable(Right), code, None))
            .then("account.throttled for 5 s")
            .records(&[]);
    }
    scenario
        .clone()
        .when(verify_vouched(code_now(0)))
        .then("account.throttled for 5 s");
    scenario
        .when(with_code(disable(Right), backup_code(1), None))
        .then("off")
        .records(&["backup-code-accepted", "two-factor-disabled"]);
}

#[test]
fn in_double_code_mode_a_proof_needs_two_codes() {
    let mode = hardened().wrong_codes(10).later("+1h");
    mode.clone()
        .when(with_code(disable(Right), code_now(0), None))
        .then("code.second_required")
        .records(&[]);
    let next = code_now(1)(&mode);
    mode.when(with_code(disable(Right), code_now(0), Some(next)))
        .then("off")
        .where_event(|e| matches!(e, Event::TotpAccepted(e) if e.double_code));
}

#[test]
fn a_code_with_a_wrong_password_is_not_compared() {
    hardened()
        .when(with_code(disable(Wrong), code_now(0), None))
        .then("credentials.invalid")
        .records(&["password-rejected"])
        .when(with_code(disable(Right), code_now(0), None))
        .then("off");
}

#[test]
fn a_code_where_there_is_no_app_is_refused_and_not_ignored() {
    let ask = change_password(Right, "a new password");
    registered_account()
        .when(with_code(ask, wrong_backup_code(1), None))
        .then("factor.not_on")
        .records(&[]);
}

#[test]
fn a_caller_that_vouches_needs_the_code_all_the_same() {
    hardened()
        .when(disable(Vouched))
        .then("credentials.invalid")
        .when(with_code(disable(Vouched), code_now(0), None))
        .then("off");
}

/// The code that pays for a new set is spent, not superseded.
#[test]
fn a_backup_code_that_proves_the_owner_is_not_counted_as_superseded() {
    hardened()
        .when(with_code(regenerate(Right), backup_code(4), None))
        .then("set 2, 9 superseded")
        .records(&["backup-code-accepted", "backup-codes-issued"]);
}

/// TM-03 for proofs.
#[test]
fn a_code_as_a_proof_needs_a_clock_as_a_login_does() {
    hardened()
        .at("-2m")
        .when(with_code(disable(Right), code_now(0), None))
        .then("off");
    hardened()
        .when(verify_vouched(wrong_code()))
        .at("-2m")
        .when(with_code(disable(Right), code_now(0), None))
        .then("store.unavailable")
        .records(&[]);
}
