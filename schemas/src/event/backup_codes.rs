//! Backup codes.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::event::account::v1::Purpose;
    use crate::event::enrolment::v1::FirstFactor;
    use crate::sealed::Protected;

    /// Why a set was issued.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum IssueCause {
        /// 2FA was turned on.
        Enrolment,
        /// The user asked for new ones, with this proof.
        Regenerated(FirstFactor),
    }

    /// A set of backup codes was issued; every code of an earlier set is void.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodesIssued {
        /// Number of the set, rising for the life of the account.
        pub set_no: u32,
        /// A short name for the set, random, so that a sheet of paper can be told from another.
        pub fingerprint: String,
        /// Why.
        pub cause: IssueCause,
        /// How many codes the set has.
        pub slots: u8,
        /// The Argon2id verifiers, one for each ordinal, as one sealed list.
        pub verifiers: Protected,
        /// Unused codes of the set before, now void.
        pub superseded_unused: u8,
    }

    /// A backup code was taken; at login it completes the login, else what it proved follows in the
    /// same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodeAccepted {
        /// The set.
        pub set_no: u32,
        /// The code's number in it, from 1; spent with this event.
        pub ordinal: u8,
        /// Unused codes that remain.
        pub remaining: u8,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before.
        pub first_factor: FirstFactor,
        /// The challenge that it spends: the hash that `LoginStarted` recorded.
        pub challenge: Option<[u8; 16]>,
    }

    /// Why a backup code was not taken.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum BackupCodeReason {
        /// It is no code of the current set.
        Wrong,
        /// It was used before.
        Used,
    }

    /// A backup code was not taken.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodeRejected {
        /// The set that it was compared with.
        pub set_no: u32,
        /// The number that it named.
        pub ordinal: u8,
        /// Why.
        pub reason: BackupCodeReason,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before.
        pub first_factor: FirstFactor,
    }
}
