//! What the writer records of itself, before the commands of a batch: no command asks for it.

use std::sync::Arc;

use countersign_schemas::event::Event;
use countersign_schemas::ids::{CommandId, CommandKey, StreamKey};
use countersign_schemas::time::Micros;

use super::batch::{Batch, Group, Origin};
use super::writer::Writer;
use crate::account::Account;

/// Accounts whose counts one batch tells at most; the others wait for the next.
const TOLD_MAX: usize = 128;
/// The end of time: everything is due then.
const THE_END: Micros = Micros(u64::MAX);

impl Writer {
    /// Records what is due.
    pub(super) fn do_chores(&mut self, batch: &mut Batch) {
        let monotonic = (self.shared.monotonic)();
        self.tell_counts(monotonic, TOLD_MAX, batch);
    }

    /// Records what waits for its minute, as far as a last batch has room.
    pub(super) fn finish_chores(&mut self, batch: &mut Batch) {
        let room = super::writer::BATCH_EVENTS_MAX.saturating_sub(batch.records.len());
        self.tell_counts(THE_END, room, batch);
    }

    /// Records an event of the service's own; one that cannot be recorded is said and dropped.
    pub(super) fn record_own(
        &mut self,
        event: Event,
        stream: Option<StreamKey>,
        batch: &mut Batch,
    ) {
        let account = match stream.map(|stream| self.newest(stream, batch)) {
            None => Arc::default(),
            Some(Ok(account)) => account,
            Some(Err(error)) => {
                tracing::error!(%error, "an account cannot be read; its count is dropped");
                return;
            }
        };
        // No two records of a log have one position, so no two of these have one id.
        let position = batch.head + batch.records.len() as u64 + 1;
        let id = CommandId::parse(&format!("{}-{position}", event.name()))
            .expect("an event name and a number are printable");
        let group = Group {
            events: vec![event],
            origin: Origin::service(&id),
            made: None,
            account,
            now: self.now(),
            // No caller has an empty name, so none can ask for this outcome.
            key: CommandKey::of("", &id),
        };
        match batch.record(&self.shared, &group) {
            Ok(_) => self.recorded_at(group.now),
            Err(error) => tracing::error!(%error, "the service could not record what it saw"),
        }
    }

    fn newest(
        &self,
        stream: StreamKey,
        batch: &Batch,
    ) -> Result<Arc<Account>, super::accounts::HistoryError> {
        match batch.accounts.get(&stream) {
            Some(account) => Ok(Arc::clone(account)),
            None => self.shared.accounts.load(stream),
        }
    }
}
