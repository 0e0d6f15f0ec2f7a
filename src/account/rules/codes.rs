//! Judges a code of either kind, at login and as a proof: one gate, one count, spent once.

use countersign_schemas::code::{BackupCode, Code};
use countersign_schemas::command::Proof;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::backup_codes::v1::{
    BackupCodeAccepted, BackupCodeReason, BackupCodeRejected,
};
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::login::v1::{CodeReplayed, TotpAccepted, TotpReason, TotpRejected};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Method;

use super::credentials::wrong_password;
use crate::account::attempts::Gate;
use crate::account::evidence::{CodeEvidence, Evidence};
use crate::account::policy::Policy;
use crate::account::{Account, Ctx, Decision, On, Step};

/// Whether this is the build that accepts spent codes, which the race tests must detect.
const IS_MUTANT: bool = cfg!(feature = "mutant-spent-codes");

/// A command whose first factor is right, and what its code is judged against.
pub(super) struct Attempt<'a> {
    pub(in crate::account) account: &'a Account,
    pub(super) on: &'a On,
    pub(super) purpose: Purpose,
    pub(super) first_factor: FirstFactor,
    pub(super) challenge: Option<[u8; 16]>,
}

/// A right code, which is spent once its event is recorded.
pub(super) struct Accepted {
    pub(super) event: Event,
    pub(super) method: Method,
    /// The number of backup codes that are unused then.
    pub(super) left: u8,
}

/// The code that a command sends with its first factor.
#[derive(Clone, Copy)]
pub(super) struct GivenCode<'a> {
    pub(super) code: Option<&'a Code>,
    pub(super) next_code: Option<&'a Code>,
}

impl<'a> GivenCode<'a> {
    pub(super) fn of(proof: Option<&'a Proof>) -> Self {
        Self {
            code: proof.and_then(|proof| proof.code.as_ref()),
            next_code: proof.and_then(|proof| proof.next_code.as_ref()),
        }
    }
}

/// Judges the code of a command whose first factor is right. A code that was given is never
/// ignored; `None` if none was given and neither policy nor a suspension requires one.
///
/// # Errors
/// The decision that ends the command. A missing code that policy requires is refused and counted
/// like a wrong password, or only refused if the caller vouched for the first factor.
pub(super) fn prove(
    account: &Account,
    given: GivenCode,
    purpose: Purpose,
    first_factor: FirstFactor,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Result<Option<Accepted>, Box<Decision>> {
    let refused = |code| Err(Box::new(Decision::refused(code)));
    let (code, on) = match (given.code, account.on()) {
        (Some(code), Some(on)) => (code, on),
        (Some(_), None) => return refused(account.why_not_on(ctx)),
        (None, Some(_)) if account.attempts.suspended.is_some() && changes_factor(purpose) => {
            return Err(Box::new(account.refused_as_suspended()));
        }
        (None, Some(_)) if ctx.policy.require_code_too => {
            return Err(Box::new(match first_factor {
                FirstFactor::Password(version) => wrong_password(account, purpose, version, ctx),
                FirstFactor::Vouched => Decision::refused(ErrorCode::CredentialsInvalid),
            }));
        }
        (None, _) => return Ok(None),
    };
    if clock_is_behind(evidence, ctx) {
        return refused(ErrorCode::StoreUnavailable);
    }
    let attempt = Attempt {
        account,
        on,
        purpose,
        first_factor,
        challenge: None,
    };
    attempt
        .judge(code, given.next_code.is_some(), evidence, ctx)
        .map(Some)
}

impl Attempt<'_> {
    /// Judges a code of either kind; the event of an accepted code spends it.
    ///
    /// # Errors
    /// The decision that ends the command: a refusal, counted if the code was compared, or the step
    /// that compares the code, which only an open gate asks for.
    pub(super) fn judge(
        &self,
        code: &Code,
        has_next: bool,
        evidence: &Evidence,
        ctx: &Ctx,
    ) -> Result<Accepted, Box<Decision>> {
        match code {
            Code::Totp(_) => self.totp(has_next, evidence, ctx),
            Code::Backup(code) => self.backup_code(code, evidence),
        }
    }

    fn totp(
        &self,
        has_next: bool,
        evidence: &Evidence,
        ctx: &Ctx,
    ) -> Result<Accepted, Box<Decision>> {
        let refused = |decision| Err(Box::new(decision));
        let pair = match self.account.attempts.gate(ctx.gated_at, ctx.policy) {
            Gate::Suspended => return refused(self.account.refused_as_suspended()),
            Gate::Wait(s) => return refused(Decision::refused_for(ErrorCode::AccountThrottled, s)),
            Gate::DoubleCode if !has_next => {
                return refused(Decision::refused(ErrorCode::CodeSecondRequired));
            }
            Gate::DoubleCode => true,
            Gate::Open => false,
        };
        let (step_now, matched, next_matched) = match &evidence.code {
            CodeEvidence::Totp {
                enrolment,
                step_now,
                matched,
                next_matched,
            } if *enrolment == self.on.enrolment => (*step_now, matched, next_matched),
            CodeEvidence::Totp { .. }
            | CodeEvidence::Backup { .. }
            | CodeEvidence::Nothing
            | CodeEvidence::None => {
                return refused(Decision::Needs(Step::CompareCode));
            }
        };
        let accepted = match pair {
            false => self.single(matched, step_now, ctx.policy),
            true => self.pair(matched, next_matched, step_now, ctx.policy),
        };
        match accepted {
            Ok(step) => Ok(self.accept_totp(step, step_now, pair)),
            Err(wrong) => refused(self.reject_totp(wrong, ctx)),
        }
    }

    /// Returns the step that one code spends: the highest matching step, if it is above every spent
    /// one.
    ///
    /// A code with the digits of the last accepted one is refused while that one could still be
    /// valid, even if the digits belong to a later step too (NIST SP 800-63B §3.1.4.2).
    fn single(&self, matched: &[u64], step_now: u64, policy: &Policy) -> Result<u64, WrongTotp> {
        let last = match IS_MUTANT {
            true => 0,
            false => self.on.last_step,
        };
        let last_is_fresh = step_now <= last.saturating_add(2 * policy.window_steps + 1);
        if last_is_fresh && matched.contains(&last) {
            return Err(WrongTotp::Replayed(last));
        }
        match highest_in_window(matched, step_now, policy) {
            Some(step) if step > last => Ok(step),
            Some(step) => Err(WrongTotp::Replayed(step)),
            None => Err(WrongTotp::Reason(TotpReason::Wrong)),
        }
    }

    /// Returns the second step of a right pair (s, s+1), both unspent and in the window.
    fn pair(
        &self,
        first: &[u64],
        next: &[u64],
        step_now: u64,
        policy: &Policy,
    ) -> Result<u64, WrongTotp> {
        first
            .iter()
            .filter(|step| **step > self.on.last_step && in_window(**step, step_now, policy))
            .filter_map(|step| step.checked_add(1))
            .rfind(|step| next.contains(step) && in_window(*step, step_now, policy))
            .ok_or(WrongTotp::Reason(TotpReason::WrongPair))
    }

    fn accept_totp(&self, step: u64, step_now: u64, double_code: bool) -> Accepted {
        let event = Event::TotpAccepted(TotpAccepted {
            step,
            drift: drift(step, step_now),
            enrolment: self.on.enrolment,
            double_code,
            purpose: self.purpose,
            first_factor: self.first_factor,
            challenge: self.challenge,
        });
        Accepted {
            event,
            method: Method::Totp,
            left: self.on.codes.left(),
        }
    }

    fn reject_totp(&self, wrong: WrongTotp, ctx: &Ctx) -> Decision {
        let attempts = &self.account.attempts;
        let (failures, consecutive) = attempts.counted(ctx.now, ctx.policy);
        let day_failures = attempts.counted_today(ctx.now);
        let (purpose, first_factor) = (self.purpose, self.first_factor);
        let enrolment = self.on.enrolment;
        let pair = matches!(wrong, WrongTotp::Reason(TotpReason::WrongPair));
        let counted = match wrong {
            WrongTotp::Replayed(step) => Event::CodeReplayed(CodeReplayed {
                step,
                enrolment,
                failures,
                consecutive,
                day_failures,
                purpose,
                first_factor,
            }),
            WrongTotp::Reason(reason) => Event::TotpRejected(TotpRejected {
                reason,
                enrolment,
                failures,
                consecutive,
                day_failures,
                purpose,
                first_factor,
            }),
        };
        let mut events = vec![counted];
        events.extend(attempts.consequences(ctx.now, pair, ctx.policy));
        Decision::recorded_refusal(events, Refusal::new(ErrorCode::CodeInvalid))
    }

    // BUG: backup-code-records: each wrong backup code is a record of its own.
    /// Judges a backup code, whatever state app codes are in: at 70 random bits guessing is
    /// hopeless, and a limit would let a password thief shut the owner out.
    fn backup_code(
        &self,
        code: &BackupCode,
        evidence: &Evidence,
    ) -> Result<Accepted, Box<Decision>> {
        let codes = &self.on.codes;
        let right = match evidence.code {
            CodeEvidence::Backup {
                set_no,
                ordinal,
                right,
            } if set_no == codes.set_no && ordinal == code.ordinal() => right,
            CodeEvidence::Backup { .. }
            | CodeEvidence::Totp { .. }
            | CodeEvidence::Nothing
            | CodeEvidence::None => {
                return Err(Box::new(Decision::Needs(Step::CompareCode)));
            }
        };
        let ordinal = code.ordinal();
        if !right || !codes.is_unused(ordinal) && !IS_MUTANT {
            let event = Event::BackupCodeRejected(BackupCodeRejected {
                set_no: codes.set_no,
                ordinal,
                reason: if right {
                    BackupCodeReason::Used
                } else {
                    BackupCodeReason::Wrong
                },
                purpose: self.purpose,
                first_factor: self.first_factor,
            });
            let refusal = Refusal::new(ErrorCode::CodeInvalid);
            let decision = Decision::recorded_refusal(vec![event], refusal);
            return Err(Box::new(decision));
        }
        let remaining = codes.left() - 1;
        let event = Event::BackupCodeAccepted(BackupCodeAccepted {
            set_no: codes.set_no,
            ordinal,
            remaining,
            purpose: self.purpose,
            first_factor: self.first_factor,
            challenge: self.challenge,
        });
        Ok(Accepted {
            event,
            method: Method::BackupCode,
            left: remaining,
        })
    }
}

/// Returns whether a command removes the second factor or replaces its codes.
fn changes_factor(purpose: Purpose) -> bool {
    match purpose {
        Purpose::Disable | Purpose::Regenerate => true,
        Purpose::Login | Purpose::ChangePassword | Purpose::Enable => false,
    }
}

/// Why an app code is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WrongTotp {
    Replayed(u64),
    Reason(TotpReason),
}

/// Returns whether the wall clock is so far behind that an old code could look fresh.
pub(super) fn clock_is_behind(evidence: &Evidence, ctx: &Ctx) -> bool {
    evidence.received_at.plus_s(ctx.policy.clock_back_max_s) < ctx.clock_floor
}

/// Returns the highest of the matching steps in the window (RFC 6238 §5.2).
pub(super) fn highest_in_window(matched: &[u64], step_now: u64, policy: &Policy) -> Option<u64> {
    matched
        .iter()
        .copied()
        .filter(|step| in_window(*step, step_now, policy))
        .max()
}

fn in_window(step: u64, step_now: u64, policy: &Policy) -> bool {
    steps_off(step, step_now).unsigned_abs() <= policy.window_steps
}

/// Returns how far a step is from the step of arrival, in steps; the window keeps it small.
pub(super) fn drift(step: u64, step_now: u64) -> i8 {
    steps_off(step, step_now) as i8
}

/// Returns how many steps a step is ahead of another one (positive) or behind it (negative), at
/// most `i64::MAX`. Every distance between steps is computed here.
pub(super) fn steps_off(step: u64, from: u64) -> i64 {
    let apart = i64::try_from(step.abs_diff(from)).unwrap_or(i64::MAX);
    match step < from {
        true => -apart,
        false => apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A distance that wraps would make the step furthest away the nearest one.
    #[test]
    fn distances_between_steps_are_right_also_at_the_ends_of_their_range() {
        assert_eq!(
            (steps_off(3, 5), steps_off(5, 3), steps_off(5, 5)),
            (-2, 2, 0)
        );
        assert_eq!(steps_off(u64::MAX, 0), i64::MAX);
        assert_eq!(steps_off(0, u64::MAX), -i64::MAX);
        let policy = Policy::default();
        assert!(!in_window(u64::MAX, 0, &policy) && in_window(u64::MAX, u64::MAX - 1, &policy));
    }
}
