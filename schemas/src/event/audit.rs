//! Who looked at whose history, and who took it away.

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
}
