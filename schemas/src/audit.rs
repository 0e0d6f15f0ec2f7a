//! What an auditor gets beside the events themselves: signed checkpoints, proofs, raw records.
//!
//! Hashes and records are base64 with padding (RFC 4648 §4). The tree is that of RFC 6962: the
//! record at position n is leaf n − 1, and its leaf hash is SHA-256(0x00 ‖ record).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::{MOMENT, object};
use crate::ids::AccountId;
use crate::query::EventNames;
use crate::reply::{AuditEvent, LoginStatus};
use crate::time::Micros;
use crate::whole::{Place, Whole};

/// A proof that a record is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    /// The record's position, from 1.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub position: u64,
    /// The size of the tree to prove it in; the newest when absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Place, _, _>"
    )]
    #[schemars(with = "Option<Place>")]
    pub size: Option<u64>,
}

/// A proof that one state of the log is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    /// The size of the earlier tree, from 1.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub from: u64,
    /// The size of the later tree; the newest when absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Place, _, _>"
    )]
    #[schemars(with = "Option<Place>")]
    pub to: Option<u64>,
}

object!(
    /// An account as it was: exactly one of the two fields.
    AccountAtQuery [MOMENT] {
        /// Right after the event at this position.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
        )]
        #[schemars(with = "Option<Whole>")]
        position: Option<u64>,
        /// At this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Micros>,
    }
);

/// A moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right after the event at a position.
    Position(u64),
    /// At a time.
    Time(Micros),
}

impl AccountAtQuery {
    /// The moment that is asked for; a query that was decoded has one.
    pub fn moment(&self) -> Option<Moment> {
        let position = self.position.map(Moment::Position);
        position.or(self.at.map(Moment::Time))
    }
}

/// Records as they are hashed, for whoever derives the tree anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRecordsQuery {
    /// Only records after this position.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
    )]
    #[schemars(with = "Option<Whole>")]
    pub after: Option<u64>,
}

/// The newest state of the log, signed (C2SP tlog-checkpoint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedCheckpoint {
    /// The signed note.
    pub note: String,
    /// How many records it covers.
    pub size: u64,
    /// The root over them.
    pub root: String,
    /// The key that verifies the note, `name+hash+key` (C2SP signed-note).
    pub vkey: String,
}

/// A record and the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InclusionProof {
    /// The record's bytes.
    pub record: String,
    /// Their leaf hash.
    pub leaf_hash: String,
    /// The hashes from the leaf up (RFC 6962 §2.1.1).
    pub inclusion: Vec<String>,
    /// The size of the tree that they lead to.
    pub size: u64,
    /// Its root.
    pub root: String,
}

/// A proof that one state of the log is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyProof {
    /// The hashes (RFC 6962 §2.1.2); none for equal sizes.
    pub proof: Vec<String>,
    /// The size of the earlier tree.
    pub from: u64,
    /// The size of the later tree.
    pub to: u64,
}

/// Consecutive records, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecords {
    /// Their bytes; the first stands at the position after the one that was asked for.
    pub records: Vec<String>,
    /// The following `after`; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The form in which events are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// One event of the contract a line.
    Jsonl,
    /// One event a row.
    Csv,
    /// One Open Cybersecurity Schema Framework event a line.
    Ocsf,
}

impl ExportFormat {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Which events to take away; every filter given must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportQuery {
    /// What they will be written as; recorded.
    #[serde(deserialize_with = "crate::strict::word")]
    pub format: ExportFormat,
    /// The last position to take, from 1; proofs are for a tree of that size.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub through: u64,
    /// Only events after this position.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
    )]
    #[schemars(with = "Option<Whole>")]
    pub after: Option<u64>,
    /// Only events of these types (kebab-case names).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<EventNames, _, _>"
    )]
    #[schemars(with = "Option<EventNames>")]
    pub types: Option<Vec<String>>,
    /// Only events of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Only events recorded at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Only events recorded before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
    /// Whether each event comes with its record and the proof that the record is in the log.
    #[serde(default)]
    pub proofs: bool,
}

impl AuditExportQuery {
    /// Whether every event is asked for, so that the records alone give the tree.
    pub fn is_everything(&self) -> bool {
        let filters = [
            self.types.is_some(),
            self.account_id.is_some(),
            self.from.is_some(),
            self.to.is_some(),
        ];
        !filters.contains(&true)
    }
}

/// Some of the events that were asked for, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportPage {
    /// The events.
    pub events: Vec<ExportedEvent>,
    /// Number of the way in which `text` and `data` are written out; another build may have another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<u32>,
    /// The following `after`; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// An event with what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// The record that it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The hashes from its leaf to the root of the tree of the size that was asked for; absent
    /// where every event was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<Vec<String>>,
    /// The salt with which `source` and `on_behalf_of` give the commitment in the record; absent
    /// where the record has none, or was sealed under a key that is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_salt: Option<String>,
}

/// A decision that is to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExplainQuery {
    /// The position of one of its events.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub position: u64,
}

/// Whether what was asked for was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExplainedVerdict {
    /// It was.
    Allowed,
    /// It was not.
    Refused,
    /// Nobody had asked for anything.
    Recorded,
}

/// What came of deciding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RerunResult {
    /// The same events.
    Same,
    /// Others than were recorded.
    Different,
    /// It is no decision that is made again.
    NotMade,
}

/// Why a decision came out as it did, and that it comes out so again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The decision's events.
    pub events: Vec<AuditEvent>,
    /// Whether what was asked for was done.
    pub verdict: ExplainedVerdict,
    /// The reasons, one plain sentence each.
    pub because: Vec<String>,
    /// The account right before; absent where it did not exist or the event is no account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LoginStatus>,
    /// The position of the policy that was in force.
    pub policy_position: u64,
    /// What came of deciding again from the log alone.
    pub rerun: RerunResult,
    /// What came out otherwise, or why nothing was decided again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_detail: Option<String>,
    /// What it rests on that the log cannot show, and that was taken over as it was recorded: one
    /// plain sentence each; absent where there is nothing of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_as_recorded: Vec<String>,
}
