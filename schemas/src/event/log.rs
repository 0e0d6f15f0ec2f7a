//! Log-wide events (stream kind 0).

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    /// A log begins, or goes on after a loss; always the first record of a log.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EpochStarted {
        /// Number of the epoch, from 1.
        pub epoch: u32,
        /// The log's id, as the keyring has it.
        pub log_id: [u8; 16],
        /// First position that was lost before this epoch; none in the first.
        pub lost_from: Option<u64>,
        /// The operator's reason.
        pub reason: String,
    }

    /// The policy that decides from here on, as JSON.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PolicyInForce {
        /// Canonical JSON: keys in their declared order.
        pub policy: String,
    }

    /// A login named nobody; which name is not recorded.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct UnknownNameRefused {
        /// How many such logins this record stands for.
        pub count: u32,
    }
}
