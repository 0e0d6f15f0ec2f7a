//! Log-wide events (stream kind 0).

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// A log begins, or continues after a loss; always the first record of a log or an epoch.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EpochStarted {
        /// The number of the epoch, from 1.
        pub epoch: u32,
        /// The log's id, as the keyring holds it.
        pub log_id: [u8; 16],
        /// The first position that was lost before this epoch; none in the first epoch.
        pub lost_from: Option<u64>,
        /// Every TOTP step up to this one counts as spent; 0 in the first epoch.
        pub spent_through: u64,
        /// The operator's reason.
        pub reason: String,
    }

    /// The policy for every later decision, as JSON.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PolicyInForce {
        /// The policy as canonical JSON, with its keys in their declared order.
        pub policy: String,
    }

    /// Stored forms came into use: later records may use them.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SchemasInForce {
        /// The forms that the log had not named before.
        pub forms: Vec<Form>,
    }

    /// One stored form: the payload of an event type in one version, or a block of every record.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Form {
        /// The event's name, or the block's.
        pub name: String,
        /// Its schema version, from 1.
        pub version: u16,
        /// The first 16 bytes of SHA-256 over its shape.
        pub fingerprint: [u8; 16],
    }

    /// The wall clock jumped forward against the monotonic clock.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ClockJumped {
        /// The size of the jump, in microseconds.
        pub by_us: u64,
    }

    /// An operator accepted a wall clock that is behind the log: codes are checked by this clock
    /// until it has caught up, while log time does not advance.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ClockBackAccepted {
        /// The wall clock that was accepted; an earlier one is not.
        pub wall: Micros,
        /// How far the wall clock was behind the log, in microseconds.
        pub behind_us: u64,
        /// The operator's reason.
        pub reason: String,
    }

    /// A new key-encryption key and a new pepper came into use; the old ones still serve the values
    /// that they made.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct KeysRotated {
        /// The number of both keys in the keyring.
        pub key_id: u32,
        /// The operator's reason; none if a start found a rotation that had begun but was not
        /// recorded.
        pub reason: Option<Protected>,
    }

    /// Every data key is now wrapped by the current key-encryption key.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DataKeysRewrapped {
        /// The number of the key-encryption key that wraps them now.
        pub key_id: u32,
        /// How many data keys it wraps.
        pub count: u64,
    }

    /// A login named an unknown user; the name is not recorded.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct UnknownNameRefused {
        /// How many such logins this record represents.
        pub count: u32,
    }
}
