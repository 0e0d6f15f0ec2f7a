//! Turns the second factor on and off.

use countersign_schemas::code::Code;
use countersign_schemas::command::{CancelEnrolment, ConfirmCode, Disable2fa, Enable2fa};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::backup_codes::v1::IssueCause;
use countersign_schemas::event::enrolment::v1::{
    DisabledBy, EnrolmentCancelled, EnrolmentCodeRejected, EnrolmentExpired, EnrolmentStarted,
    Mismatch, TwoFactorDisabled, TwoFactorEnabled,
};
use countersign_schemas::event::reset::v1::CancelledBy;
use countersign_schemas::ids::AuthenticatorId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;

use super::codes::GivenCode;
use super::{backup_codes, codes, credentials};
use crate::account::evidence::{CodeEvidence, Created, Evidence};
use crate::account::outcome::{Reply, SecretReply, enrolment_code_refusal};
use crate::account::{Account, Ctx, Decision, Factor, Pending, Step};
use crate::crypto::otp::{SECRET_BYTES, TotpSecret};

/// Begins an enrolment with a new secret; it replaces a pending one.
///
/// Checks the first factor, then that 2FA is off. Records `enrolment-started`, and before it
/// `account-registered` for an account that needs no registration. A wrong password counts as an
/// attempt.
pub(in crate::account) fn enable(
    account: &Account,
    command: &Enable2fa,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Enable, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    if account.on().is_some() {
        return Decision::refused(ErrorCode::FactorAlreadyOn);
    }
    let (secret, rest) = ctx.entropy.split_at(SECRET_BYTES);
    let secret = TotpSecret::from_slice(secret).expect("the entropy is cut to length");
    let id = rest
        .first_chunk()
        .expect("the entropy is long enough for an id too");
    let authenticator_id = hex_id(id);
    let expires_at = ctx.now.plus_s(ctx.policy.enrolment_ttl_s);
    let mut events = Vec::with_capacity(2);
    if !account.exists() {
        events.push(Event::AccountRegistered(AccountRegistered {
            username: None,
        }));
    }
    events.push(Event::EnrolmentStarted(EnrolmentStarted {
        authenticator_id: authenticator_id.as_str().into(),
        secret: Protected::clear(secret.as_bytes()),
        account_name: command
            .account_name
            .as_ref()
            .map(|n| Protected::clear(n.as_str().as_bytes())),
        label: command
            .label
            .as_ref()
            .map(|l| Protected::clear(l.as_str().as_bytes())),
        expires_at,
        proof,
    }));
    let display_name = evidence.display_name.clone();
    let reply = Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret,
        display_name,
        expires_at,
    });
    Decision::recorded(events, reply)
}

/// Turns 2FA on with the first code of a pending enrolment, and issues ten backup codes.
///
/// Checks that this enrolment is pending, the clock, that it has not expired, then the code in the
/// window (RFC 6238 §5.2). Records `two-factor-enabled` and `backup-codes-issued`; for a wrong code
/// `enrolment-code-rejected`, which costs one of the enrolment's tries; for an expired enrolment
/// `enrolment-expired`.
pub(in crate::account) fn confirm(
    account: &Account,
    command: &ConfirmCode,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let pending = match pending(account, &command.authenticator_id, ctx) {
        Ok(pending) => pending,
        Err(code) => return Decision::refused(code),
    };
    if codes::clock_is_behind(evidence, ctx) {
        return Decision::refused(ErrorCode::StoreUnavailable);
    }
    if ctx.gated_at >= pending.expires_at {
        let authenticator_id = pending.authenticator_id.clone();
        let event = Event::EnrolmentExpired(EnrolmentExpired { authenticator_id });
        let refusal = Refusal::new(ErrorCode::EnrolmentExpired);
        return Decision::recorded_refusal(vec![event], refusal);
    }
    let (step_now, matched) = match (&command.code, &evidence.code) {
        (Code::Backup(_), _) => return reject(pending, Mismatch::WrongKind, ctx),
        (
            Code::Totp(_),
            CodeEvidence::Totp {
                enrolment,
                step_now,
                matched,
                ..
            },
        ) if *enrolment == pending.enrolment => (*step_now, matched),
        (Code::Totp(_), _) => return Decision::Needs(Step::CompareCode),
    };
    let Some(step) = codes::highest_in_window(matched, step_now, ctx.policy) else {
        return reject(pending, nearest(matched, step_now), ctx);
    };
    let Created::Codes(issued) = &evidence.created else {
        return Decision::Needs(Step::MakeCodes);
    };
    let enabled = Event::TwoFactorEnabled(TwoFactorEnabled {
        authenticator_id: pending.authenticator_id.clone(),
        step,
        drift: codes::drift(step, step_now),
    });
    let codes = backup_codes::issue(account, issued, IssueCause::Enrolment, 0);
    let reply = Reply::Secret(SecretReply::CodeConfirmed {
        set_no: account.set_no + 1,
        issued: issued.clone(),
        display_name: evidence.display_name.clone(),
    });
    Decision::recorded(vec![enabled, codes], reply)
}

/// Cancels a pending enrolment, expired or not; records `enrolment-cancelled`.
pub(in crate::account) fn cancel(
    account: &Account,
    command: &CancelEnrolment,
    ctx: &Ctx,
) -> Decision {
    match pending(account, &command.authenticator_id, ctx) {
        Ok(pending) => {
            let authenticator_id = pending.authenticator_id.clone();
            let event = Event::EnrolmentCancelled(EnrolmentCancelled { authenticator_id });
            Decision::recorded(vec![event], Reply::FactorOff)
        }
        // For the user, an expired enrolment is no longer pending.
        Err(ErrorCode::EnrolmentExpired) => Decision::refused(ErrorCode::FactorNotPending),
        Err(code) => Decision::refused(code),
    }
}

/// Turns 2FA off, and ends an open reset case.
///
/// Checks the first factor, then that 2FA is on, then the code if one is given, if policy requires
/// one, or while app codes are suspended. Records the accepted code, `two-factor-disabled` and the
/// end of the case. A wrong password or code, and a missing code that policy requires, count as
/// attempts.
pub(in crate::account) fn disable(
    account: &Account,
    command: &Disable2fa,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Disable, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    if account.on().is_none() {
        return Decision::refused(account.why_not_on(ctx));
    }
    let given = GivenCode::of(command.proof.as_ref());
    let code = match codes::prove(account, given, Purpose::Disable, proof, evidence, ctx) {
        Ok(code) => code,
        Err(decision) => return *decision,
    };
    let disabled = Event::TwoFactorDisabled(TwoFactorDisabled {
        by: DisabledBy::User(proof),
    });
    let spent = code.map(|accepted| accepted.event);
    // Otherwise a case could outlive its factor and remove the next one.
    let ended = account.reset_ended_by(CancelledBy::Disabled, ctx.now);
    let events = spent.into_iter().chain([disabled]).chain(ended).collect();
    Decision::recorded(events, Reply::FactorOff)
}

/// Returns the pending enrolment of this authenticator, which may be past its time.
///
/// # Errors
/// The code of the refusal if there is none.
fn pending<'a>(
    account: &'a Account,
    id: &AuthenticatorId,
    ctx: &Ctx,
) -> Result<&'a Pending, ErrorCode> {
    if !account.exists() && !ctx.is_elsewhere {
        return Err(ErrorCode::AccountNotFound);
    }
    match &account.factor {
        Factor::Pending(pending) if pending.authenticator_id == id.as_str() => Ok(pending),
        Factor::Off {
            lapsed: Some(lapsed),
        } if lapsed == id.as_str() => Err(ErrorCode::EnrolmentExpired),
        Factor::Off { .. } | Factor::Pending(_) | Factor::On(_) => Err(ErrorCode::FactorNotPending),
    }
}

fn reject(pending: &Pending, reason: Mismatch, ctx: &Ctx) -> Decision {
    let event = EnrolmentCodeRejected {
        authenticator_id: pending.authenticator_id.clone(),
        reason,
        tries_left: ctx
            .policy
            .enrolment_tries
            .saturating_sub(pending.rejected.saturating_add(1)),
    };
    let refusal = enrolment_code_refusal(&event);
    Decision::recorded_refusal(vec![Event::EnrolmentCodeRejected(event)], refusal)
}

/// Returns why a confirming code is wrong: by how many steps the phone's clock is off, if the code
/// belongs to another step nearby.
fn nearest(matched: &[u64], step_now: u64) -> Mismatch {
    matched
        .iter()
        .map(|step| codes::steps_off(*step, step_now))
        .min_by_key(|steps| steps.unsigned_abs())
        .map_or(Mismatch::Wrong, Mismatch::ClockOff)
}

fn hex_id(bits: &[u8; 16]) -> AuthenticatorId {
    AuthenticatorId::parse(&data_encoding::HEXLOWER.encode(bits)).expect("32 hex digits are a word")
}
