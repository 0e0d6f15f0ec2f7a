//! Judges a password and a code that come together: a login in one step.
//!
//! ```text
//!   passwords do not wait:  the password is judged, then the code, each with its own reply
//!   passwords wait:         both are compared, and only both right count: one secret, one reply
//! ```
//!
//! While passwords wait, a command that also sends a code passes the wait, so a crowd that knows
//! the username cannot keep the owner out. A failed try reveals nothing about either secret, or it
//! would be a second way to guess passwords: a wrong password, a wrong code and a code whose own
//! gate is closed get the same reply, cost the same comparisons and leave one group of records. A
//! wrong code counts only if the password was right, so a username is not enough to make the
//! owner's codes wait. A failed try makes no wait for passwords longer, so no user who waits is
//! delayed by it. Wrong pairs have waits of their own: see `pair_waits_s` of [`Ctx`].

use countersign_schemas::code::Code;
use countersign_schemas::command::StartLogin;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::log::v1::UnknownNameRefused;
use countersign_schemas::event::login::v1::LoginPairRejected;
use countersign_schemas::refusal::{ErrorCode, Refusal};

use super::codes::{Attempt, clock_is_behind};
use super::credentials;
use super::credentials::Judged;
use super::login;
use crate::account::evidence::{CodeEvidence, Evidence};
use crate::account::outcome::VOUCHED_CREDENTIAL;
use crate::account::{Account, Ctx, Decision, Step};

/// Judges a login with both secrets.
///
/// Checks the clock, then the waits for passwords and for pairs, then both secrets as above. A
/// right pair records the accepted code. A failed pair during a wait records `login-pair-rejected`,
/// and the wrong code if the password was right.
pub(super) fn start(
    account: &Account,
    command: &StartLogin,
    code: &Code,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    if clock_is_behind(evidence, ctx) {
        return Decision::refused(ErrorCode::StoreUnavailable);
    }
    let pair = Pair {
        account,
        command,
        code,
        evidence,
        ctx,
    };
    match (credentials::waiting_s(account, ctx), ctx.pair_waits_s) {
        (None, _) => pair.in_turn(),
        (Some(_), None) => pair.before_its_turn(),
        // Pairs wait too: the command waits as it would without a code.
        (Some(seconds), Some(_)) => Decision::refused_for(ErrorCode::AccountThrottled, seconds),
    }
}

/// Both secrets of a login, and the facts to judge them by.
struct Pair<'a> {
    account: &'a Account,
    command: &'a StartLogin,
    code: &'a Code,
    evidence: &'a Evidence,
    ctx: &'a Ctx<'a>,
}

impl Pair<'_> {
    fn in_turn(&self) -> Decision {
        let (account, ctx) = (self.account, self.ctx);
        match credentials::prove(account, self.evidence, Purpose::Login, ctx) {
            Ok(proof) => self.with_code(proof),
            Err(decision) => *decision,
        }
    }

    fn before_its_turn(&self) -> Decision {
        let judged = credentials::judge(self.account, self.evidence);
        let credential = match judged {
            Judged::Right(FirstFactor::Password(version)) | Judged::Wrong(version) => version,
            Judged::Right(FirstFactor::Vouched) => VOUCHED_CREDENTIAL,
            Judged::NotCompared => return Decision::Needs(Step::ComparePassword),
            Judged::Missing => return credentials::missing(self.account, self.ctx),
        };
        // Compared whether or not the password was right: the time taken must not reveal which.
        if matches!(self.evidence.code, CodeEvidence::None) {
            return Decision::Needs(Step::CompareCode);
        }
        let decided = match judged {
            Judged::Right(proof) if self.account.on().is_some() && !self.account.until_reset => {
                self.with_code(proof)
            }
            _ => Decision::refused(ErrorCode::CredentialsInvalid),
        };
        match decided {
            Decision::Done {
                events,
                reply: Err(_),
            } => self.rejected(credential, events),
            decided => decided,
        }
    }

    /// Judges the code of a login whose first factor is right.
    fn with_code(&self, first_factor: FirstFactor) -> Decision {
        // A code that was given is never ignored.
        let Some(on) = self.account.on() else {
            return Decision::refused(self.account.why_not_on(self.ctx));
        };
        let attempt = Attempt {
            account: self.account,
            on,
            purpose: Purpose::Login,
            first_factor,
            challenge: None,
        };
        let has_next = self.command.next_code.is_some();
        match attempt.judge(self.code, has_next, self.evidence, self.ctx) {
            Ok(accepted) => {
                let audience = self.command.audience.clone();
                let proven = (first_factor, self.evidence);
                login::complete(self.account, accepted, proven, audience, self.ctx)
            }
            Err(decision) => *decision,
        }
    }

    // BUG: pair-records: one record for many would reveal by time whether the password was right.
    /// Refuses a pair without revealing which secret was wrong; `counted` are the records of a
    /// wrong code.
    fn rejected(&self, credential: u32, counted: Vec<Event>) -> Decision {
        let event = match self.account.exists() {
            true => Event::LoginPairRejected(LoginPairRejected { credential }),
            false => Event::UnknownNameRefused(UnknownNameRefused { count: 1 }),
        };
        let events = [event].into_iter().chain(counted).collect();
        Decision::recorded_refusal(events, Refusal::new(ErrorCode::CredentialsInvalid))
    }
}
