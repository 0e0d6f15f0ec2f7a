//! Support clears the counted failures, so that app codes can be tried again. This gives a guesser
//! a second budget too, so clears have limits of their own, which `policy explain` counts.
//!
//! An account can be cleared once in 7 days, and by the same agent once in 30 days, so that no
//! single agent can keep an account open to guessing. `quota` bounds how many clears one agent may
//! make in a day. The number of failures in a row, which leads to a suspension (NIST SP 800-63B
//! §3.2.2), stays. If nothing is counted, or app codes are suspended, a clear would not help the
//! owner: it is refused and costs no quota.

use countersign_schemas::command::ClearAttempts;
use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::AttemptsCleared;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::ids::is_same_person;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::quota;
use crate::account::outcome::Reply;
use crate::account::state::Clear;
use crate::account::{Account, Ctx, Decision};

/// The number of clears that are remembered: more than any policy allows in 30 days.
pub const CLEARS_MAX: usize = 32;

/// Clears waits, double-code mode and the counted failures of app codes.
///
/// Checks that the account waits for no reset, that 2FA is on, that app codes are not suspended,
/// that something is counted, then the limits of the account and of the agent. Records
/// `attempts-cleared`; a refusal carries no event and costs no quota.
pub(in crate::account) fn clear(account: &Account, command: &ClearAttempts, ctx: &Ctx) -> Decision {
    if account.until_reset {
        return account.refused_as_suspended();
    }
    if account.on().is_none() {
        return Decision::refused(account.why_not_on(ctx));
    }
    if account.attempts.suspended.is_some() {
        return account.refused_as_suspended();
    }
    if !account.attempts.has_counted(ctx.now, ctx.policy) {
        return Decision::refused(ErrorCode::AttemptsNone);
    }
    if let Some(seconds) = waiting_s(&account.clears, ctx) {
        return Decision::refused_for(ErrorCode::QuotaExceeded, seconds);
    }
    if let Some(refused) = quota::over(AgentAct::ClearAttempts, ctx) {
        return refused;
    }
    let event = Event::AttemptsCleared(AttemptsCleared {
        by: ctx.caller.into(),
        reason: Protected::clear(command.reason.as_str().as_bytes()),
    });
    Decision::recorded(vec![event], Reply::AttemptsCleared)
}

/// Returns the seconds until this agent may clear the attempts; `None` if it may now.
fn waiting_s(clears: &[Clear], ctx: &Ctx) -> Option<u64> {
    let again = |clear: &Clear| {
        let after_s = if is_same_person(&clear.by, ctx.caller) {
            ctx.policy.clear_same_agent_after_s
        } else {
            ctx.policy.clear_again_after_s
        };
        clear.at.plus_s(after_s)
    };
    let until = clears.iter().map(again).max()?;
    (ctx.now < until).then(|| until.seconds_since(ctx.now))
}

impl Account {
    /// Forgets waits, double-code mode and the counted failures.
    pub(in crate::account) fn attempts_cleared(&mut self, at: Micros, event: &AttemptsCleared) {
        self.attempts.cleared();
        if self.clears.len() == CLEARS_MAX {
            self.clears.remove(0);
        }
        let by = event.by.clone();
        self.clears.push(Clear { at, by });
    }
}
