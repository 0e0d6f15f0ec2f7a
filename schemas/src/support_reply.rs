//! The replies to support agents. Names are the format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, CaseId};
use crate::reply::{FactorState, Method, reply};
use crate::support::{CaseState, Lost};
use crate::time::Micros;

reply!(
    /// A reset case was opened; a second agent must approve it.
    ResetRequested {
        /// The id of the reset case.
        case_id: CaseId,
        /// Always `waiting-approval`.
        state: CaseState,
        /// When the case expires, approved or not.
        expires_at: Micros,
    }
);
reply!(
    /// A reset was approved; its cooling-off time has begun.
    ResetApproved {
        /// Always `cooling-off`.
        state: CaseState,
        /// When the reset may be executed.
        execute_after: Micros,
    }
);
reply!(
    /// The case's state after the command.
    CaseChanged {
        /// The case's state.
        state: CaseState,
    }
);
reply!(
    /// App codes and open challenges are suspended.
    FactorSuspended {
        /// Always `suspended`.
        state: SuspendedState,
    }
);

/// Who suspended app codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendedBy {
    /// Too many wrong codes in a row: a backup code or a reset ends it.
    Failures,
    /// Support: only a reset, or the removal of the authenticator with a backup code beside the
    /// password, ends it.
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
    /// The account of a username.
    AccountFound {
        /// The account's id.
        account_id: AccountId,
    }
);
reply!(
    /// Reset cases, oldest first.
    ResetQueue {
        /// The reset cases of the page.
        cases: Vec<ResetCase>,
        /// Whether there are more cases than this page holds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
        /// The `after` of the next page; absent on the last page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    }
);
reply!(
    /// One reset case.
    ResetCase {
        /// The id of the case.
        case_id: CaseId,
        /// The account's id.
        account_id: AccountId,
        /// The state of the case.
        state: CaseState,
        /// The agent who asked for it.
        requested_by: String,
        /// When the agent asked for it.
        requested_at: Micros,
        /// When the case expires, approved or not.
        expires_at: Micros,
        /// The agent who approved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approved_by: Option<String>,
        /// When the reset may be executed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execute_after: Option<Micros>,
        /// When it was executed, rejected, cancelled or found expired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed_at: Option<Micros>,
        /// The caller that ended the case.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed_by: Option<String>,
        /// What the owner says is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Lost>,
        /// The requester's reason.
        reason: String,
        /// The ticket in which the owner asked for the reset.
        ticket: String,
    }
);
reply!(
    /// What an agent may know about an account: no secret, no code and no full username.
    AccountCard {
        /// The account's id.
        account_id: AccountId,
        /// The first character of the username and its length; null if another password service
        /// holds the username.
        username: Option<MaskedName>,
        /// Since when the account exists.
        registered_at: Option<Micros>,
        /// When the password was set; null if this service does not check it.
        password_set_at: Option<Micros>,
        /// Whether a second factor is required.
        second_factor: FactorState,
        /// The kinds of code that are accepted.
        methods: Vec<Method>,
        /// Since when the second factor is on.
        enabled_at: Option<Micros>,
        /// How many backup codes are unused.
        backup_codes_left: u8,
        /// The number of the current code set, 0 before the first.
        set_no: u32,
        /// How many wrong codes came since the last completed login.
        wrong_codes: u32,
        /// When the last wrong code came.
        wrong_code_at: Option<Micros>,
        /// The end of the wait during which no app code is compared.
        throttled_until: Option<Micros>,
        /// Whether two consecutive codes are required.
        double_code: bool,
        /// Whether app codes are suspended.
        suspended: bool,
        /// Who suspended app codes, and so what ends the suspension; absent if there is none, or if
        /// a loss of events caused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suspended_by: Option<SuspendedBy>,
        /// The last completed login.
        last_login_at: Option<Micros>,
        /// When support last cleared the attempts.
        cleared_at: Option<Micros>,
        /// The open reset case.
        reset: Option<ResetCase>,
        /// The day since support reset the second factor, counted from 1, for 30 days.
        after_reset_days: Option<u32>,
        /// The log position at which the card was read.
        position: u64,
    }
);
reply!(
    /// A username as an agent may see it.
    MaskedName {
        /// The first character.
        first: String,
        /// The number of characters.
        length: u8,
    }
);
