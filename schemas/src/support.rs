//! What support agents ask for besides the attempts: the support reset, case by case, and the
//! owner's objection to it. Names are the format.

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

/// The state of a reset case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseState {
    /// A second agent must approve.
    WaitingApproval,
    /// The reset is approved and may be executed once the cooling-off time is over.
    CoolingOff,
    /// The reset turned the second factor off.
    Executed,
    /// An agent rejected the reset.
    Rejected,
    /// An agent, the owner or a completed login cancelled the reset.
    Cancelled,
    /// The case expired before it was executed or ended.
    Expired,
}

request!(
    /// Asks for a reset of the second factor.
    RequestReset {
        /// The account's id.
        account_id: AccountId,
        /// The agent's reason, for the second agent and the auditors.
        reason: Reason,
        /// The ticket in which the owner asked for the reset.
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
        /// The id of the reset case.
        case_id: CaseId,
        /// The agent's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Rejects a reset.
    RejectReset {
        /// The id of the reset case.
        case_id: CaseId,
        /// The agent's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Cancels a reset, as an agent.
    CancelReset {
        /// The id of the reset case.
        case_id: CaseId,
        /// The agent's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Turns the second factor off once the cooling-off time is over.
    ExecuteReset {
        /// The id of the reset case.
        case_id: CaseId,
        /// The agent's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Stops app codes and open challenges at once; a backup code or a reset ends it.
    SuspendFactor {
        /// The account's id.
        account_id: AccountId,
        /// The agent's reason, for the auditors.
        reason: Reason,
        /// The ticket in which the owner asked for the suspension.
        ticket: Ticket,
    }
);
request!(
    /// Objects to a reset, as the account's owner.
    UserCancelReset {
        /// The account's id.
        account_id: AccountId,
    }
);
