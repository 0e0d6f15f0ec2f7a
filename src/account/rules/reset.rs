//! The support reset as a case: two agents, a cooling-off time, and the owner's veto.
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
//! The agent who requests a reset cannot approve it, and no agent can take part in the reset of
//! their own account. Every time is log time, and the events hold the times that follow from it.

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
use crate::account::outcome::{Reply, ResetReply};
use crate::account::state::{AfterReset, Case};
use crate::account::{Account, CodeAttempts, Ctx, Decision, Factor};

const DAY_S: u64 = 86_400;
const OWN_ACCOUNT: &str = "you cannot take part in the reset of your own account: ask a colleague";
const OWN_REQUEST: &str = "the agent who requested the reset cannot approve it";
const APPROVED_ALREADY: &str = "the case is approved already";
const TOO_LATE: &str =
    "the case would expire before its cooling-off time is over: reject it and ask for a new one";
const NOT_APPROVED: &str = "the case is not approved yet";

/// Opens a reset case.
///
/// Checks that there is a second factor to reset, that the account is not the agent's own, that no
/// case is open, then the agent's quota. Records the end of an expired case and `reset-requested`;
/// a refusal carries no event.
pub(in crate::account) fn request(
    account: &Account,
    command: &RequestReset,
    ctx: &Ctx,
) -> Decision {
    // If events may be lost, it is unknown whether the factor is on, and only a reset helps.
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
        Reply::Reset(ResetReply::Requested {
            case_id,
            expires_at,
        }),
    )
}

/// Approves a case, which begins its cooling-off time.
///
/// Checks that the case is open, that the account is not the agent's own, that another agent
/// requested it, that it is not approved yet, and that it would not expire before its cooling-off
/// time ends. Records `reset-approved`; of the refusals only that of an expired case carries an
/// event.
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
    Decision::recorded(
        vec![event],
        Reply::Reset(ResetReply::Approved { execute_after }),
    )
}

/// Rejects an open case, within the agent's quota; records `reset-rejected`.
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
    Decision::recorded(vec![event], Reply::Reset(ResetReply::Rejected))
}

/// Cancels an open case on behalf of an agent, within the agent's quota; records `reset-cancelled`.
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
    Decision::recorded(vec![event], Reply::Reset(ResetReply::Cancelled))
}

/// Cancels an open case because the owner objects; records `reset-cancelled`.
///
/// The platform's word is enough: an owner who lost phone and codes cannot prove anything, and a
/// cancelled reset can be requested again.
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
            Reply::Reset(ResetReply::Cancelled),
        ),
        Some(_) | None => Decision::refused(ErrorCode::ResetNone),
    }
}

/// Executes an approved case, which turns the second factor off.
///
/// Checks that the case is open, that the account is not the agent's own, that the case is approved
/// and that its cooling-off time is over. Records `reset-executed`; of the refusals only that of an
/// expired case carries an event.
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
    Decision::recorded(vec![event], Reply::Reset(ResetReply::Executed))
}

/// Returns the case that a command names, while it is open.
///
/// # Errors
/// The decision that ends the command; for an expired case it records `reset-expired`.
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
    /// Returns whether the case has expired.
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
    /// Returns the event that ends an open case because of an act of the owner; `None` without a
    /// case.
    pub(super) fn reset_ended_by(&self, by: CancelledBy, now: Micros) -> Option<Event> {
        let case = self.reset.as_ref()?;
        Some(match case.has_lapsed(now) {
            true => case.expired(),
            false => case.cancelled(by),
        })
    }

    /// Returns the number of the day since support reset the second factor, while logins report it.
    /// It counts from 1, so that a caller that only tests for a non-zero number notices the first
    /// day.
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

    /// Voids everything of the second factor; an earlier loss of events no longer matters.
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
