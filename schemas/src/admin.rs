//! What operators may ask of a running service: its numbers, its views, a backup.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Reason;
use crate::time::Micros;

/// Takes a backup into the configured folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Why.
    pub reason: Reason,
}

/// Builds a view anew from the log, beside the one that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewRebuildRequest {
    /// The view's name.
    #[serde(deserialize_with = "crate::strict::word")]
    pub view: ViewName,
    /// Why.
    pub reason: Reason,
}

/// Declares the one list of the views' names: the variant and its word.
macro_rules! view_names {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)*) => {
        /// The views.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum ViewName {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl ViewName {
            /// The word on the wire, and the projection's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

view_names! {
    /// What a login check may know.
    LoginStatus "login-status",
    /// Which events there are.
    AuditTrail "audit-trail",
    /// The reset cases.
    ResetQueue "reset-queue",
    /// What agents may know.
    AccountCard "account-card",
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupTaken {
    /// The last position in it.
    pub position: u64,
    /// Its files, relative to the configured folders; the newest 1,000 where there are more.
    pub files: Vec<String>,
    /// How many files there are.
    pub file_count: u64,
}

/// The views of this build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewList {
    /// One entry for each.
    pub views: Vec<ViewEntry>,
    /// The last position of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
}

/// One view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewEntry {
    /// Its name.
    pub view: String,
    /// The version of its fold.
    pub version: u32,
    /// The position that it has reached.
    pub position: u64,
    /// Why it no longer follows the log.
    pub halted: Option<String>,
    /// The position that the tables have reached which are built anew beside it; absent where none
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<u64>,
    /// Why the last building anew was given up; absent where it was not, or since the service started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

/// The keys that protect a log, without any of them.
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
    /// What it is for.
    pub kind: KeyKind,
    /// Its number, from 1.
    pub key_id: u32,
    /// Whether new values use it.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Micros,
    /// How many data keys it wraps; null for a pepper, and where the key store cannot be read.
    pub seals: Option<u64>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// It wraps the accounts' data keys.
    KeyEncryption,
    /// It is mixed into the hashes of passwords and backup codes.
    Pepper,
}

/// Whether new values use a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// New values do.
    Active,
    /// It is kept for what was made with it, in copies too.
    Retired,
}

/// The numbers of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogStats {
    /// The last position.
    pub position: u64,
    /// Bytes of all records.
    pub record_bytes: u64,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// The segments, oldest first.
    pub segments: Vec<SegmentEntry>,
    /// Events by type, the most frequent first.
    pub events: Vec<EventCount>,
    /// The last position that index.redb has taken in, and how many wait in memory.
    pub index: IndexState,
    /// Accounts in memory.
    pub cache: CacheState,
    /// How far events are published; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationState>,
}

/// How far the log is published to the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicationState {
    /// The last position up to which everything is published; 0 while nothing is known.
    pub position: u64,
    /// Positions behind the log's last one.
    pub lag: u64,
    /// Why nothing is published at the moment; absent while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentEntry {
    /// Its file's name.
    pub file: String,
    /// The first position in it.
    pub first: u64,
    /// The last position in it.
    pub last: u64,
    /// Whether it is closed for good.
    pub sealed: bool,
    /// The file's size.
    pub bytes: u64,
}

/// How many events of a type there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCount {
    /// Kebab-case name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub count: u64,
    /// Bytes of their records.
    pub record_bytes: u64,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexState {
    /// The last position that was taken in.
    pub position: u64,
    /// Entries in memory that wait to be written.
    pub waiting: u64,
}

/// Accounts in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheState {
    /// How many.
    pub accounts: u64,
    /// About how many bytes.
    pub bytes: u64,
    /// The bound.
    pub bytes_max: u64,
}
