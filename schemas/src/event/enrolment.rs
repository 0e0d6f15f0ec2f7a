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
        /// The caller's word.
        Vouched,
    }

    /// An enrolment began; it replaces one that was pending.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentStarted {
        /// The new authenticator.
        pub authenticator_id: String,
        /// The TOTP secret, 20 bytes.
        pub secret: Protected,
        /// The name that the app shows.
        pub account_name: Option<Protected>,
        /// The user's name for the authenticator.
        pub label: Option<Protected>,
        /// When it lapses.
        pub expires_at: Micros,
        /// What proved the owner.
        pub proof: FirstFactor,
    }

    /// Why a code did not match.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Mismatch {
        /// It belongs to no step near now.
        Wrong,
        /// It belongs to a step outside the window: so many steps ahead (+) or behind (−).
        ClockOff(i64),
        /// It belongs to no app: a backup code was sent.
        WrongKind,
    }

    /// A confirming code was wrong.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentCodeRejected {
        /// The authenticator.
        pub authenticator_id: String,
        /// Why.
        pub reason: Mismatch,
        /// Tries left; at 0 the enrolment is dropped with this event.
        pub tries_left: u8,
    }

    /// An enrolment was dropped by the user.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentCancelled {
        /// The authenticator.
        pub authenticator_id: String,
    }

    /// An enrolment was found lapsed.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EnrolmentExpired {
        /// The authenticator.
        pub authenticator_id: String,
    }

    /// The second factor is on; the confirming step is spent.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct TwoFactorEnabled {
        /// The authenticator.
        pub authenticator_id: String,
        /// The time step of the confirming code.
        pub step: u64,
        /// That step minus the step of arrival: −1, 0 or 1.
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
        /// Who did it.
        pub by: DisabledBy,
    }
}
