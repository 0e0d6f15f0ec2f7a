//! An operator erases an account: what was sealed for it can never be read again.
//!
//! The account is gone with the event; its id and name are free, and a new life goes on counting
//! versions. The data keys, which the event only speaks of, are the engine's to destroy.

use countersign_schemas::command::EraseAccount;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;

use super::quota;
use crate::account::outcome::Reply;
use crate::account::{Account, Ctx, Decision};

/// Needs an account, and an operator that has not erased as many as one may.
pub(in crate::account) fn erase(account: &Account, command: &EraseAccount, ctx: &Ctx) -> Decision {
    if !account.exists() {
        return Decision::refused(ErrorCode::AccountNotFound);
    }
    if let Some(refused) = quota::over(AgentAct::EraseAccount, ctx) {
        return refused;
    }
    let event = Event::AccountErased(AccountErased {
        reason: Some(Protected::clear(command.reason.as_str().as_bytes())),
    });
    Decision::recorded(vec![event], Reply::AccountErased)
}

impl Account {
    /// Forgets everything but how many events there were.
    pub(in crate::account) fn erased(&mut self) {
        *self = Self {
            version: self.version,
            ..Self::default()
        };
    }
}
