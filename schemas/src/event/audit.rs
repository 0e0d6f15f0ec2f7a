//! Access records: who viewed or exported a history, and which agents exceeded their limit.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

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
