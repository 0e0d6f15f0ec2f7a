//! Turning the second factor on and off.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// What proved the account's owner.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum FirstFactor {
        /// The password whose verifier was set at this version of the account.
        Password(u32),
        /// The caller vouched for it.
        Vouched,
    }

    /// An enrolment began; it replaces a pending one.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentStarted {
        /// The new authenticator's id.
        pub authenticator_id: String,
        /// The TOTP secret, 20 bytes.
        pub secret: Protected,
        /// The name that the app shows.
        pub account_name: Option<Protected>,
        /// The user's name for the authenticator.
        pub label: Option<Protected>,
        /// When the enrolment expires.
        pub expires_at: Micros,
        /// What proved the owner.
        pub proof: FirstFactor,
    }

    /// Why a code did not match.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Mismatch {
        /// The code belongs to no time step near the current one.
        Wrong,
        /// The code belongs to a step outside the window, this many steps ahead (+) or behind (−).
        ClockOff(i64),
        /// A backup code was sent, which belongs to no app.
        WrongKind,
    }

    /// A confirming code was wrong.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentCodeRejected {
        /// The authenticator's id.
        pub authenticator_id: String,
        /// Why the code did not match.
        pub reason: Mismatch,
        /// The tries left; at 0 this event drops the enrolment.
        pub tries_left: u8,
    }

    /// The user cancelled an enrolment.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentCancelled {
        /// The authenticator's id.
        pub authenticator_id: String,
    }

    /// An enrolment was found to have expired.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentExpired {
        /// The authenticator's id.
        pub authenticator_id: String,
    }

    /// The second factor is on; the confirming step is spent.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TwoFactorEnabled {
        /// The authenticator's id.
        pub authenticator_id: String,
        /// The time step of the confirming code.
        pub step: u64,
        /// The confirmed step minus the step of arrival: −1, 0 or 1.
        pub drift: i8,
    }

    /// Who turned the second factor off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum DisabledBy {
        /// The user, with this proof.
        User(FirstFactor),
    }

    /// The second factor is off; every code and challenge is void.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TwoFactorDisabled {
        /// Who turned the second factor off.
        pub by: DisabledBy,
    }
}
