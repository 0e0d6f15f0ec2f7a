//! Compares an exported event with its record.
//!
//! The signature covers the record, and the verifier derives from it everything that an event
//! shows. The source of a request and the person behind it are sealed in the record: for these the
//! record has a commitment, and the export brings the salt that opens it. Only the sentences, which
//! are written for people, may come from another build, and only with `--other-rendering`.

use std::collections::BTreeMap;

use countersign_projections::{Entry, RENDERING, audit_event};
use countersign_schemas::audit::ExportedEvent;
use countersign_schemas::event::ACCOUNT_ERASED;
use countersign_schemas::record::{Record, SALT_BYTES, SourceFacts};
use countersign_schemas::reply::AuditEvent;
use data_encoding::BASE64;
use serde_json::json;

use super::manifest::Manifest;
use super::verify::Report;

/// The columns that a record binds by its commitment, where it has one.
const SEALED: [&str; 2] = ["source", "on_behalf_of"];
const OTHERWISE: &str = "the event does not match its record";
const OTHER_SOURCE: &str = "its source does not match its record";
const NO_SOURCE: &str = "it shows a source, but its record has none";
const WITHHELD: &str = "it shows no source, but its record has one, and no erasure of its account follows in the file: the source was removed, or the erasure is not in this export; --missing-sources accepts it";

/// Differences that are accepted without proof; a person who has the file can have made them.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Takes {
    /// Accept sentences that another build worded, and count them. But a person who had the file
    /// could have changed them
    #[arg(long = "other-rendering", requires = "export")]
    pub other_renderings: bool,
    /// Accept events whose source is missing, and count them. This is normal for an account that
    /// was erased outside the export. But a person who had the file could have removed a source
    #[arg(long, requires = "export")]
    pub missing_sources: bool,
}

/// How the events of an export compare.
pub struct Compared {
    /// The rendering that the manifest names.
    rendering: Option<u32>,
    takes: Takes,
    /// How many events have other sentences than this build's, and the position of the first.
    otherwise: u64,
    first: Option<u64>,
    /// How many events have a record with a sealed source and no commitment.
    uncommitted: u64,
    /// By account, the position of the first event without its source, and how many there are.
    withheld: BTreeMap<String, (u64, u64)>,
}

impl Compared {
    /// Nothing yet.
    pub fn new(manifest: &Manifest, takes: Takes) -> Self {
        Self {
            rendering: manifest.rendering,
            takes,
            otherwise: 0,
            first: None,
            uncommitted: 0,
            withheld: BTreeMap::new(),
        }
    }

    /// Compares an event with its record.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn take(&mut self, shown: &ExportedEvent, record: &[u8]) -> Result<(), String> {
        let record = Record::decode(record).map_err(|error| error.to_string())?;
        let event = &shown.event;
        let entry = Entry::decode(event.position, record).map_err(|error| error.to_string())?;
        self.source(shown, &entry)?;
        let rendered = audit_event(&entry, None);
        let reads_otherwise = rendered.text != event.text;
        let derived = AuditEvent {
            source: event.source.clone(),
            on_behalf_of: event.on_behalf_of.clone(),
            text: event.text.clone(),
            ..rendered
        };
        if derived != *event || reads_otherwise && self.is_ours() {
            return Err(OTHERWISE.into());
        }
        if reads_otherwise && !self.takes.other_renderings {
            return Err(format!(
                "its sentence is not the one that this build derives from its record ({}): compare it by eye, or accept such sentences with --other-rendering",
                self.wording()
            ));
        }
        if reads_otherwise {
            self.otherwise += 1;
            self.first.get_or_insert(event.position);
        }
        Ok(())
    }

    /// Compares the source of a request and the person behind it.
    fn source(&mut self, shown: &ExportedEvent, entry: &Entry) -> Result<(), &'static str> {
        let event = &shown.event;
        let (ip, agent) = match &event.source {
            Some(source) => (source.ip.clone(), source.agent.clone()),
            None => (None, None),
        };
        let facts = SourceFacts {
            ip,
            agent,
            on_behalf_of: event.on_behalf_of.clone(),
        };
        let is_shown = facts != SourceFacts::default();
        let meta = &entry.record.meta;
        if entry.record.event_type == ACCOUNT_ERASED {
            // The fields that the account's own keys sealed cannot be read any more.
            self.withheld.remove(&*meta.account_id);
        }
        match (&meta.source, meta.source_commitment, &shown.source_salt) {
            (None, _, None) if !is_shown => Ok(()),
            (None, _, _) => Err(NO_SOURCE),
            (Some(_), None, None) => {
                self.uncommitted += 1;
                Ok(())
            }
            (Some(_), Some(_), None) if !is_shown => self.withhold(entry),
            (Some(_), Some(commitment), Some(salt)) => match read_salt(salt) {
                Some(salt) if facts.commitment(&salt) == commitment => Ok(()),
                Some(_) | None => Err(OTHER_SOURCE),
            },
            (Some(_), None, Some(_)) | (Some(_), Some(_), None) => Err(OTHER_SOURCE),
        }
    }

    /// Notes an event without its source. Fields that the service's own key seals stay readable.
    fn withhold(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let account = &*entry.record.meta.account_id;
        if account.is_empty() || entry.record.event_type == ACCOUNT_ERASED {
            return Err(WITHHELD);
        }
        let first = (entry.position, 0);
        self.withheld.entry(account.to_owned()).or_insert(first).1 += 1;
        Ok(())
    }

    /// Checks that an erasure explains every missing source.
    ///
    /// # Errors
    /// What is wrong, in words with the position.
    pub fn finish(&self) -> Result<(), String> {
        let first = self.withheld.values().map(|(first, _)| first).min();
        match first {
            Some(position) if !self.takes.missing_sources => {
                Err(format!("position {position}: {WITHHELD}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_ours(&self) -> bool {
        self.rendering == Some(RENDERING)
    }

    fn wording(&self) -> String {
        match self.rendering {
            Some(rendering) => {
                format!("the file names rendering {rendering}, and this build has {RENDERING}")
            }
            None => format!("the file names no rendering, and this build has {RENDERING}"),
        }
    }

    /// Adds to a report what was not compared.
    pub fn annotate(&self, report: &mut Report) {
        let mut columns = Vec::new();
        if self.uncommitted > 0 {
            columns.extend(SEALED);
            report.text.push_str(&format!(
                "note: not compared: {} of {} events, which are sealed in records that do not bind them\n",
                SEALED.join(", "),
                self.uncommitted
            ));
        }
        let withheld: u64 = self.withheld.values().map(|(_, count)| count).sum();
        if withheld > 0 {
            report.document["sources_not_shown"] = json!(withheld);
            report.text.push_str(&format!(
                "note: {withheld} events show no source although their records have one, and the erasures of their accounts are not in the file\n"
            ));
        }
        if let Some(first) = self.first {
            columns.push("text");
            report.document["reads_otherwise"] = json!(self.otherwise);
            report.text.push_str(&format!(
                "note: {} events have another sentence than this build's, the first at position {first} ({}): only the records are proven\n",
                self.otherwise,
                self.wording()
            ));
        }
        report.document["not_compared"] = json!(columns);
    }
}

fn read_salt(text: &str) -> Option<[u8; SALT_BYTES]> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
#[path = "compared_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "source_tests.rs"]
mod source_tests;
