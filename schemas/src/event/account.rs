//! The account and its password.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// An account was created.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AccountRegistered {
        /// The login name; none if another password service holds it.
        pub username: Option<Protected>,
    }

    /// A password was set.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PasswordSet {
        /// The Argon2id verifier with its parameters.
        pub verifier: Protected,
        /// Why the password was set.
        pub cause: PasswordCause,
    }

    /// The account was erased: its data keys are destroyed, and its id and name are free again.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AccountErased {
        /// The operator's reason, under the log's own data key, so that it outlives the account's;
        /// none if a start completed an erasure whose record was lost.
        pub reason: Option<Protected>,
    }

    /// A password that had just been verified was hashed again with other parameters; the password
    /// is the same.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PasswordRehashed {
        /// The Argon2id verifier with the current parameters and pepper.
        pub verifier: Protected,
    }

    /// Why a password was set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum PasswordCause {
        /// The account was registered with it.
        Registered,
        /// The user changed it.
        Changed,
    }

    /// What a password or a code was given for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Purpose {
        /// To log in.
        Login,
        /// To change the password.
        ChangePassword,
        /// To start an enrolment.
        Enable,
        /// To make new backup codes.
        Regenerate,
        /// To turn 2FA off.
        Disable,
    }

    /// A password was wrong.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PasswordRejected {
        /// What the password was given for.
        pub purpose: Purpose,
        /// The version of the account that set the verifier it was compared with; 0 if none is set.
        pub credential: u32,
        /// How many failures this source had since its last success, this one included.
        pub failures: u32,
        /// The end of the wait during which this source's passwords are not compared.
        pub wait_until: Option<Micros>,
        /// How many failures all sources had within a day of the first, this one included.
        pub day_failures: u32,
        /// The end of the wait of every source from which the owner did not lately complete a login
        /// and which is not new.
        pub all_wait_until: Option<Micros>,
    }
}
