//! Why a recorded decision had its result, in plain words and without a secret.

use countersign_schemas::event::account::v1::{PasswordCause, PasswordRejected};
use countersign_schemas::event::backup_codes::v1::{BackupCodeReason, IssueCause};
use countersign_schemas::event::enrolment::v1::{DisabledBy, FirstFactor, Mismatch};
use countersign_schemas::event::login::v1::TotpReason;
use countersign_schemas::event::{Cause, Event};
use countersign_schemas::time::Micros;

use super::reasons_support::support_reason;
use crate::account::attempts::Gate;
use crate::account::policy::Policy;
use crate::account::{Account, Factor};

/// The verdict of a group of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The command was done.
    Allowed,
    /// The command was refused.
    Refused,
    /// No command was decided: the service recorded the events by itself.
    Recorded,
}

/// Returns the verdict of a group of events, by its first event.
pub fn verdict(events: &[Event]) -> Verdict {
    match events.first() {
        // A step on an expired case; before a request, the same event makes room for a new case.
        Some(Event::ResetExpired(_)) if events.len() == 1 => Verdict::Refused,
        Some(event) => match event.cause() {
            Cause::Done => Verdict::Allowed,
            Cause::Refused => Verdict::Refused,
            Cause::Own | Cause::Access => Verdict::Recorded,
        },
        None => Verdict::Recorded,
    }
}

/// Returns the reasons for a group of events, one sentence each, from the account right before, the
/// events and the policy in force at `at`.
pub fn reasons(before: &Account, events: &[Event], at: Micros, policy: &Policy) -> Vec<String> {
    let mut reasons = Vec::new();
    for event in events {
        if let Some(first_factor) = first_factor(event) {
            reasons.push(first_factor_reason(first_factor));
        }
        code_reason(before, event, at, policy, &mut reasons);
        reasons.extend(other_reason(before, event, policy));
        reasons.extend(support_reason(before, event, at, policy));
    }
    reasons.dedup();
    reasons
}

fn first_factor(event: &Event) -> Option<FirstFactor> {
    match event {
        Event::TotpAccepted(e) => Some(e.first_factor),
        Event::TotpRejected(e) => Some(e.first_factor),
        Event::CodeReplayed(e) => Some(e.first_factor),
        Event::BackupCodeAccepted(e) => Some(e.first_factor),
        Event::BackupCodeRejected(e) => Some(e.first_factor),
        Event::EnrolmentStarted(e) => Some(e.proof),
        Event::TwoFactorDisabled(e) => {
            let DisabledBy::User(proof) = e.by;
            Some(proof)
        }
        Event::BackupCodesIssued(e) => match e.cause {
            IssueCause::Regenerated(proof) => Some(proof),
            IssueCause::Enrolment => None,
        },
        Event::LoginStarted(e) => Some(of_credential(e.credential)),
        Event::LoginCompleted(e) => Some(of_credential(e.credential)),
        _ => None,
    }
}

fn of_credential(credential: u32) -> FirstFactor {
    match credential {
        0 => FirstFactor::Vouched,
        version => FirstFactor::Password(version),
    }
}

fn first_factor_reason(first_factor: FirstFactor) -> String {
    match first_factor {
        FirstFactor::Vouched => "The caller answered for the first factor.".to_owned(),
        FirstFactor::Password(version) => format!(
            "The password was right: it is the one that the account's version {version} set."
        ),
    }
}

/// Adds the reasons for the result of a code of either kind.
fn code_reason(
    before: &Account,
    event: &Event,
    at: Micros,
    policy: &Policy,
    reasons: &mut Vec<String>,
) {
    let window = policy.window_steps;
    let last = before.on().map_or(0, |on| on.last_step);
    match event {
        Event::TotpAccepted(e) => {
            reasons.push(gate_reason(before, at, policy));
            reasons.push(format!(
                "The code belongs to step {}, {} from the step at which it arrived; {window} either way are taken.",
                e.step, e.drift
            ));
            reasons.push(format!(
                "The highest step spent before was {last}, so this one had not been used."
            ));
        }
        Event::TotpRejected(e) => {
            reasons.push(gate_reason(before, at, policy));
            reasons.push(match e.reason {
                TotpReason::Wrong => format!(
                    "The code belongs to none of the steps within {window} of the one at which it arrived."
                ),
                TotpReason::WrongPair => {
                    "The two codes belong to no two consecutive steps that were unspent and in the window."
                        .to_owned()
                }
            });
            reasons.push(counted_reason(e.failures, e.consecutive, policy));
        }
        Event::CodeReplayed(e) => {
            reasons.push(gate_reason(before, at, policy));
            reasons.push(format!(
                "The code belongs to step {}, and every step up to {last} was spent.",
                e.step
            ));
            reasons.push(counted_reason(e.failures, e.consecutive, policy));
        }
        Event::BackupCodeAccepted(e) => reasons.push(format!(
            "Backup code {} of set {} matched its verifier and was unused; {} were left.",
            e.ordinal, e.set_no, e.remaining
        )),
        Event::BackupCodeRejected(e) => reasons.push(match e.reason {
            BackupCodeReason::Wrong => format!(
                "The code that names ordinal {} matched no verifier of set {}.",
                e.ordinal, e.set_no
            ),
            BackupCodeReason::Used => format!(
                "Backup code {} of set {} matched, but had been used.",
                e.ordinal, e.set_no
            ),
        }),
        _ => {}
    }
}

fn gate_reason(before: &Account, at: Micros, policy: &Policy) -> String {
    match before.attempts.gate(at, policy) {
        Gate::Open => {
            "The code could be compared: no wait and no suspension was in force.".to_owned()
        }
        Gate::DoubleCode => {
            "Two consecutive codes were required because of earlier wrong codes.".to_owned()
        }
        Gate::Wait(seconds) => format!("A wait was in force for {seconds} s more."),
        Gate::Suspended => "App codes were suspended.".to_owned(),
    }
}

fn counted_reason(failures: u16, consecutive: u16, policy: &Policy) -> String {
    format!(
        "It was counted: failure {failures} of the {} that {} days allow, {consecutive} in a row.",
        policy.code_failures_budget,
        policy.code_failures_window_s / 86_400
    )
}

fn other_reason(before: &Account, event: &Event, policy: &Policy) -> Option<String> {
    Some(match event {
        Event::PasswordRejected(e) => password_reason(e, policy),
        Event::LoginPairRejected(e) => format!(
            "Passwords waited, so only both right would have been taken: the password that the account's version {} set, and a code behind an open gate of its own. A wrong code is counted where the password was right.",
            e.credential
        ),
        Event::UnknownNameRefused(_) => "No account has the given name.".to_owned(),
        Event::PasswordSet(e) => match e.cause {
            PasswordCause::Registered => "The password meets the policy.".to_owned(),
            PasswordCause::Changed => {
                "The old password was verified and the new one meets the policy.".to_owned()
            }
        },
        Event::AccountRegistered(_) => {
            "The account did not exist, and its name was free.".to_owned()
        }
        Event::LoginStarted(_) => {
            "Two-factor authentication was on, so a code was asked for.".to_owned()
        }
        Event::LoginCompleted(_) => {
            "Two-factor authentication was off, so the first factor sufficed.".to_owned()
        }
        Event::EnrolmentStarted(_) => match before.factor {
            Factor::Pending(_) => {
                "Two-factor authentication was not on; the enrolment replaced one that waited."
                    .to_owned()
            }
            Factor::Off { .. } | Factor::On(_) => {
                "Two-factor authentication was not on.".to_owned()
            }
        },
        Event::TwoFactorEnabled(e) => format!(
            "The first code of the enrolment belongs to step {}, {} from the step at which it arrived; {} either way are taken.",
            e.step, e.drift, policy.window_steps
        ),
        Event::EnrolmentCodeRejected(e) => match e.reason {
            Mismatch::Wrong => format!(
                "The code belongs to no step within {} of the one at which it arrived.",
                policy.diagnosis_steps
            ),
            Mismatch::ClockOff(steps) => format!(
                "The code is that of {steps} steps off, more than the {} that are taken: the app's clock is wrong.",
                policy.window_steps
            ),
            Mismatch::WrongKind => "A backup code cannot confirm an enrolment.".to_owned(),
        },
        Event::EnrolmentExpired(_) => format!(
            "The enrolment had waited longer than the {} s that the policy allows.",
            policy.enrolment_ttl_s
        ),
        Event::EnrolmentCancelled(_) => "The enrolment was waiting.".to_owned(),
        Event::AttemptsThrottled(_) => format!(
            "Each failure of the budget beyond the first {} sets a wait: {} s, doubling up to {} s.",
            policy.code_failures_free, policy.wait_first_s, policy.wait_max_s
        ),
        Event::DoubleCodeRequired(_) => format!(
            "The budget of {} failures was spent.",
            policy.code_failures_budget
        ),
        _ => return None,
    })
}

fn password_reason(e: &PasswordRejected, policy: &Policy) -> String {
    format!(
        "The password did not match the one that the account's version {} set{}; failure {} of this source, {} are free, and {} of all in the day.",
        e.credential,
        match policy.require_code_too {
            true => ", or the code that policy asks for beside it was missing",
            false => "",
        },
        e.failures,
        policy.password_failures_free,
        e.day_failures
    )
}
