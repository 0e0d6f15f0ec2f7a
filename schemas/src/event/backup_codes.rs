//! Backup codes.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::event::account::v1::Purpose;
    use crate::event::enrolment::v1::FirstFactor;
    use crate::sealed::Protected;

    /// Why a set of codes was issued.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum IssueCause {
        /// 2FA was turned on.
        Enrolment,
        /// The user asked for new codes, with this proof.
        Regenerated(FirstFactor),
    }

    /// A set of backup codes was issued; every code of an earlier set is void.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodesIssued {
        /// The number of the set, rising for the life of the account.
        pub set_no: u32,
        /// A short random name of the set, so that one printed sheet can be distinguished from
        /// another.
        pub fingerprint: String,
        /// Why the set was issued.
        pub cause: IssueCause,
        /// How many codes the set has.
        pub slots: u8,
        /// The Argon2id verifiers, one for each ordinal, as one sealed list.
        pub verifiers: Protected,
        /// How many codes of the previous set were unused; they are now void.
        pub superseded_unused: u8,
    }

    /// A backup code was accepted. At login it completes the login; for other purposes, what it
    /// proved follows in the same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodeAccepted {
        /// The number of the code's set.
        pub set_no: u32,
        /// The code's number in its set, from 1; this event spends it.
        pub ordinal: u8,
        /// How many codes remain unused.
        pub remaining: u8,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before the code.
        pub first_factor: FirstFactor,
        /// The challenge that the code spends: the hash that `LoginStarted` recorded.
        pub challenge: Option<[u8; 16]>,
    }

    /// Why a backup code was not accepted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum BackupCodeReason {
        /// The code is not in the current set.
        Wrong,
        /// The code was used before.
        Used,
    }

    /// A backup code was not accepted.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BackupCodeRejected {
        /// The set that the code was compared with.
        pub set_no: u32,
        /// The ordinal that the code named.
        pub ordinal: u8,
        /// Why the code was not accepted.
        pub reason: BackupCodeReason,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before the code.
        pub first_factor: FirstFactor,
    }
}
