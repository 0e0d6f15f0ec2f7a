//! Evidence about another password, secret or set is never judged: the rules ask for the step
//! again.

use countersign_schemas::time::Micros;

use super::scenario::Password::{Right, Vouched, Wrong};
use super::scenario::{Scenario, unregistered};
use super::sentences::*;
use crate::account::{CodeEvidence, Created, Evidence, ProofEvidence};

/// Each command that takes a password, on an account where it would succeed.
fn with_password() -> Vec<(Scenario, BoxedAsk)> {
    vec![
        (registered_account(), boxed(start_login(Right))),
        (registered_account(), boxed(enable(Right))),
        (enabled_account(), boxed(start_login(Right))),
        (enabled_account(), boxed(disable(Right))),
        (enabled_account(), boxed(regenerate(Right))),
        (
            enabled_account(),
            boxed(change_password(Right, "a new password")),
        ),
    ]
}

fn proof(proof: ProofEvidence) -> impl Fn(&mut Evidence) {
    move |evidence| evidence.proof = proof
}

#[test]
fn a_password_compared_with_another_verifier_is_not_judged() {
    for right in [true, false] {
        for credential in [0, 1, 99] {
            for (scenario, ask) in with_password() {
                let stale = ProofEvidence::Compared { credential, right };
                scenario
                    .when_with(ask, proof(stale))
                    .then("needs ComparePassword")
                    .records(&[]);
            }
        }
    }
}

#[test]
fn a_password_that_was_not_compared_is_not_judged_once_its_wait_is_over() {
    for (scenario, ask) in with_password() {
        scenario
            .when_with(ask, proof(ProofEvidence::NotCompared))
            .then("needs ComparePassword");
    }
}

/// No password is right for an account without one.
#[test]
fn a_password_is_never_right_where_none_is_set() {
    let right = ProofEvidence::Compared {
        credential: 0,
        right: true,
    };
    unregistered()
        .when_with(enable(Right), proof(right))
        .then("needs ComparePassword");
    let vouched = unregistered()
        .when(enable(Vouched))
        .when(confirm(code_now(0)))
        .then("on, set 1");
    for ask in [
        boxed(start_login(Right)),
        boxed(disable(Right)),
        boxed(regenerate(Right)),
        boxed(change_password(Right, "a new password")),
    ] {
        vouched
            .clone()
            .when_with(ask, proof(right))
            .then("needs ComparePassword");
    }
}

#[test]
fn a_waiting_source_is_refused_whatever_its_evidence_says() {
    let mut waiting = registered_account();
    for _ in 0..11 {
        waiting = waiting.when(start_login(Wrong));
    }
    let credential = waiting.account.credential.as_ref().map_or(0, |c| c.version);
    for right in [true, false] {
        waiting
            .clone()
            .when_with(
                start_login(Right),
                proof(ProofEvidence::Compared { credential, right }),
            )
            .then("account.throttled for 5 s");
    }
}

fn code(code: CodeEvidence) -> impl Fn(&mut Evidence) {
    move |evidence| evidence.code = code.clone()
}

/// Returns evidence of an app code that is right except for its enrolment.
fn totp_of(scenario: &Scenario, enrolment: u32) -> CodeEvidence {
    let t = scenario.step_now();
    CodeEvidence::Totp {
        enrolment,
        step_now: t,
        matched: vec![t],
        next_matched: vec![t + 1],
    }
}

#[test]
fn an_app_code_compared_with_another_secret_is_not_judged() {
    let on = enabled_account();
    let enrolment = on.account.on().map_or(0, |on| on.enrolment);
    for other in [0, enrolment - 1, enrolment + 1] {
        let evidence = totp_of(&on, other);
        on.clone()
            .when_with(verify_vouched(code_now(0)), code(evidence))
            .then("needs CompareCode")
            .records(&[]);
    }
    let pending = pending_account();
    let enrolment = pending.account.pending().map_or(0, |p| p.enrolment);
    for other in [0, enrolment - 1, enrolment + 1] {
        let evidence = totp_of(&pending, other);
        pending
            .clone()
            .when_with(confirm(code_now(0)), code(evidence))
            .then("needs CompareCode");
    }
}

/// a login that raced a new set.
#[test]
fn a_backup_code_compared_with_another_set_or_ordinal_is_not_judged() {
    let on = enabled_account().when(regenerate(Right));
    for (set_no, ordinal) in [(0, 3), (1, 3), (3, 3), (2, 2), (2, 0)] {
        for right in [true, false] {
            let evidence = CodeEvidence::Backup {
                set_no,
                ordinal,
                right,
            };
            on.clone()
                .when_with(verify_vouched(backup_code(3)), code(evidence))
                .then("needs CompareCode")
                .records(&[]);
        }
    }
}

#[test]
fn a_code_of_one_kind_is_not_judged_by_evidence_of_the_other() {
    let on = enabled_account();
    let totp = totp_of(&on, on.account.on().map_or(0, |on| on.enrolment));
    let backup = CodeEvidence::Backup {
        set_no: 1,
        ordinal: 1,
        right: true,
    };
    for evidence in [backup.clone(), CodeEvidence::None] {
        on.clone()
            .when_with(verify_vouched(code_now(0)), code(evidence.clone()))
            .then("needs CompareCode");
        pending_account()
            .when_with(confirm(code_now(0)), code(evidence))
            .then("needs CompareCode");
    }
    for evidence in [totp, CodeEvidence::None] {
        on.clone()
            .when_with(verify_vouched(backup_code(1)), code(evidence))
            .then("needs CompareCode");
    }
}

/// evidence gathered before the wait began.
#[test]
fn a_throttled_account_is_not_judged_by_a_comparison_that_was_made_too_early() {
    let throttled = enabled_account().wrong_codes(4);
    let enrolment = throttled.account.on().map_or(0, |on| on.enrolment);
    let evidence = totp_of(&throttled, enrolment);
    throttled
        .when_with(verify_vouched(code_now(0)), code(evidence))
        .then("account.throttled for 5 s")
        .records(&[]);
}

#[test]
fn nothing_is_created_that_was_not_prepared() {
    let nothing = |evidence: &mut Evidence| evidence.created = Created::None;
    let rows: [(Scenario, BoxedAsk, &str); 4] = [
        (
            unregistered(),
            boxed(register("a good password")),
            "needs MakeVerifier",
        ),
        (
            registered_account(),
            boxed(change_password(Right, "a new password")),
            "needs MakeVerifier",
        ),
        (
            pending_account(),
            boxed(confirm(code_now(0))),
            "needs MakeCodes",
        ),
        (
            enabled_account(),
            boxed(regenerate(Right)),
            "needs MakeCodes",
        ),
    ];
    for (scenario, ask, step) in rows {
        scenario.when_with(ask, nothing).then(step).records(&[]);
    }
}

#[test]
fn steps_are_taken_of_the_moment_of_arrival_and_waits_of_log_time() {
    let on = enabled_account().wrong_codes(4);
    let arrived = on.wall;
    on.later("+30s")
        .when_with(verify_vouched(code_at("+30s")), move |evidence| {
            evidence.received_at = Micros(arrived.0);
        })
        .then("logged in by totp, 10 left");
}
