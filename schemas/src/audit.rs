//! What an auditor gets beside the events: signed checkpoints, proofs and raw records.
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

/// Asks for a proof that a record is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    /// The record's position, from 1.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub position: u64,
    /// The size of the tree to prove it in; the newest tree when absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Place, _, _>"
    )]
    #[schemars(with = "Option<Place>")]
    pub size: Option<u64>,
}

/// Asks for a proof that one state of the log is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    /// The size of the earlier tree, from 1.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub from: u64,
    /// The size of the later tree; the newest tree when absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Place, _, _>"
    )]
    #[schemars(with = "Option<Place>")]
    pub to: Option<u64>,
}

object!(
    /// Asks for an account as it was at one moment; exactly one of the two fields is given.
    AccountAtQuery [MOMENT] {
        /// The account right after the event at this position.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
        )]
        #[schemars(with = "Option<Whole>")]
        position: Option<u64>,
        /// The account at this time.
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
    /// Returns the moment that the query names, which every decoded query has.
    pub fn moment(&self) -> Option<Moment> {
        let position = self.position.map(Moment::Position);
        position.or(self.at.map(Moment::Time))
    }
}

/// Asks for records as they are hashed, so that the caller can compute the tree again.
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
    /// The checkpoint, as a signed note.
    pub note: String,
    /// How many records it covers.
    pub size: u64,
    /// The root hash over these records.
    pub root: String,
    /// The key that verifies the note, `name+hash+key` (C2SP signed-note).
    pub vkey: String,
}

/// A record and the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InclusionProof {
    /// The record's bytes.
    pub record: String,
    /// The leaf hash of these bytes.
    pub leaf_hash: String,
    /// The hashes from the leaf up (RFC 6962 §2.1.1).
    pub inclusion: Vec<String>,
    /// The size of the tree that these hashes lead to.
    pub size: u64,
    /// The root of that tree.
    pub root: String,
}

/// A proof that one state of the log is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyProof {
    /// The hashes (RFC 6962 §2.1.2); empty for equal sizes.
    pub proof: Vec<String>,
    /// The size of the earlier tree.
    pub from: u64,
    /// The size of the later tree.
    pub to: u64,
}

/// Consecutive records, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecords {
    /// The records' bytes; the first record is at the position after the requested `after`.
    pub records: Vec<String>,
    /// The `after` of the next page; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The form in which events are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// One event of the contract on each line.
    Jsonl,
    /// One event in each row.
    Csv,
    /// One Open Cybersecurity Schema Framework event on each line.
    Ocsf,
}

impl ExportFormat {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Asks for an export of events; every filter given must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportQuery {
    /// The form of the exported events; it is recorded.
    #[serde(deserialize_with = "crate::strict::word")]
    pub format: ExportFormat,
    /// The last position to export, from 1; proofs are for a tree of that size.
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
    /// Returns whether the query asks for every event, so that the records alone give the tree.
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

/// A page of the exported events, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportPage {
    /// The events.
    pub events: Vec<ExportedEvent>,
    /// The version of the rendering that wrote `text` and `data`; another build may use another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<u32>,
    /// The `after` of the next page; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// An event with the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// The record that the event was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The hashes from the record's leaf to the root of the tree of the requested size; absent when
    /// every event was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<Vec<String>>,
    /// The salt with which `source` and `on_behalf_of` give the commitment in the record; absent if
    /// the record has no commitment, or was sealed under a key that is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_salt: Option<String>,
}

/// Asks why a decision came out as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExplainQuery {
    /// The position of one of the decision's events.
    #[serde(deserialize_with = "crate::strict::read_as::<Place, _, _>")]
    #[schemars(with = "Place")]
    pub position: u64,
}

/// Whether the request was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExplainedVerdict {
    /// The request was granted.
    Allowed,
    /// The request was refused.
    Refused,
    /// There was no request: the service recorded the event by itself.
    Recorded,
}

/// The result of deciding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RerunResult {
    /// The same events were decided.
    Same,
    /// Other events were decided than were recorded.
    Different,
    /// The decision is of a kind that cannot be made again.
    NotMade,
}

/// The reasons for a decision, and the result of deciding it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The decision's events.
    pub events: Vec<AuditEvent>,
    /// Whether the request was granted.
    pub verdict: ExplainedVerdict,
    /// The reasons, one plain sentence each.
    pub because: Vec<String>,
    /// The account right before the decision; absent if it did not exist or the event belongs to no
    /// account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LoginStatus>,
    /// The position of the policy that was in force.
    pub policy_position: u64,
    /// The result of deciding again from the log alone.
    pub rerun: RerunResult,
    /// What came out differently, or why nothing was decided again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_detail: Option<String>,
    /// What the decision rests on that the log cannot show, and that was therefore accepted as
    /// recorded: one plain sentence each; absent when there is nothing of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_as_recorded: Vec<String>,
}
