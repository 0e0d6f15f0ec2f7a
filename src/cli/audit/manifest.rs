//! The manifest of an export: its filter, its size, and the checkpoint that it rests on.
//!
//! It is the last line of an export as JSON lines, `{"manifest":{…}}`, so a file that was cut off
//! has none. With CSV and OCSF it is a file of its own.

use countersign_schemas::audit::{AuditExportQuery, ExportFormat};
use countersign_schemas::ids::AccountId;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The description of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the export.
    pub format: ExportFormat,
    /// The filter of the request.
    pub filter: GivenFilter,
    /// How many events the export has.
    pub count: u64,
    /// The number of the wording of `text` and `data`; absent if service and client have different
    /// ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<u32>,
    /// The last position that was looked at.
    pub through: u64,
    /// The signed note over the log up to there.
    pub checkpoint: String,
    /// The key that signed it, as the service named it.
    pub vkey: String,
    /// SHA-256 of every byte before the manifest, in lower-case hex.
    pub sha256: String,
    /// SHA-256 of this manifest while this text is empty; finds an accident, not an attacker.
    pub self_sha256: String,
}

/// The filter of an export; empty for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenFilter {
    /// Only this account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Only these types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Only those recorded at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Only those recorded before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
}

impl GivenFilter {
    /// The filter of a query.
    pub fn of(query: &AuditExportQuery) -> Self {
        Self {
            account_id: query.account_id.clone(),
            types: query.types.clone(),
            from: query.from,
            to: query.to,
        }
    }

    /// Whether it lets every event through.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The line of a manifest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLine {
    /// The manifest.
    pub manifest: Manifest,
}

impl Manifest {
    /// The manifest with its own hash in it.
    pub fn sealed(mut self) -> Self {
        self.self_sha256 = self.own_hash();
        self
    }

    /// Whether it matches its own hash, so that no accident changed it.
    pub fn is_whole(&self) -> bool {
        self.self_sha256 == self.own_hash()
    }

    fn own_hash(&self) -> String {
        let blank = Self {
            self_sha256: String::new(),
            ..self.clone()
        };
        let bytes = serde_json::to_vec(&blank).expect("texts and numbers");
        HEXLOWER.encode(&Sha256::digest(bytes))
    }

    /// The line that ends an export.
    pub fn line(&self) -> String {
        let line = ManifestLine {
            manifest: self.clone(),
        };
        serde_json::to_string(&line).expect("texts and numbers") + "\n"
    }
}
