//! The account and its password.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// An account was made.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AccountRegistered {
        /// The login name; none where another directory holds it.
        pub username: Option<Protected>,
    }

    /// A password was set.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PasswordSet {
        /// The Argon2id verifier with its parameters.
        pub verifier: Protected,
        /// Why it was set.
        pub cause: PasswordCause,
    }

    /// The account was erased: its data keys are destroyed, and its id and name are free again.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AccountErased {
        /// The operator's reason, under the log's own data key, so that it outlives the account's;
        /// none where a start completed an erasure whose record was lost.
        pub reason: Option<Protected>,
    }

    /// A password that had just been proved is kept in another way; it is the same password.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PasswordRehashed {
        /// The Argon2id verifier with the parameters and the pepper of the day.
        pub verifier: Protected,
    }

    /// Why a password was set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum PasswordCause {
        /// With the account.
        Registered,
        /// The user chose another.
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
        /// What it was asked for.
        pub purpose: Purpose,
        /// The account's version that set the verifier it was compared with; 0 when none is set.
        pub credential: u32,
        /// Failures of this source since its last success, this one included.
        pub failures: u32,
        /// Until when this source's passwords are not compared.
        pub wait_until: Option<Micros>,
        /// Failures of every source within a day of the first of them, this one included.
        pub day_failures: u32,
        /// Until when no source's passwords are compared.
        pub all_wait_until: Option<Micros>,
    }
}
