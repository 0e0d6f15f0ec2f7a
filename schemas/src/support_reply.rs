//! What support agents are answered. Names are the format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, CaseId};
use crate::reply::{FactorState, Method, reply};
use crate::support::{CaseState, Lost};
use crate::time::Micros;

reply!(
    /// A reset case was opened; a second agent must approve it.
    ResetRequested {
        /// The case.
        case_id: CaseId,
        /// `waiting-approval`.
        state: CaseState,
        /// When it ends by itself, approved or not.
        expires_at: Micros,
    }
);
reply!(
    /// A reset was approved; its cooling-off time has begun.
    ResetApproved {
        /// `cooling-off`.
        state: CaseState,
        /// When it may be executed.
        execute_after: Micros,
    }
);
reply!(
    /// The case's state after the command.
    CaseChanged {
        /// The state.
        state: CaseState,
    }
);
reply!(
    /// App codes and open challenges are stopped.
    FactorSuspended {
        /// `suspended`.
        state: SuspendedState,
    }
);

/// Who suspended app codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendedBy {
    /// Too many wrong codes in a row: a backup code or a reset ends it.
    Failures,
    /// Support: only the removal of the authenticator, with a backup code beside the password, or a
    /// reset ends it.
    Support,
}

/// The state of a factor that support suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendedState {
    /// A backup code or a reset ends it.
    Suspended,
}

reply!(
    /// Whose name it is.
    AccountFound {
        /// The account.
        account_id: AccountId,
    }
);
reply!(
    /// Reset cases, oldest first.
    ResetQueue {
        /// The cases.
        cases: Vec<ResetCase>,
        /// Whether there are more than one answer holds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        /// The following `after`; absent at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    }
);
reply!(
    /// One reset case.
    ResetCase {
        /// The case.
        case_id: CaseId,
        /// The account.
        account_id: AccountId,
        /// Where it stands.
        state: CaseState,
        /// The agent who asked for it.
        requested_by: String,
        /// When.
        requested_at: Micros,
        /// When it ends by itself, approved or not.
        expires_at: Micros,
        /// The agent who approved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approved_by: Option<String>,
        /// When it may be executed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execute_after: Option<Micros>,
        /// When it was executed, rejected, cancelled or found expired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed_at: Option<Micros>,
        /// The caller that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed_by: Option<String>,
        /// What the owner says is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Lost>,
        /// The requester's reason.
        reason: String,
        /// The ticket.
        ticket: String,
    }
);
reply!(
    /// What an agent may know of an account: no secret, no code, no full username.
    AccountCard {
        /// The account.
        account_id: AccountId,
        /// The first character of its username and how many there are; none where another
        /// directory holds it.
        username: Option<MaskedName>,
        /// Since when the account exists.
        registered_at: Option<Micros>,
        /// When the password was set; none where this service does not check it.
        password_set_at: Option<Micros>,
        /// Whether a second factor is required.
        second_factor: FactorState,
        /// The kinds of code that will be taken.
        methods: Vec<Method>,
        /// Since when the second factor is on.
        enabled_at: Option<Micros>,
        /// Unused backup codes.
        backup_codes_left: u8,
        /// Number of the current code set, 0 before the first.
        set_no: u32,
        /// Wrong codes since the last completed login.
        wrong_codes: u32,
        /// When the last of them was.
        wrong_code_at: Option<Micros>,
        /// Until when no app code is compared.
        throttled_until: Option<Micros>,
        /// Whether two consecutive codes are asked for.
        double_code: bool,
        /// Whether app codes are suspended.
        suspended: bool,
        /// Who suspended them, and so what ends it; absent where nobody did, or a loss of events did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suspended_by: Option<SuspendedBy>,
        /// The last completed login.
        last_login_at: Option<Micros>,
        /// When support last cleared the attempts.
        cleared_at: Option<Micros>,
        /// The open reset case.
        reset: Option<ResetCase>,
        /// Which day it is since support reset the second factor, from 1, for 30 days.
        after_reset_days: Option<u32>,
        /// The log position that the card was read at.
        position: u64,
    }
);
reply!(
    /// A username as an agent may see it.
    MaskedName {
        /// The first character.
        first: String,
        /// How many characters there are.
        length: u8,
    }
);
