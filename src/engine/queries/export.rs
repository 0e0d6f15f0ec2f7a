//! The export of events: page by page, each event with its record and its proof.

use std::collections::BTreeSet;

use countersign_projections::{Entry, Filter, RENDERING, audit_event};
use countersign_schemas::audit::{AuditExportQuery, ExportPage, ExportedEvent};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::refusal::Refusal;
use data_encoding::BASE64;
use serde_json::json;

use super::page_room::PageRoom;
use super::{type_codes, unavailable};
use crate::engine::Queries;

/// Events in one page.
const EVENTS_MAX: usize = 512;
/// Bytes of the records of a page.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// The positions found, with their records.
struct Found {
    records: Vec<(u64, Vec<u8>)>,
    /// The position to continue at, if any.
    next: Option<u64>,
}

impl Queries {
    /// Returns the next events of an export, up to 512 of them and about 384 KiB.
    ///
    /// # Errors
    /// `request.invalid` for a type or a size that does not exist, `projection.behind`,
    /// `store.unavailable`.
    pub fn audit_export(&self, query: &AuditExportQuery) -> Result<ExportPage, Refusal> {
        let through = self.size(Some(query.through), "/through")?;
        let found = match query.is_everything() {
            true => self.consecutive(query.after.unwrap_or(0), through)?,
            false => self.chosen(query, through)?,
        };
        let mut page = ExportPage {
            events: Vec::new(),
            rendering: Some(RENDERING),
            next: found.next,
        };
        let mut room = PageRoom::default();
        let mut last = None;
        for (position, record) in &found.records {
            let exported = self.exported(*position, record, query, through)?;
            let is_late = |to| exported.event.at >= to;
            if query.to.is_some_and(is_late) {
                page.next = None;
                break;
            }
            if !room.takes(std::slice::from_ref(&exported)) {
                page.next = last;
                break;
            }
            page.events.push(exported);
            last = Some(*position);
        }
        Ok(page)
    }

    fn exported(
        &self,
        position: u64,
        bytes: &[u8],
        query: &AuditExportQuery,
        size: u64,
    ) -> Result<ExportedEvent, Refusal> {
        let record = Record::decode(bytes).map_err(|error| unavailable(&error))?;
        let entry = Entry::decode(position, record).map_err(|error| unavailable(&error))?;
        let opened = self.opened_source(&entry);
        let is_committed = entry.record.meta.source_commitment.is_some();
        let salt = opened
            .as_ref()
            .filter(|_| query.proofs && is_committed)
            .map(|opened| BASE64.encode(&opened.salt));
        let event = audit_event(&entry, opened.map(|opened| opened.facts));
        let inclusion = match query.proofs && !query.is_everything() {
            true => Some(self.inclusion(position, size)?),
            false => None,
        };
        Ok(ExportedEvent {
            event,
            record: query.proofs.then(|| BASE64.encode(bytes)),
            inclusion,
            source_salt: salt,
        })
    }

    fn consecutive(&self, after: u64, through: u64) -> Result<Found, Refusal> {
        let page = self
            .log
            .read(after.saturating_add(1), EVENTS_MAX, RECORD_BYTES_MAX)
            .map_err(|error| unavailable(&error))?;
        let within = page.iter().filter(|(position, _)| *position <= through);
        let records: Vec<_> = within.map(|(at, bytes)| (at, bytes.to_vec())).collect();
        let last = records.last().map(|(at, _)| *at);
        Ok(Found {
            next: last.filter(|last| *last < through),
            records,
        })
    }

    fn chosen(&self, query: &AuditExportQuery, through: u64) -> Result<Found, Refusal> {
        self.wait_for(self.shared.views.audit_trail(), None)?;
        let filter = Filter {
            account: query.account_id.as_ref().map(StreamKey::of),
            types: type_codes(query.types.as_deref())?,
            caller: None,
        };
        let from = match query.from {
            Some(from) => self.first_at_or_after(from)?.saturating_sub(1),
            None => 0,
        };
        let after = query.after.unwrap_or(0).max(from);
        let trail = self.shared.views.audit_trail();
        let page = trail.positions(&filter, after, EVENTS_MAX);
        let mut page = page.map_err(|error| unavailable(&error))?;
        page.positions.retain(|position| *position <= through);
        let mut records = Vec::with_capacity(page.positions.len());
        let read = self.log.read_each(&page.positions, |at, bytes| {
            records.push((at, bytes.to_vec()));
        });
        read.map_err(|error| unavailable(&error))?;
        Ok(Found {
            records,
            next: page.next_after.filter(|next| *next < through),
        })
    }
}

/// Returns the filter beside the account, as the record of the export contains it.
pub fn filter_text(query: &AuditExportQuery) -> String {
    let mut filter = json!({});
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            filter[name] = value;
        }
    };
    // A name that is repeated a thousand times would not fit into a record.
    let types = query.types.as_ref().map(BTreeSet::from_iter);
    put("types", types.map(|types: BTreeSet<&String>| json!(types)));
    put("from", query.from.map(|from| json!(from)));
    put("to", query.to.map(|to| json!(to)));
    filter.to_string()
}
