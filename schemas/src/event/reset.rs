//! The support reset, case by case.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// What the owner says is lost.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Lost {
        /// The authenticator app.
        App,
        /// The backup codes.
        BackupCodes,
        /// Both.
        Both,
    }

    /// An agent asked for a reset; another must approve it.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetRequested {
        /// The id of the reset case.
        pub case_id: String,
        /// When the case expires, approved or not.
        pub expires_at: Micros,
        /// What the owner says is lost.
        pub lost: Option<Lost>,
        /// The agent's reason.
        pub reason: Protected,
        /// The ticket in which the owner asked for the reset.
        pub ticket: Protected,
    }

    /// A second agent approved a reset.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetApproved {
        /// The id of the reset case.
        pub case_id: String,
        /// When the cooling-off time is over.
        pub execute_after: Micros,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// An agent rejected a reset.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetRejected {
        /// The id of the reset case.
        pub case_id: String,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// Who cancelled a reset.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum CancelledBy {
        /// A support agent.
        Agent,
        /// The account's owner.
        User,
        /// A completed two-factor login: a user who can do that has lost nothing.
        Login,
        /// The owner turned 2FA off, so there is nothing left to reset.
        Disabled,
    }

    /// A reset was cancelled.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetCancelled {
        /// The id of the reset case.
        pub case_id: String,
        /// Who cancelled it.
        pub by: CancelledBy,
        /// The agent's reason, if an agent cancelled it.
        pub reason: Option<Protected>,
    }

    /// A reset case was found to have expired.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetExpired {
        /// The id of the reset case.
        pub case_id: String,
    }

    /// A reset was executed: the second factor is off, every code and challenge is void, and the
    /// consequences of wrong codes are cleared.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetExecuted {
        /// The id of the reset case.
        pub case_id: String,
        /// The end of the time during which logins report the reset.
        pub told_until: Micros,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// Why a request for a reset was refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum RequestRefused {
        /// A case was open already.
        Open,
        /// The agent had reached its limit.
        Quota,
    }

    /// Requests for a reset of this account were refused, and none of them has its own record.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetRequestsRefused {
        /// The agent's name.
        pub by: String,
        /// Why they were refused.
        pub cause: RequestRefused,
        /// How many refusals since the last such record; a crash may have lost a minute of them.
        pub count: u32,
    }
}
