//! Logging in: the first factor opens a challenge, a code of either kind completes it.

use countersign_schemas::command::VerifyLogin;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::login::v1::{LoginCompleted, LoginStarted};
use countersign_schemas::event::reset::v1::CancelledBy;
use countersign_schemas::ids::ChallengeId;
use countersign_schemas::refusal::ErrorCode;

use super::codes::{Attempt, clock_is_behind};
use super::evidence::Evidence;
use super::outcome::{Reply, VOUCHED_CREDENTIAL, login_by_password, login_verified, methods};
use super::{Account, Ctx, Decision, credentials, rotation};

pub(super) fn start(account: &Account, evidence: &Evidence, ctx: &Ctx) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Login, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    let credential = match proof {
        FirstFactor::Password(version) => version,
        FirstFactor::Vouched => VOUCHED_CREDENTIAL,
    };
    let Some(account_id) = account.id.clone() else {
        return Decision::refused(ErrorCode::CredentialsInvalid);
    };
    let rehashed = match rotation::rehashed(proof, evidence) {
        Ok(rehashed) => rehashed,
        Err(step) => return Decision::Needs(step),
    };
    if account.on().is_none() {
        let event = Event::LoginCompleted(LoginCompleted { credential });
        let events = rehashed.into_iter().chain([event]).collect();
        let reply = login_by_password(
            account,
            account_id,
            credential == VOUCHED_CREDENTIAL,
            ctx.now,
        );
        return Decision::recorded(events, reply);
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
    Decision::recorded(rehashed.into_iter().chain([event]).collect(), reply)
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
        purpose: Purpose::Login,
        first_factor,
        challenge,
    };
    let has_next = command.next_code.is_some();
    match attempt.judge(&command.code, has_next, evidence, ctx) {
        Ok(accepted) => {
            let low_codes = ctx.policy.low_codes;
            let code = (accepted.method, accepted.left, &first_factor);
            let reply = login_verified(account, code, low_codes, ctx.now);
            // Whoever can do that has lost nothing.
            let ended = account.reset_ended_by(CancelledBy::Login, ctx.now);
            Decision::recorded([accepted.event].into_iter().chain(ended).collect(), reply)
        }
        Err(decision) => *decision,
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
            true if account.until_reset => Err(ErrorCode::FactorSuspended),
            true => Ok((FirstFactor::Vouched, None)),
            false => Err(ErrorCode::AccountNotFound),
        };
    };
    let hash = id.hash();
    account
        .challenges
        .iter()
        .find(|open| {
            open.hash == hash && open.caller == ctx.caller && ctx.gated_at < open.expires_at
        })
        .map(|open| (open.first_factor(), Some(hash)))
        .ok_or(ErrorCode::ChallengeExpired)
}
