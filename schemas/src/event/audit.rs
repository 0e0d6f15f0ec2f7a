//! Who looked at whose history and who took it away, and which agents asked for more than one may.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    /// Somebody looked at an account, by a query; the looker is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SubjectViewed {
        /// Whose; none for a query that shows several accounts.
        pub account_id: Option<String>,
        /// The query's name.
        pub query: String,
    }

    /// Somebody took events away, to keep or to verify; the taker is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AuditExported {
        /// Whose; none for more than one account.
        pub account_id: Option<String>,
        /// The form that was asked for.
        pub format: String,
        /// What was asked for beside the account, as JSON; `{}` for everything.
        pub filter: String,
    }

    /// How many further look-ups a record of one stood for; the looker is the record's caller.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LookUpsCounted {
        /// At whom; none where that record names nobody.
        pub account_id: Option<String>,
        /// The query's name.
        pub query: String,
        /// How many after the first, refused ones included.
        pub count: u32,
    }

    /// What an agent may do so often in a window, over all accounts.
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

    /// Acts of one agent were refused because it had done as many as one agent may; none of the
    /// refusals has a record of its own.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AgentActsRefused {
        /// The agent's name.
        pub by: String,
        /// What it asked for.
        pub act: AgentAct,
        /// How many, since the last such record; a crash may have lost a minute of them.
        pub count: u32,
    }
}
