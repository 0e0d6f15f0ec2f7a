//! Logs in: the first factor opens a challenge, and a code of either kind completes it. `pair`
//! judges both at once.

use countersign_schemas::command::{StartLogin, VerifyLogin};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::login::v1::LoginCompleted;
use countersign_schemas::event::login::v2::LoginStarted;
use countersign_schemas::event::reset::v1::CancelledBy;
use countersign_schemas::ids::{Audience, ChallengeId};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::strict::DecodeError;

use super::codes::{Accepted, Attempt, clock_is_behind};
use super::{credentials, pair, rotation};
use crate::account::evidence::Evidence;
use crate::account::outcome::{
    LoginReply, Reply, VOUCHED_CREDENTIAL, login_by_password, login_verified, methods,
};
use crate::account::{Account, Challenge, Ctx, Decision};

const OTHER_AUDIENCE: &str = "the login was started for another audience";

/// Begins a login, or completes it if 2FA is off.
///
/// A command with a code goes to [`pair::start`]. Checks the first factor. Records
/// `login-completed` if 2FA is off, otherwise `login-started` with a new challenge. For an unknown
/// account it records `account-registered` first if accounts need no registration. A wrong password
/// counts as an attempt.
pub(in crate::account) fn start(
    account: &Account,
    command: &StartLogin,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    if let Some(code) = &command.code {
        return pair::start(account, command, code, evidence, ctx);
    }
    let proof = match credentials::prove(account, evidence, Purpose::Login, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    let credential = match proof {
        FirstFactor::Password(version) => version,
        FirstFactor::Vouched => VOUCHED_CREDENTIAL,
    };
    let Some(account_id) = account.id.clone() else {
        return first_login(account, command, credential, ctx);
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
            command.audience.clone(),
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
        audience: command.audience.clone().map(String::from),
    });
    let methods = methods(account);
    let reply = Reply::Login(LoginReply::CodeRequired {
        account_id,
        challenge_id,
        methods,
        expires_at,
    });
    Decision::recorded(rehashed.into_iter().chain([event]).collect(), reply)
}

/// Completes a login with a code of either kind.
///
/// Checks the challenge or that the caller vouches, the audience, that 2FA is on, the clock, then
/// the code. Records the accepted code, which spends it and the challenge, and the end of an open
/// reset case. A wrong code counts as an attempt; no other refusal does.
pub(in crate::account) fn verify(
    account: &Account,
    command: &VerifyLogin,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let challenge = match open_challenge(account, command, ctx) {
        Ok(challenge) => challenge,
        Err(decision) => return *decision,
    };
    if is_for_another_audience(account, command) {
        return Decision::Done {
            events: Vec::new(),
            reply: Err(DecodeError::at("/audience", OTHER_AUDIENCE).into()),
        };
    }
    let first_factor = challenge.map_or(FirstFactor::Vouched, Challenge::first_factor);
    let Some(on) = account.on() else {
        return Decision::refused(account.why_not_on(ctx));
    };
    if clock_is_behind(evidence, ctx) {
        return Decision::refused(ErrorCode::StoreUnavailable);
    }
    let attempt = Attempt {
        account,
        on,
        purpose: Purpose::Login,
        first_factor,
        challenge: challenge.map(|open| open.hash),
    };
    let has_next = command.next_code.is_some();
    match attempt.judge(&command.code, has_next, evidence, ctx) {
        Ok(accepted) => {
            let audience = audience(challenge, command);
            complete(account, accepted, (first_factor, evidence), audience, ctx)
        }
        Err(decision) => *decision,
    }
}

/// Completes a login whose factors are both right. If the password came with this command, its
/// outdated verifier is replaced first.
pub(super) fn complete(
    account: &Account,
    accepted: Accepted,
    (first_factor, evidence): (FirstFactor, &Evidence),
    audience: Option<Audience>,
    ctx: &Ctx,
) -> Decision {
    let rehashed = match rotation::rehashed(first_factor, evidence) {
        Ok(rehashed) => rehashed,
        Err(step) => return Decision::Needs(step),
    };
    let low_codes = ctx.policy.low_codes;
    let code = (accepted.method, accepted.left, &first_factor);
    let reply = login_verified(account, code, audience, low_codes, ctx.now);
    // An owner who can log in with a code needs no reset.
    let ended = account.reset_ended_by(CancelledBy::Login, ctx.now);
    let events = rehashed.into_iter().chain([accepted.event]).chain(ended);
    Decision::recorded(events.collect(), reply)
}

/// Completes the login of an unknown account: if accounts need no registration, it is registered
/// and counts as one with 2FA off.
fn first_login(account: &Account, command: &StartLogin, credential: u32, ctx: &Ctx) -> Decision {
    let Some(account_id) = command.account_id.clone().filter(|_| ctx.is_elsewhere) else {
        return Decision::refused(ErrorCode::CredentialsInvalid);
    };
    let events = vec![
        Event::AccountRegistered(AccountRegistered { username: None }),
        Event::LoginCompleted(LoginCompleted { credential }),
    ];
    let is_vouched = credential == VOUCHED_CREDENTIAL;
    let audience = command.audience.clone();
    let reply = login_by_password(account, account_id, is_vouched, audience, ctx.now);
    Decision::recorded(events, reply)
}

/// Returns the caller's open challenge that a login completes; `None` if the caller vouches.
///
/// # Errors
/// The decision that ends the command.
fn open_challenge<'a>(
    account: &'a Account,
    command: &VerifyLogin,
    ctx: &Ctx,
) -> Result<Option<&'a Challenge>, Box<Decision>> {
    let refused = |code| Box::new(Decision::refused(code));
    if command.challenge_id.is_none() {
        return match account.exists() {
            true if account.until_reset => Err(Box::new(account.refused_as_suspended())),
            true => Ok(None),
            false => Err(refused(account.why_not_on(ctx))),
        };
    }
    let is_theirs = |open: &&Challenge| open.caller == ctx.caller && ctx.gated_at < open.expires_at;
    let open = named(account, command).filter(is_theirs);
    open.map(Some)
        .ok_or_else(|| refused(ErrorCode::ChallengeExpired))
}

fn named<'a>(account: &'a Account, command: &VerifyLogin) -> Option<&'a Challenge> {
    let hash = command.challenge_id.as_ref()?.hash();
    account.challenges.iter().find(|open| open.hash == hash)
}

/// Returns whether a login names another audience than its start did. It is refused before a code
/// is compared, so that it neither counts nor reveals anything.
fn is_for_another_audience(account: &Account, command: &VerifyLogin) -> bool {
    let bound_to = named(account, command).and_then(|open| open.audience.as_deref());
    match (bound_to, &command.audience) {
        (Some(bound_to), Some(audience)) => bound_to != audience.as_str(),
        (None, _) | (_, None) => false,
    }
}

// BUG: audience-at-the-end: where the start named no audience, the end chooses one.
/// Returns the audience of a login: the one that its start named, otherwise its own.
fn audience(challenge: Option<&Challenge>, command: &VerifyLogin) -> Option<Audience> {
    match challenge.and_then(|open| open.audience.as_deref()) {
        Some(bound_to) => Audience::parse(bound_to).ok(),
        None => command.audience.clone(),
    }
}
