//! Writes access records: who viewed whose history.

use countersign_schemas::event::Event;
use countersign_schemas::ids::CommandKey;
use countersign_schemas::time::Micros;

use super::Writer;
use super::batch::{Batch, Group, Origin};
use crate::account::service;
use crate::engine::message::PendingAccess;
use crate::engine::request::Viewer;

impl Writer {
    /// Adds an access record to the batch; if it cannot be made, this is logged and the access is
    /// refused.
    pub(super) fn record_access(&mut self, pending: PendingAccess, batch: &mut Batch) {
        if self.record_of_viewer(pending.event, &pending.viewer, batch) {
            batch.accesses.push(pending.durable);
        }
    }

    /// Records how many further accesses the expired records cover, at most `max` records.
    pub(super) fn count_accesses(&mut self, monotonic: Micros, max: usize, batch: &mut Batch) {
        let due = self.shared.access_records().due(monotonic, max);
        for record in due {
            let event = counted(&record.event, record.further);
            self.record_of_viewer(event, &record.viewer, batch);
        }
    }

    /// Adds a viewer's event to the batch; returns whether that succeeded.
    fn record_of_viewer(&mut self, event: Event, viewer: &Viewer, batch: &mut Batch) -> bool {
        let id = batch.own_command_id(&event);
        let group = Group {
            events: vec![event],
            origin: Origin::viewer(&id, viewer),
            made: None,
            account: std::sync::Arc::default(),
            now: self.now(),
            // No caller has an empty name, so none can ask for this outcome.
            key: CommandKey::of("", &id),
        };
        let recorded = batch.record(&self.shared, &group);
        match &recorded {
            Ok(_) => self.recorded_at(group.now),
            Err(error) => tracing::error!(%error, "an access record could not be written"),
        }
        recorded.is_ok()
    }
}

/// Returns the event that reports how many further accesses there were.
fn counted(event: &Event, further: u32) -> Event {
    match event {
        Event::AuditExported(e) => {
            let query = match e.format.as_str() {
                "records" => "audit-records",
                _ => "audit-export",
            };
            service::look_ups_counted(e.account_id.as_deref(), query, further)
        }
        Event::SubjectViewed(e) => {
            service::look_ups_counted(e.account_id.as_deref(), &e.query, further)
        }
        other => service::look_ups_counted(None, other.name(), further),
    }
}
