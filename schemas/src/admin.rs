//! What operators may ask of a running service: its numbers, its views and a backup.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Reason;
use crate::time::Micros;

/// Takes a backup into the configured folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The reason, which is sealed in the `operator-acted` record.
    pub reason: Reason,
}

/// Rebuilds a view from the log, beside the copy that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewRebuildRequest {
    /// The view's name.
    #[serde(deserialize_with = "crate::strict::word")]
    pub view: ViewName,
    /// The reason, which is sealed in the `operator-acted` record.
    pub reason: Reason,
}

/// Declares the one list of the views' names: the variant and its word.
macro_rules! view_names {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)*) => {
        /// The names of the views.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum ViewName {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl ViewName {
            /// Returns the word on the wire, which is also the projection's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

view_names! {
    /// What a login check may know about an account.
    LoginStatus "login-status",
    /// Which events the log holds.
    AuditTrail "audit-trail",
    /// The reset cases.
    ResetQueue "reset-queue",
    /// What agents may know about an account.
    AccountCard "account-card",
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupTaken {
    /// The last position in the backup.
    pub position: u64,
    /// The backup's files, relative to the configured folders; the newest 1,000 if there are more.
    pub files: Vec<String>,
    /// How many files the backup has.
    pub file_count: u64,
}

/// The views of this build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewList {
    /// One entry for each view.
    pub views: Vec<ViewEntry>,
    /// The last position of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
}

/// One view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewEntry {
    /// The view's name.
    pub view: String,
    /// The version of the view's fold.
    pub version: u32,
    /// The position that the view has reached.
    pub position: u64,
    /// Why the view no longer follows the log; null while it does.
    pub halted: Option<String>,
    /// The position that a rebuild beside the view has reached; absent when no rebuild is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<u64>,
    /// Why the last rebuild was given up; absent if it was not given up since the service started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

/// The keys that protect a log, without their key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// The id of the log's epoch, 32 hex digits.
    pub log_id: String,
    /// The public key of its checkpoints, `name+hash+key` (C2SP signed-note).
    pub vkey: String,
    /// The keys, oldest first within a kind.
    pub keys: Vec<KeyEntry>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyEntry {
    /// What the key is for.
    pub kind: KeyKind,
    /// The key's number, from 1.
    pub key_id: u32,
    /// Whether new values use the key.
    pub state: KeyState,
    /// When the key was made.
    pub created_at: Micros,
    /// How many data keys the key wraps; null for a pepper, and when the key store cannot be read.
    pub seals: Option<u64>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// The key wraps the accounts' data keys.
    KeyEncryption,
    /// The key is mixed into the hashes of passwords and backup codes.
    Pepper,
}

/// Whether new values use a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// New values use the key.
    Active,
    /// The key is kept for values that were made with it, including those in backups.
    Retired,
}

/// The numbers of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogStats {
    /// The last position of the log.
    pub position: u64,
    /// The size of all records, in bytes.
    pub record_bytes: u64,
    /// The size of all segment files, in bytes.
    pub file_bytes: u64,
    /// The segments, oldest first.
    pub segments: Vec<SegmentEntry>,
    /// Events by type, the most frequent first.
    pub events: Vec<EventCount>,
    /// The last position that index.redb has stored, and how many entries wait in memory.
    pub index: IndexState,
    /// The accounts in memory.
    pub cache: CacheState,
    /// How far events are published; absent when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationState>,
}

/// How far the log is published to the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicationState {
    /// The last position up to which every event is published; 0 until this is known.
    pub position: u64,
    /// How many positions publication is behind the log's last one.
    pub lag: u64,
    /// Why nothing is published at the moment; absent while publication works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentEntry {
    /// The file's name.
    pub file: String,
    /// The first position in the segment.
    pub first: u64,
    /// The last position in the segment.
    pub last: u64,
    /// Whether the segment is closed for good.
    pub sealed: bool,
    /// The file's size in bytes.
    pub bytes: u64,
}

/// How many events of one type the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCount {
    /// The event type's kebab-case name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The number of events.
    pub count: u64,
    /// The size of their records, in bytes.
    pub record_bytes: u64,
}

/// How far the index has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexState {
    /// The last position that the index has stored.
    pub position: u64,
    /// The entries in memory that wait to be written.
    pub waiting: u64,
}

/// The accounts in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheState {
    /// The number of accounts.
    pub accounts: u64,
    /// Their approximate size, in bytes.
    pub bytes: u64,
    /// The most bytes that they may take.
    pub bytes_max: u64,
}
