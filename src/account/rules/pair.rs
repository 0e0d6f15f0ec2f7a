//! A password and a code that come together: one login in one step.
//!
//! ```text
//!   passwords do not wait:  the password is judged, then the code, each with its own answer
//!   passwords wait:         both are compared, and only both right count: one secret, one answer
//! ```
//!
//! While passwords wait, whoever sends a code along passes the wait: a crowd that knows the user
//! name cannot keep the owner out. So that it is no second way to guess passwords, a try that fails
//! there tells nothing of either: a wrong password, a wrong code and a code whose own gate is
//! closed have the same answer, cost the same comparisons and leave one group of records. A wrong
//! code is counted where the password was right only, so that a user name is not enough to make the
//! owner's codes wait; and it makes no wait for passwords longer, so that nobody who can wait loses
//! a turn by it.

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
        // This address had too many wrong pairs: it waits as it would without a code.
        (Some(seconds), Some(_)) => Decision::refused_for(ErrorCode::AccountThrottled, seconds),
    }
}

/// Both secrets of a login, and what they are judged by.
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
        // Whatever became of the password: the time that it takes must not say it.
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

    /// The login with a first factor that stands.
    fn with_code(&self, first_factor: FirstFactor) -> Decision {
        // A credential that was brought is never ignored.
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

    // BUG: pair-records: one record for many would tell a wrong password from a right one by time.
    /// What was wrong stays untold; `counted` are the records of a wrong code.
    fn rejected(&self, credential: u32, counted: Vec<Event>) -> Decision {
        let event = match self.account.exists() {
            true => Event::LoginPairRejected(LoginPairRejected { credential }),
            false => Event::UnknownNameRefused(UnknownNameRefused { count: 1 }),
        };
        let events = [event].into_iter().chain(counted).collect();
        Decision::recorded_refusal(events, Refusal::new(ErrorCode::CredentialsInvalid))
    }
}
