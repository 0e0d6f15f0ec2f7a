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
        /// When it lapses.
        pub expires_at: Micros,
        /// The account's version that set the verifier.
        pub credential: u32,
    }

    /// A login by the password alone.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginCompleted {
        /// The account's version that set the verifier.
        pub credential: u32,
    }

    /// A password and a code that came together were not both right, while passwords waited; where the
    /// password was right, what its code was counted as follows in the same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LoginPairRejected {
        /// The account's version that set the verifier; 0 where the caller vouched.
        pub credential: u32,
    }

    /// An app code was taken and its step is spent; at login it completes the login, else what it
    /// proved follows in the same group.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TotpAccepted {
        /// The highest matching time step; it and all before it are spent.
        pub step: u64,
        /// That step minus the step of arrival: −1, 0 or 1.
        pub drift: i8,
        /// The account's version that began the enrolment.
        pub enrolment: u32,
        /// Whether two consecutive codes were asked for and given.
        pub double_code: bool,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before.
        pub first_factor: FirstFactor,
        /// The challenge that it spends: the hash that `LoginStarted` recorded.
        pub challenge: Option<[u8; 16]>,
    }

    /// Why an app code was not taken.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum TotpReason {
        /// It belongs to no step of the window.
        Wrong,
        /// Two consecutive codes were asked for and these are not such a pair.
        WrongPair,
    }

    /// An app code was wrong; the attempt is counted.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TotpRejected {
        /// Why.
        pub reason: TotpReason,
        /// The account's version that began the enrolment.
        pub enrolment: u32,
        /// Failures in the budget's window, this one included.
        pub failures: u16,
        /// Failures since the last accepted code, this one included.
        pub consecutive: u16,
        /// Failures of the last 24 hours, this one included.
        pub day_failures: u16,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before.
        pub first_factor: FirstFactor,
    }

    /// An app code came again after it was taken; the attempt is counted.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct CodeReplayed {
        /// The step that it belongs to, already spent.
        pub step: u64,
        /// The account's version that began the enrolment.
        pub enrolment: u32,
        /// Failures in the budget's window, this one included.
        pub failures: u16,
        /// Failures since the last accepted code, this one included.
        pub consecutive: u16,
        /// Failures of the last 24 hours, this one included.
        pub day_failures: u16,
        /// What the code was given for.
        pub purpose: Purpose,
        /// What proved the owner before.
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
        /// When it lapses.
        pub expires_at: Micros,
        /// The account's version that set the verifier.
        pub credential: u32,
        /// Whom alone the login may be asserted to; anybody where there is none.
        pub audience: Option<String>,
    }
}
