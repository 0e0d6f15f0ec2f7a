//! Log-wide events (stream kind 0).

/// Schema version 1, frozen.
pub mod v1 {
    use serde::{Deserialize, Serialize};

    use crate::sealed::Protected;
    use crate::time::Micros;

    /// A log begins, or goes on after a loss; always the first record of a log.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct EpochStarted {
        /// Number of the epoch, from 1.
        pub epoch: u32,
        /// The log's id, as the keyring has it.
        pub log_id: [u8; 16],
        /// First position that was lost before this epoch; none in the first.
        pub lost_from: Option<u64>,
        /// Every TOTP step up to this one counts as spent; 0 in the first.
        pub spent_through: u64,
        /// The operator's reason.
        pub reason: String,
    }

    /// The policy that decides from here on, as JSON.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PolicyInForce {
        /// Canonical JSON: keys in their declared order.
        pub policy: String,
    }

    /// Stored forms came into use: from here on, records may hold them.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct SchemasInForce {
        /// Those that the log had not named before.
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
        /// By so many microseconds.
        pub by_us: u64,
    }

    /// An operator took a wall clock for right that lies behind the log: codes are checked by it
    /// until it has caught up, while log time stands still.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ClockBackAccepted {
        /// The wall clock that was taken for right; one further back is not.
        pub wall: Micros,
        /// How far it lay behind the log, in microseconds.
        pub behind_us: u64,
        /// The operator's reason.
        pub reason: String,
    }

    /// A new key-encryption key and a new pepper came into use; the old ones serve what they made.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct KeysRotated {
        /// The number of both in the keyring.
        pub key_id: u32,
        /// The operator's reason; none where a start found the rotation begun and not recorded.
        pub reason: Option<Protected>,
    }

    /// No data key is wrapped by an older key-encryption key any more.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DataKeysRewrapped {
        /// The number of the key-encryption key that wraps them now.
        pub key_id: u32,
        /// How many data keys it wraps.
        pub count: u64,
    }

    /// A login named nobody; which name is not recorded.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct UnknownNameRefused {
        /// How many such logins this record stands for.
        pub count: u32,
    }
}
