//! Access records: who viewed or exported a history, or acted on the whole service, and which
//! agents exceeded their limit.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;

    /// A caller viewed an account by a query; the viewer is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SubjectViewed {
        /// The account's id; none for a query that shows several accounts.
        pub account_id: Option<String>,
        /// The query's name.
        pub query: String,
    }

    /// A caller exported events, to keep or to verify them; the exporter is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AuditExported {
        /// The account's id; none for more than one account.
        pub account_id: Option<String>,
        /// The form of the export.
        pub format: String,
        /// The filters of the export besides the account, as JSON; `{}` for everything.
        pub filter: String,
    }

    /// How many further accesses one access record represents; the viewer is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LookUpsCounted {
        /// The account's id; none if that access record names no account.
        pub account_id: Option<String>,
        /// The query's name.
        pub query: String,
        /// How many accesses after the first, refused ones included.
        pub count: u32,
    }

    /// What an operator asks of a running service.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum OperatorAct {
        /// `backup`
        Backup,
        /// `view-rebuild`
        ViewRebuild,
    }

    /// An operator asked for an act that changes no account; the operator is the record's caller.
    /// The record precedes the act, which can still fail.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct OperatorActed {
        /// What the operator asked for.
        pub act: OperatorAct,
        /// The view's name; none for a backup.
        pub view: Option<String>,
        /// The operator's reason.
        pub reason: Protected,
    }

    /// Acts that are limited for each agent in a window, over all accounts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum AgentAct {
        /// `suspend-factor`
        SuspendFactor,
        /// `clear-attempts`
        ClearAttempts,
        /// `reject-reset` and an agent's `cancel-reset`
        EndReset,
        /// `erase-account`
        EraseAccount,
    }

    /// Acts of one agent were refused because it had reached its limit; none of the refusals has
    /// its own record.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AgentActsRefused {
        /// The agent's name.
        pub by: String,
        /// What the agent asked for.
        pub act: AgentAct,
        /// How many refusals since the last such record; a crash may have lost a minute of them.
        pub count: u32,
    }
}
