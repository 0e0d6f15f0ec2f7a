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
        /// The case.
        pub case_id: String,
        /// When the case ends by itself, approved or not.
        pub expires_at: Micros,
        /// What the owner says is lost.
        pub lost: Option<Lost>,
        /// The agent's reason.
        pub reason: Protected,
        /// The ticket in which the owner asked for it.
        pub ticket: Protected,
    }

    /// A second agent approved a reset.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetApproved {
        /// The case.
        pub case_id: String,
        /// When the cooling-off time is over.
        pub execute_after: Micros,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// An agent turned a reset down.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetRejected {
        /// The case.
        pub case_id: String,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// Who called a reset off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum CancelledBy {
        /// A support agent.
        Agent,
        /// The account's owner.
        User,
        /// A completed two-factor login: whoever can do that has lost nothing.
        Login,
        /// The owner turned 2FA off, so there is nothing left to reset.
        Disabled,
    }

    /// A reset was called off.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetCancelled {
        /// The case.
        pub case_id: String,
        /// Who did it.
        pub by: CancelledBy,
        /// The agent's reason, where it was one.
        pub reason: Option<Protected>,
    }

    /// A reset was found to have lapsed.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetExpired {
        /// The case.
        pub case_id: String,
    }

    /// A reset was done: the second factor is off, every code and challenge is void, and what wrong
    /// codes had led to is forgotten.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetExecuted {
        /// The case.
        pub case_id: String,
        /// Until when logins say that there was a reset.
        pub told_until: Micros,
        /// The agent's reason.
        pub reason: Protected,
    }

    /// Why a request for a reset was refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum RequestRefused {
        /// A case was open already.
        Open,
        /// The agent had asked for too many.
        Quota,
    }

    /// Requests for a reset of this account were refused, and none of them has a record of its own.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ResetRequestsRefused {
        /// The agent's name.
        pub by: String,
        /// Why.
        pub cause: RequestRefused,
        /// How many, since the last such record; a crash may have lost a minute of them.
        pub count: u32,
    }
}
