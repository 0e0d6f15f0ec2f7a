//! The support reset as a case: two agents, a waiting time, and the owner's veto.
//!
//! ```text
//!             request                approve                 72 h, execute
//!   (nothing) ───────▶ waiting for ─────────▶ cooling off ─────────────────▶ executed:
//!                      approval               │                              the factor is off
//!                         │                   │
//!                         └───────────────────┴─▶ rejected or cancelled by an agent,
//!                                                 cancelled by the owner or a login with a code,
//!                                                 expired 7 days after the request
//! ```
//!
//! Whoever asks does not approve, and nobody has a hand in the reset of an account of their own.
//! Every time is log time, and what it leads to stands in the events.

use countersign_schemas::event::Event;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::event::reset::v1::{
    self as stored, CancelledBy, ResetApproved, ResetCancelled, ResetExecuted, ResetExpired,
    ResetRejected, ResetRequested,
};
use countersign_schemas::ids::{CaseId, Reason, is_same_person};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;
use countersign_schemas::support::{
    ApproveReset, CancelReset, ExecuteReset, Lost, RejectReset, RequestReset, UserCancelReset,
};
use countersign_schemas::time::Micros;

use super::quota;
use crate::account::outcome::Reply;
use crate::account::state::{AfterReset, Case};
use crate::account::{Account, CodeAttempts, Ctx, Decision, Factor};

const DAY_S: u64 = 86_400;
const OWN_ACCOUNT: &str = "nobody has a hand in the reset of their own account: ask a colleague";
const OWN_REQUEST: &str = "whoever asked for the reset cannot approve it";
const APPROVED_ALREADY: &str = "the case is approved already";
const TOO_LATE: &str =
    "the case would expire before its cooling-off time is over: reject it and ask for a new one";
const NOT_APPROVED: &str = "the case is not approved yet";

pub(in crate::account) fn request(
    account: &Account,
    command: &RequestReset,
    ctx: &Ctx,
) -> Decision {
    // Where events may be missing nobody knows whether the factor is on, and only a reset helps.
    if account.on().is_none() && !account.until_reset {
        return Decision::refused(account.why_not_on(ctx));
    }
    if ctx.is_own_account {
        return Decision::refused_because(ErrorCode::ApprovalSelf, OWN_ACCOUNT);
    }
    let lapsed = match &account.reset {
        Some(case) if !case.has_lapsed(ctx.now) => return Decision::refused(ErrorCode::ResetOpen),
        lapsed => lapsed.as_ref().map(Case::expired),
    };
    if let Some(seconds) = quota::waiting_s(quota::Act::RequestReset, ctx) {
        return Decision::refused_for(ErrorCode::QuotaExceeded, seconds);
    }
    let case_id = new_case_id(ctx);
    let expires_at = ctx.now.plus_s(ctx.policy.reset_ttl_s);
    let requested = Event::ResetRequested(ResetRequested {
        case_id: case_id.as_str().into(),
        expires_at,
        lost: command.lost.map(|lost| match lost {
            Lost::App => stored::Lost::App,
            Lost::BackupCodes => stored::Lost::BackupCodes,
            Lost::Both => stored::Lost::Both,
        }),
        reason: sealed(&command.reason),
        ticket: Protected::clear(command.ticket.as_str().as_bytes()),
    });
    let events = lapsed.into_iter().chain([requested]).collect();
    Decision::recorded(
        events,
        Reply::ResetRequested {
            case_id,
            expires_at,
        },
    )
}

pub(in crate::account) fn approve(
    account: &Account,
    command: &ApproveReset,
    ctx: &Ctx,
) -> Decision {
    let case = match open(account, &command.case_id, ctx) {
        Ok(case) => case,
        Err(decision) => return *decision,
    };
    if ctx.is_own_account {
        return Decision::refused_because(ErrorCode::ApprovalSelf, OWN_ACCOUNT);
    }
    if is_same_person(&case.requested_by, ctx.caller) {
        return Decision::refused_because(ErrorCode::ApprovalSelf, OWN_REQUEST);
    }
    if case.execute_after.is_some() {
        return Decision::refused_because(ErrorCode::ResetClosed, APPROVED_ALREADY);
    }
    let execute_after = ctx.now.plus_s(ctx.policy.reset_cooling_off_s);
    if execute_after >= case.expires_at {
        return Decision::refused_because(ErrorCode::ResetClosed, TOO_LATE);
    }
    let event = Event::ResetApproved(ResetApproved {
        case_id: case.case_id.clone(),
        execute_after,
        reason: sealed(&command.reason),
    });
    Decision::recorded(vec![event], Reply::ResetApproved { execute_after })
}

pub(in crate::account) fn reject(account: &Account, command: &RejectReset, ctx: &Ctx) -> Decision {
    let case = match open(account, &command.case_id, ctx) {
        Ok(case) => case,
        Err(decision) => return *decision,
    };
    if let Some(refused) = quota::over(AgentAct::EndReset, ctx) {
        return refused;
    }
    let event = Event::ResetRejected(ResetRejected {
        case_id: case.case_id.clone(),
        reason: sealed(&command.reason),
    });
    Decision::recorded(vec![event], Reply::ResetRejected)
}

pub(in crate::account) fn cancel(account: &Account, command: &CancelReset, ctx: &Ctx) -> Decision {
    let case = match open(account, &command.case_id, ctx) {
        Ok(case) => case,
        Err(decision) => return *decision,
    };
    if let Some(refused) = quota::over(AgentAct::EndReset, ctx) {
        return refused;
    }
    let event = Event::ResetCancelled(ResetCancelled {
        case_id: case.case_id.clone(),
        by: CancelledBy::Agent,
        reason: Some(sealed(&command.reason)),
    });
    Decision::recorded(vec![event], Reply::ResetCancelled)
}

/// The owner objects. Nothing but the platform's word is asked for: whoever lost phone and codes
/// has nothing to prove themselves with, and a reset that was called off can be asked for again.
pub(in crate::account) fn user_cancel(
    account: &Account,
    _: &UserCancelReset,
    ctx: &Ctx,
) -> Decision {
    if !account.exists() && !ctx.is_elsewhere {
        return Decision::refused(ErrorCode::AccountNotFound);
    }
    match &account.reset {
        Some(case) if !case.has_lapsed(ctx.now) => Decision::recorded(
            vec![case.cancelled(CancelledBy::User)],
            Reply::ResetCancelled,
        ),
        Some(_) | None => Decision::refused(ErrorCode::ResetNone),
    }
}

pub(in crate::account) fn execute(
    account: &Account,
    command: &ExecuteReset,
    ctx: &Ctx,
) -> Decision {
    let case = match open(account, &command.case_id, ctx) {
        Ok(case) => case,
        Err(decision) => return *decision,
    };
    if ctx.is_own_account {
        return Decision::refused_because(ErrorCode::ApprovalSelf, OWN_ACCOUNT);
    }
    let Some(execute_after) = case.execute_after else {
        return Decision::refused_because(ErrorCode::ResetCoolingOff, NOT_APPROVED);
    };
    if ctx.now < execute_after {
        let seconds = execute_after.seconds_since(ctx.now);
        return Decision::refused_for(ErrorCode::ResetCoolingOff, seconds);
    }
    let event = Event::ResetExecuted(ResetExecuted {
        case_id: case.case_id.clone(),
        told_until: ctx.now.plus_s(ctx.policy.reset_told_s),
        reason: sealed(&command.reason),
    });
    Decision::recorded(vec![event], Reply::ResetExecuted)
}

/// The case that a command names, while it is open.
///
/// # Errors
/// The decision that ends the command; a case that is found to have lapsed is recorded as such.
fn open<'a>(account: &'a Account, id: &CaseId, ctx: &Ctx) -> Result<&'a Case, Box<Decision>> {
    let ended = match &account.reset {
        _ if !account.exists() => Decision::refused(ErrorCode::CaseNotFound),
        Some(case) if case.case_id != id.as_str() => Decision::refused(ErrorCode::ResetClosed),
        Some(case) if case.has_lapsed(ctx.now) => {
            let refusal = Refusal::new(ErrorCode::ResetClosed);
            Decision::recorded_refusal(vec![case.expired()], refusal)
        }
        Some(case) => return Ok(case),
        None => Decision::refused(ErrorCode::ResetClosed),
    };
    Err(Box::new(ended))
}

fn new_case_id(ctx: &Ctx) -> CaseId {
    let id = data_encoding::HEXLOWER.encode(&ctx.entropy[..16]);
    CaseId::parse(&id).expect("32 hex digits are a word")
}

fn sealed(reason: &Reason) -> Protected {
    Protected::clear(reason.as_str().as_bytes())
}

impl Case {
    /// Whether its time is over.
    pub fn has_lapsed(&self, now: Micros) -> bool {
        now >= self.expires_at
    }

    fn expired(&self) -> Event {
        let case_id = self.case_id.clone();
        Event::ResetExpired(ResetExpired { case_id })
    }

    fn cancelled(&self, by: CancelledBy) -> Event {
        Event::ResetCancelled(ResetCancelled {
            case_id: self.case_id.clone(),
            by,
            reason: None,
        })
    }
}

impl Account {
    /// The event by which something that its owner did ends an open case.
    pub(super) fn reset_ended_by(&self, by: CancelledBy, now: Micros) -> Option<Event> {
        let case = self.reset.as_ref()?;
        Some(match case.has_lapsed(now) {
            true => case.expired(),
            false => case.cancelled(by),
        })
    }

    /// Which day it is since support reset the second factor, from 1: a caller that asks only
    /// whether the number is true is told on the first day too.
    pub fn after_reset_days(&self, now: Micros) -> Option<u32> {
        let reset = self.after_reset.filter(|reset| now < reset.told_until)?;
        let days = now.0.saturating_sub(reset.at.0) / (DAY_S * Micros::SECOND);
        Some(days as u32 + 1)
    }

    pub(in crate::account) fn reset_requested(&mut self, by: &str, e: &ResetRequested) {
        self.reset = Some(Case {
            case_id: e.case_id.clone(),
            requested_by: by.into(),
            expires_at: e.expires_at,
            execute_after: None,
        });
    }

    pub(in crate::account) fn reset_approved(&mut self, e: &ResetApproved) {
        if let Some(case) = &mut self.reset {
            case.execute_after = Some(e.execute_after);
        }
    }

    /// Everything of the second factor is void; a loss before it does not matter any more.
    pub(in crate::account) fn reset_executed(&mut self, at: Micros, e: &ResetExecuted) {
        self.reset = None;
        self.factor = Factor::default();
        self.attempts = CodeAttempts::default();
        self.challenges.clear();
        self.until_reset = false;
        let told_until = e.told_until;
        self.after_reset = Some(AfterReset { at, told_until });
    }
}
