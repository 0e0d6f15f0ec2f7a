//! An operator erases an account: nothing that was sealed for it can be read again.
//!
//! The event removes the account; its id and name are free, and a new life continues the count of
//! versions. The engine destroys the data keys.

use countersign_schemas::command::EraseAccount;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;

use super::quota;
use crate::account::outcome::Reply;
use crate::account::{Account, Ctx, Decision};

/// Erases an account.
///
/// Checks that the account exists, then the operator's quota. Records `account-erased`; a refusal
/// carries no event.
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
    /// Forgets everything except the number of events.
    pub(in crate::account) fn erased(&mut self) {
        *self = Self {
            version: self.version,
            ..Self::default()
        };
    }
}
