//! Logging in: the first factor opens a challenge, a code of either kind completes it.

use countersign_schemas::code::{BackupCode, Code};
use countersign_schemas::command::VerifyLogin;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::backup_codes::v1::{
    BackupCodeAccepted, BackupCodeReason, BackupCodeRejected,
};
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::login::v1::{
    CodeReplayed, LoginCompleted, LoginStarted, TotpAccepted, TotpReason, TotpRejected,
};
use countersign_schemas::ids::ChallengeId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Method;

use super::attempts::Gate;
use super::evidence::{CodeEvidence, Evidence};
use super::outcome::{Reply, login_verified, methods};
use super::policy::Policy;
use super::{Account, Ctx, Decision, On, credentials};

pub(super) fn start(account: &Account, evidence: &Evidence, ctx: &Ctx) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Login, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    let Some(account_id) = account.id.clone() else {
        return Decision::refused(ErrorCode::CredentialsInvalid);
    };
    let credential = match proof {
        FirstFactor::Password(version) => version,
        FirstFactor::Vouched => 0,
    };
    if account.on().is_none() {
        let event = Event::LoginCompleted(LoginCompleted { credential });
        return Decision::recorded(vec![event], Reply::LoginByPassword { account_id });
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&ctx.entropy[..16]);
    let challenge_id = ChallengeId::from_random(bits);
    let expires_at = ctx.now.plus_s(ctx.policy.challenge_ttl_s);
    let challenge = challenge_id.hash();
    let event = Event::LoginStarted(LoginStarted {
        challenge,
        expires_at,
        credential,
    });
    let methods = methods(account);
    let reply = Reply::CodeRequired {
        account_id,
        challenge_id,
        methods,
        expires_at,
    };
    Decision::recorded(vec![event], reply)
}

/// A login whose first factor stands: what a code is judged against.
struct Attempt<'a> {
    account: &'a Account,
    on: &'a On,
    first_factor: FirstFactor,
    challenge: Option<[u8; 16]>,
}

pub(super) fn verify(
    account: &Account,
    command: &VerifyLogin,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let (first_factor, challenge) = match first_factor(account, command, ctx) {
        Ok(proven) => proven,
        Err(code) => return Decision::refused(code),
    };
    let Some(on) = account.on() else {
        return Decision::refused(ErrorCode::FactorNotOn);
    };
    if clock_is_behind(evidence, ctx) {
        return Decision::refused(ErrorCode::StoreUnavailable);
    }
    let attempt = Attempt {
        account,
        on,
        first_factor,
        challenge,
    };
    match &command.code {
        Code::Totp(_) => attempt.totp(command.next_code.is_some(), evidence, ctx),
        Code::Backup(code) => attempt.backup_code(code, evidence, ctx),
    }
}

/// What the login rests on: an open challenge of this caller, or the caller's own word.
fn first_factor(
    account: &Account,
    command: &VerifyLogin,
    ctx: &Ctx,
) -> Result<(FirstFactor, Option<[u8; 16]>), ErrorCode> {
    let Some(id) = &command.challenge_id else {
        return match account.exists() {
            true => Ok((FirstFactor::Vouched, None)),
            false => Err(ErrorCode::AccountNotFound),
        };
    };
    let hash = id.hash();
    account
        .challenges
        .iter()
        .find(|open| open.hash == hash && open.caller == ctx.caller && ctx.now < open.expires_at)
        .map(|open| (open.first_factor(), Some(hash)))
        .ok_or(ErrorCode::ChallengeExpired)
}

impl Attempt<'_> {
    fn totp(&self, has_next: bool, evidence: &Evidence, ctx: &Ctx) -> Decision {
        let pair = match self.account.attempts.gate(ctx.now, ctx.policy) {
            Gate::Suspended => return Decision::refused(ErrorCode::FactorSuspended),
            Gate::Wait(s) => return Decision::refused_for(ErrorCode::AccountThrottled, s),
            Gate::DoubleCode if !has_next => {
                return Decision::refused(ErrorCode::CodeSecondRequired);
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
            | CodeEvidence::NotCompared
            | CodeEvidence::None => return Decision::Stale,
        };
        let accepted = match pair {
            false => self.single(matched, step_now, ctx.policy),
            true => self.pair(matched, next_matched, step_now, ctx.policy),
        };
        match accepted {
            Ok(step) => self.accept_totp(step, step_now, pair, ctx),
            Err(refused) => self.reject_totp(refused, ctx),
        }
    }

    /// The step that one code spends: the highest that matches, above all that are spent.
    ///
    /// A code whose digits equal the last accepted one is refused while that one could still be
    /// valid, even where they belong to a later step too (NIST SP 800-63B §3.1.4.2).
    fn single(&self, matched: &[u64], step_now: u64, policy: &Policy) -> Result<u64, WrongTotp> {
        let last = self.on.last_step;
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

    /// The second step of a right pair: (s, s+1), both unspent and in the window.
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

    fn accept_totp(&self, step: u64, step_now: u64, double_code: bool, ctx: &Ctx) -> Decision {
        let event = Event::TotpAccepted(TotpAccepted {
            step,
            drift: drift(step, step_now),
            enrolment: self.on.enrolment,
            double_code,
            first_factor: self.first_factor,
            challenge: self.challenge,
        });
        let left = self.on.codes.left();
        let reply = login_verified(self.account, Method::Totp, left, ctx.policy.low_codes);
        Decision::recorded(vec![event], reply)
    }

    fn reject_totp(&self, wrong: WrongTotp, ctx: &Ctx) -> Decision {
        let attempts = &self.account.attempts;
        let (failures, consecutive) = attempts.counted(ctx.now, ctx.policy);
        let (enrolment, first_factor) = (self.on.enrolment, self.first_factor);
        let pair = matches!(wrong, WrongTotp::Reason(TotpReason::WrongPair));
        let counted = match wrong {
            WrongTotp::Replayed(step) => Event::CodeReplayed(CodeReplayed {
                step,
                enrolment,
                failures,
                consecutive,
                first_factor,
            }),
            WrongTotp::Reason(reason) => Event::TotpRejected(TotpRejected {
                reason,
                enrolment,
                failures,
                consecutive,
                first_factor,
            }),
        };
        let mut events = vec![counted];
        events.extend(attempts.consequences(ctx.now, pair, ctx.policy));
        Decision::recorded_refusal(events, Refusal::new(ErrorCode::CodeInvalid))
    }

    /// Always compared, whatever the app's failures led to: at 70 random bits guessing is
    /// hopeless, and a limit would let a password thief shut the owner out.
    fn backup_code(&self, code: &BackupCode, evidence: &Evidence, ctx: &Ctx) -> Decision {
        let codes = &self.on.codes;
        let right = match evidence.code {
            CodeEvidence::Backup {
                set_no,
                ordinal,
                right,
            } if set_no == codes.set_no && ordinal == code.ordinal() => right,
            CodeEvidence::Backup { .. }
            | CodeEvidence::Totp { .. }
            | CodeEvidence::NotCompared
            | CodeEvidence::None => return Decision::Stale,
        };
        let ordinal = code.ordinal();
        if !right || !codes.is_unused(ordinal) {
            let event = Event::BackupCodeRejected(BackupCodeRejected {
                set_no: codes.set_no,
                ordinal,
                reason: if right {
                    BackupCodeReason::Used
                } else {
                    BackupCodeReason::Wrong
                },
                first_factor: self.first_factor,
            });
            return Decision::recorded_refusal(vec![event], Refusal::new(ErrorCode::CodeInvalid));
        }
        let remaining = codes.left() - 1;
        let event = Event::BackupCodeAccepted(BackupCodeAccepted {
            set_no: codes.set_no,
            ordinal,
            remaining,
            first_factor: self.first_factor,
            challenge: self.challenge,
        });
        let low_codes = ctx.policy.low_codes;
        let reply = login_verified(self.account, Method::BackupCode, remaining, low_codes);
        Decision::recorded(vec![event], reply)
    }
}

/// Why an app code is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WrongTotp {
    Replayed(u64),
    Reason(TotpReason),
}

/// Whether the wall clock lies so far behind the log that a spent code could look fresh.
pub(super) fn clock_is_behind(evidence: &Evidence, ctx: &Ctx) -> bool {
    evidence.received_at.plus_s(ctx.policy.clock_back_max_s) < ctx.now
}

/// The highest of the matching steps that lies in the window (RFC 6238 §5.2).
pub(super) fn highest_in_window(matched: &[u64], step_now: u64, policy: &Policy) -> Option<u64> {
    matched
        .iter()
        .copied()
        .filter(|step| in_window(*step, step_now, policy))
        .max()
}

fn in_window(step: u64, step_now: u64, policy: &Policy) -> bool {
    step.abs_diff(step_now) <= policy.window_steps
}

/// How far the step lies from the step of arrival; the window keeps it small.
pub(super) fn drift(step: u64, step_now: u64) -> i8 {
    step.wrapping_sub(step_now).cast_signed() as i8
}
