//! What an exported event says, compared with what its record says.
//!
//! The record is what the signature covers, and its header, its account, its caller and its type are
//! in it as they are shown. Two columns are written out for people: the sentence, and the facts in
//! JSON. Another build may word them otherwise, and that is no tampering: they are compared where
//! the manifest says that they were written as this build writes them, and else only counted. Where
//! a request came from and for whom is sealed in the record, so that it is the service's word.

use countersign_projections::{Entry, RENDERING, audit_event};
use countersign_schemas::record::Record;
use countersign_schemas::reply::AuditEvent;
use serde_json::json;

use super::manifest::Manifest;
use super::verify::Report;

/// The columns that nobody without the keys can compare.
const SEALED: [&str; 2] = ["source", "on_behalf_of"];
/// The columns that are written out for people.
const RENDERED: [&str; 2] = ["text", "data"];

/// How the events of an export compare.
pub struct Compared {
    /// How the manifest says that they are written out.
    rendering: Option<u32>,
    /// Those whose words are not this build's, and the first of them.
    otherwise: u64,
    first: Option<u64>,
}

impl Compared {
    /// Nothing yet.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            rendering: manifest.rendering,
            otherwise: 0,
            first: None,
        }
    }

    /// Compares an event with its record.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn take(&mut self, shown: &AuditEvent, record: &[u8]) -> Result<(), String> {
        let record = Record::decode(record).map_err(|error| error.to_string())?;
        let entry = Entry::decode(shown.position, record).map_err(|error| error.to_string())?;
        let rendered = audit_event(&entry, None);
        let reads_otherwise = rendered.text != shown.text || rendered.data != shown.data;
        let derived = AuditEvent {
            source: shown.source.clone(),
            on_behalf_of: shown.on_behalf_of.clone(),
            text: shown.text.clone(),
            data: shown.data.clone(),
            ..rendered
        };
        if derived != *shown || reads_otherwise && self.is_ours() {
            return Err("the event does not say what its record says".into());
        }
        if reads_otherwise {
            self.otherwise += 1;
            self.first.get_or_insert(shown.position);
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.rendering == Some(RENDERING)
    }

    /// Says in a report what was not compared.
    pub fn tell(&self, report: &mut Report) {
        let mut columns = SEALED.to_vec();
        if !self.is_ours() {
            columns.extend(RENDERED);
        }
        report.document["not_compared"] = json!(columns);
        report.text.push_str(&format!(
            "note: not compared: {}, which are sealed in the records",
            SEALED.join(", ")
        ));
        if self.is_ours() {
            report.text.push('\n');
            return;
        }
        let whose = match self.rendering {
            Some(rendering) => format!("in rendering {rendering}"),
            None => "in one that it does not name".to_owned(),
        };
        report.text.push_str(&format!(
            "; nor {}, which another build wrote ({whose}; this one has {RENDERING}): the records are what is proved\n",
            RENDERED.join(", ")
        ));
        report.document["reads_otherwise"] = json!(self.otherwise);
        if let Some(first) = self.first {
            report.text.push_str(&format!(
                "note: {} events read otherwise than this build would put them, the first at position {first}\n",
                self.otherwise
            ));
        }
    }
}

#[cfg(test)]
#[path = "compared_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
