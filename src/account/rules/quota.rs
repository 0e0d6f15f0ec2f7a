//! Bounds what one agent may do in a day, over all accounts: for more, another agent is needed.
//!
//! | act | bounded because one agent alone could |
//! |---|---|
//! | `request-reset` | fill the queue of cases, see `reset` |
//! | `suspend-factor` | shut every owner out of their app |
//! | `clear-attempts` | give a guesser who works with it a second budget at every account |
//! | `reject-reset`, `cancel-reset` | keep every user who lost a phone out for good |
//! | `erase-account` | erase every account, and nothing restores one |
//!
//! `approve-reset` and `execute-reset` have no bound of their own: each needs a case that an agent
//! requested within its own bound. `rotate-keys` concerns no account, harms none, and each rotation
//! waits for the end of the previous one.

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::event::reset::v1::CancelledBy;
use countersign_schemas::ids::{act_key, agent_key};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use crate::account::policy::{Policy, REQUESTS_WINDOW_MAX_S, Rule};
use crate::account::{Ctx, Decision};

const ANOTHER_AGENT: &str = "one agent may do this only so often, over all accounts: another agent can do it now, this one later";

/// An act that is counted by agent, over all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A request for a reset, `request-reset`.
    RequestReset,
    /// Any other act; all their refusals leave the same kind of record.
    Of(AgentAct),
}

impl Act {
    /// Returns the act that a command asks for; `None` if it is not counted.
    pub fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::RequestReset(_) => Self::RequestReset,
            Command::SuspendFactor(_) => Self::Of(AgentAct::SuspendFactor),
            Command::ClearAttempts(_) => Self::Of(AgentAct::ClearAttempts),
            Command::RejectReset(_) | Command::CancelReset(_) => Self::Of(AgentAct::EndReset),
            Command::EraseAccount(_) => Self::Of(AgentAct::EraseAccount),
            _ => return None,
        })
    }

    /// Returns the act of the caller that an event records; `None` if it is not counted.
    pub fn of_event(event: &Event) -> Option<Self> {
        Some(match event {
            Event::ResetRequested(_) => Self::RequestReset,
            Event::FactorSuspended(e) if e.cause == SuspendedCause::Support => {
                Self::Of(AgentAct::SuspendFactor)
            }
            Event::AttemptsCleared(_) => Self::Of(AgentAct::ClearAttempts),
            Event::ResetRejected(_) => Self::Of(AgentAct::EndReset),
            Event::ResetCancelled(e) if e.by == CancelledBy::Agent => Self::Of(AgentAct::EndReset),
            // An erasure that a start completed after a crash has no reason, and counts for no one.
            Event::AccountErased(e) if e.reason.is_some() => Self::Of(AgentAct::EraseAccount),
            _ => return None,
        })
    }

    /// Returns the names of the events that can record this act.
    pub fn events(self) -> &'static [&'static str] {
        match self {
            Self::RequestReset => &["reset-requested"],
            Self::Of(AgentAct::SuspendFactor) => &["factor-suspended"],
            Self::Of(AgentAct::ClearAttempts) => &["attempts-cleared"],
            Self::Of(AgentAct::EndReset) => &["reset-rejected", "reset-cancelled"],
            Self::Of(AgentAct::EraseAccount) => &["account-erased"],
        }
    }

    /// Returns the key under which an agent's acts of this kind are counted.
    pub fn key(self, agent: &str) -> [u8; 16] {
        match self {
            Self::RequestReset => agent_key(agent),
            Self::Of(act) => act_key(act.as_str(), agent),
        }
    }

    /// Returns how many of these acts one agent may do in the window, and the window in seconds.
    pub fn bound(self, policy: &Policy) -> (u16, u64) {
        let max = match self {
            Self::RequestReset => {
                return (policy.reset_requests_max, policy.reset_requests_window_s);
            }
            Self::Of(AgentAct::SuspendFactor) => policy.suspensions_max,
            Self::Of(AgentAct::ClearAttempts) => policy.clears_max,
            Self::Of(AgentAct::EndReset) => policy.reset_ends_max,
            Self::Of(AgentAct::EraseAccount) => policy.erasures_max,
        };
        (max, policy.agent_acts_window_s)
    }
}

/// Returns the act that an agent did too often, by a command's refusal; `None` for any other
/// refusal.
pub fn exceeded(command: &Command, refusal: &Refusal) -> Option<AgentAct> {
    let is_ours = refusal.code == ErrorCode::QuotaExceeded && refusal.detail == Some(ANOTHER_AGENT);
    match Act::of(command) {
        Some(Act::Of(act)) if is_ours => Some(act),
        Some(_) | None => None,
    }
}

/// Returns the refusal of a command whose agent has reached the bound; `None` below it.
pub(super) fn over(act: AgentAct, ctx: &Ctx) -> Option<Decision> {
    let refusal = Refusal {
        detail: Some(ANOTHER_AGENT),
        ..Refusal::after(ErrorCode::QuotaExceeded, waiting_s(Act::Of(act), ctx)?)
    };
    Some(Decision::Done {
        events: Vec::new(),
        reply: Err(refusal),
    })
}

/// Returns the seconds until the agent may do the act again; `None` if it may now.
pub(super) fn waiting_s(act: Act, ctx: &Ctx) -> Option<u64> {
    let (max, window_s) = act.bound(ctx.policy);
    let is_recent = |at: &&Micros| ctx.now < at.plus_s(window_s);
    let mut recent: Vec<_> = ctx.requested_at.iter().filter(is_recent).collect();
    recent.sort_unstable();
    let over = recent.len().checked_sub(usize::from(max))?;
    Some(recent[over].plus_s(window_s).seconds_since(ctx.now))
}

impl Policy {
    /// Returns the bounds of one agent with their ranges.
    pub(in crate::account) fn quota_rules(&self) -> Vec<Rule> {
        let one_to_1000 = 1..=1_000;
        vec![
            (
                one_to_1000.contains(&self.suspensions_max),
                "suspensions_max",
                "1 to 1000",
            ),
            (
                one_to_1000.contains(&self.clears_max),
                "clears_max",
                "1 to 1000",
            ),
            (
                one_to_1000.contains(&self.reset_ends_max),
                "reset_ends_max",
                "1 to 1000",
            ),
            (
                (1..=10_000).contains(&self.erasures_max),
                "erasures_max",
                "1 to 10000",
            ),
            (
                (3_600..=REQUESTS_WINDOW_MAX_S).contains(&self.agent_acts_window_s),
                "agent_acts_window_s",
                "3600 to 604800",
            ),
        ]
    }
}
