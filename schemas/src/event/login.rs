//! Logins and the app's codes.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::event::account::v1::Purpose;
    use crate::event::enrolment::v1::FirstFactor;
    use crate::time::Micros;

    /// The password was right and a challenge was opened; not published.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginStarted {
        /// The first 16 bytes of SHA-256 of the challenge id.
        pub challenge: [u8; 16],
        /// When the challenge expires.
        pub expires_at: Micros,
        /// The version of the account that set the verifier.
        pub credential: u32,
    }

    /// A login was completed by the password alone.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginCompleted {
        /// The version of the account that set the verifier.
        pub credential: u32,
    }

    /// A password and a code came together during a password wait, and one or both were wrong. If
    /// the password was right, the record that counts the code follows in the same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginPairRejected {
        /// The version of the account that set the verifier; 0 if the caller vouched.
        pub credential: u32,
    }

    /// An app code was accepted and its step is spent. At login it completes the login; for other
    /// purposes, what it proved follows in the same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TotpAccepted {
        /// The highest matching time step; it and all before it are spent.
        pub step: u64,
        /// The matching step minus the step of arrival: −1, 0 or 1.
        pub drift: i8,
        /// The version of the account that began the enrolment.
        pub enrolment: u32,
        /// Whether two consecutive codes were required and given.
        pub double_code: bool,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before the code.
        pub first_factor: FirstFactor,
        /// The challenge that the code spends: the hash that `LoginStarted` recorded.
        pub challenge: Option<[u8; 16]>,
    }

    /// Why an app code was not accepted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum TotpReason {
        /// The code belongs to no step of the window.
        Wrong,
        /// Two consecutive codes were required, and these are not such a pair.
        WrongPair,
    }

    /// An app code was wrong; the attempt is counted.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TotpRejected {
        /// Why the code was not accepted.
        pub reason: TotpReason,
        /// The version of the account that began the enrolment.
        pub enrolment: u32,
        /// How many failures are in the budget's window, this one included.
        pub failures: u16,
        /// How many failures came since the last accepted code, this one included.
        pub consecutive: u16,
        /// How many failures came in the last 24 hours, this one included.
        pub day_failures: u16,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before the code.
        pub first_factor: FirstFactor,
    }

    /// An app code came again after it was accepted; the attempt is counted.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct CodeReplayed {
        /// The step that the code belongs to, already spent.
        pub step: u64,
        /// The version of the account that began the enrolment.
        pub enrolment: u32,
        /// How many failures are in the budget's window, this one included.
        pub failures: u16,
        /// How many failures came since the last accepted code, this one included.
        pub consecutive: u16,
        /// How many failures came in the last 24 hours, this one included.
        pub day_failures: u16,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before the code.
        pub first_factor: FirstFactor,
    }
}

/// Schema version 2, frozen.
pub mod v2 {
    use serde::{Deserialize, Serialize};

    use crate::time::Micros;

    /// The password was right and a challenge was opened; not published.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginStarted {
        /// The first 16 bytes of SHA-256 of the challenge id.
        pub challenge: [u8; 16],
        /// When the challenge expires.
        pub expires_at: Micros,
        /// The version of the account that set the verifier.
        pub credential: u32,
        /// The only audience that the login may be asserted to; any audience if there is none.
        pub audience: Option<String>,
    }
}
