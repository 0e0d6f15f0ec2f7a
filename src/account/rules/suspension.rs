//! Support stops a stolen phone: its app codes and every open challenge at once.
//!
//! The suspension ends only with that authenticator: the owner removes it, with a backup code
//! beside the password, or support resets it. A login with a backup code completes and reports that
//! the suspension stays, so that it does not enable a stolen phone again. Meanwhile the password
//! alone neither turns 2FA off nor makes new codes: otherwise a thief of the password could log in
//! with one of those codes and cancel the owner's reset.

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

const BACKUP_CODE_OR_RESET: &str = "app codes are suspended: a backup code is still accepted, together with the password where 2FA is to change, and support can reset the account's second factor";
const RESET_ONLY: &str =
    "codes are no longer accepted: only a reset by support lets the account in again";
const NO_CHANGE: &str = "support suspended this authenticator already, and no login is open";

/// Suspends app codes and voids every open challenge.
///
/// Checks that the account waits for no reset, that 2FA is on, that there is something to stop,
/// then the agent's quota. Records `factor-suspended`; a refusal carries no event and costs no
/// quota.
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
            // A backup code can still complete the open challenges.
            SuspendedCause::Failures => {
                self.attempts.suspended.get_or_insert(Suspended::Failures);
            }
        }
    }

    /// Returns whether support suspended the authenticator that is on.
    pub(in crate::account) fn is_suspended_by_support(&self) -> bool {
        self.attempts.suspended == Some(Suspended::Support)
    }

    /// Returns the refusal of a command that a suspension forbids; it names only the ways that are
    /// open.
    pub(super) fn refused_as_suspended(&self) -> Decision {
        let left = self.on().map_or(0, |on| on.codes.left());
        let detail = match left > 0 && !self.until_reset {
            true => BACKUP_CODE_OR_RESET,
            false => RESET_ONLY,
        };
        Decision::refused_because(ErrorCode::FactorSuspended, detail)
    }
}
