//! Support stops a stolen phone: app codes and open challenges at once, whatever they would be worth.
//!
//! A backup code or a reset ends it. Meanwhile no app code completes a login, so whoever holds the
//! phone cannot cancel the reset either.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::{FactorSuspended, SuspendedCause};
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::support::SuspendFactor;

use super::outcome::Reply;
use super::{Account, Ctx, Decision, quota};

/// Needs a factor in force, and an agent that has not suspended as many as one agent may.
pub(super) fn suspend(account: &Account, command: &SuspendFactor, ctx: &Ctx) -> Decision {
    if account.until_reset {
        return Decision::refused(ErrorCode::FactorSuspended);
    }
    if account.on().is_none() {
        return Decision::refused(account.why_not_on());
    }
    if let Some(refused) = quota::over(AgentAct::SuspendFactor, ctx) {
        return refused;
    }
    let event = Event::FactorSuspended(FactorSuspended {
        cause: SuspendedCause::Support,
        reason: Some(Protected::clear(command.reason.as_str().as_bytes())),
        ticket: Some(Protected::clear(command.ticket.as_str().as_bytes())),
    });
    Decision::recorded(vec![event], Reply::FactorSuspended)
}

impl Account {
    pub(super) fn factor_suspended(&mut self, e: &FactorSuspended) {
        self.attempts.suspended = true;
        match e.cause {
            SuspendedCause::Support => self.challenges.clear(),
            // Its challenges can still be answered with a backup code.
            SuspendedCause::Failures => {}
        }
    }
}
