//! Support stops a stolen phone: app codes and open challenges at once, whatever they would be worth.
//!
//! It ends with that authenticator only: the owner removes it, with a backup code beside the password,
//! or support resets it. A login with a backup code completes and says that the suspension stands, so
//! that it brings no stolen phone back. Meanwhile the password alone neither turns 2FA off nor makes
//! new codes: else who has it could log in with one of those and call the owner's reset off.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::{FactorSuspended, SuspendedCause};
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::support::SuspendFactor;

use super::quota;
use crate::account::attempts::Suspended;
use crate::account::outcome::Reply;
use crate::account::{Account, Ctx, Decision};

const BACKUP_CODE_OR_RESET: &str = "app codes are suspended: a backup code is still taken, beside the password where 2FA is to change, and support can reset the account's second factor";
const RESET_ONLY: &str =
    "no code is taken any more: only a reset by support lets the account in again";
const NO_CHANGE: &str = "support suspended this authenticator already, and no login is open";

/// Needs a factor in force, something to stop, and an agent that has not suspended as many as one
/// agent may.
pub(in crate::account) fn suspend(
    account: &Account,
    command: &SuspendFactor,
    ctx: &Ctx,
) -> Decision {
    if account.until_reset {
        return account.refused_as_suspended();
    }
    if account.on().is_none() {
        return Decision::refused(account.why_not_on(ctx));
    }
    let has_open_login = account
        .challenges
        .iter()
        .any(|open| ctx.now < open.expires_at);
    if account.is_suspended_by_support() && !has_open_login {
        return Decision::refused_because(ErrorCode::FactorSuspended, NO_CHANGE);
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
    pub(in crate::account) fn factor_suspended(&mut self, e: &FactorSuspended) {
        match e.cause {
            SuspendedCause::Support => {
                self.attempts.suspended = Some(Suspended::Support);
                self.challenges.clear();
            }
            // Its challenges can still be answered with a backup code.
            SuspendedCause::Failures => {
                self.attempts.suspended.get_or_insert(Suspended::Failures);
            }
        }
    }

    /// Whether support suspended the authenticator that is in force.
    pub(in crate::account) fn is_suspended_by_support(&self) -> bool {
        self.attempts.suspended == Some(Suspended::Support)
    }

    /// The refusal of what a suspension forbids: it names the ways that are open, and no other.
    pub(super) fn refused_as_suspended(&self) -> Decision {
        let left = self.on().map_or(0, |on| on.codes.left());
        let detail = match left > 0 && !self.until_reset {
            true => BACKUP_CODE_OR_RESET,
            false => RESET_ONLY,
        };
        Decision::refused_because(ErrorCode::FactorSuspended, detail)
    }
}
