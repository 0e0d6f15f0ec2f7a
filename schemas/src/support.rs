//! What support agents ask for beside the attempts: the reset, case by case, and what the
//! account's owner says to it. Names are the format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::request;
use crate::ids::{AccountId, CaseId, Reason, Ticket};

/// What the owner says is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// The authenticator app.
    App,
    /// The backup codes.
    BackupCodes,
    /// Both.
    Both,
}

/// Where a reset case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseState {
    /// A second agent must approve.
    WaitingApproval,
    /// Approved; it may be executed when the time is over.
    CoolingOff,
    /// The second factor was turned off by it.
    Executed,
    /// An agent turned it down.
    Rejected,
    /// An agent, the owner or a completed login called it off.
    Cancelled,
    /// Nobody ended it in time.
    Expired,
}

request!(
    /// Asks for a reset of the second factor.
    RequestReset {
        /// The account.
        account_id: AccountId,
        /// Why, for the second agent and the auditors.
        reason: Reason,
        /// The ticket in which the owner asked for it.
        ticket: Ticket,
        /// What the owner says is lost.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::strict::optional_word"
        )]
        lost: Option<Lost>,
    }
);
request!(
    /// Approves another agent's reset.
    ApproveReset {
        /// The case.
        case_id: CaseId,
        /// Why, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Turns a reset down.
    RejectReset {
        /// The case.
        case_id: CaseId,
        /// Why, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Calls a reset off, as an agent.
    CancelReset {
        /// The case.
        case_id: CaseId,
        /// Why, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Turns the second factor off once the cooling-off time is over.
    ExecuteReset {
        /// The case.
        case_id: CaseId,
        /// Why, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Stops app codes and open challenges at once; a backup code or a reset ends it.
    SuspendFactor {
        /// The account.
        account_id: AccountId,
        /// Why, for the auditors.
        reason: Reason,
        /// The ticket in which the owner asked for it.
        ticket: Ticket,
    }
);
request!(
    /// Objects to a reset, as the account's owner.
    UserCancelReset {
        /// The account.
        account_id: AccountId,
    }
);
