//! The consequences of wrong codes.

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// App codes are not compared until the end of a wait.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AttemptsThrottled {
        /// When the wait ends.
        pub until: Micros,
    }

    /// Two consecutive codes are required for a time.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DoubleCodeRequired {
        /// When the oldest counted failure leaves the budget's window.
        pub until: Micros,
    }

    /// Why app codes are suspended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum SuspendedCause {
        /// Too many failures in a row.
        Failures,
        /// A support agent, because the phone was stolen.
        Support,
    }

    /// App codes are suspended until a backup code or a reset ends it.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct FactorSuspended {
        /// Why app codes are suspended.
        pub cause: SuspendedCause,
        /// The agent's reason, if an agent suspended them.
        pub reason: Option<Protected>,
        /// The ticket in which the owner asked for the suspension.
        pub ticket: Option<Protected>,
    }

    /// Attempts were refused without being compared, and none of them has its own record.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AttemptsSuppressed {
        /// How many attempts since the last such record; a crash may have lost a minute of them.
        pub count: u32,
    }

    /// Support allowed app codes to be tried again: waits, double-code mode and the counted
    /// failures are cleared; the failures in a row and a suspension are not.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AttemptsCleared {
        /// The agent's name.
        pub by: String,
        /// The agent's reason.
        pub reason: Protected,
    }
}
