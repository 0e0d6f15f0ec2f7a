//! The events that the writer records by itself, before the commands of a batch.

use std::sync::Arc;

use countersign_schemas::event::Event;
use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::time::Micros;

use super::Writer;
use super::batch::{Batch, Group, Origin};
use crate::account::{Account, service};
use crate::engine::clock::AcceptedClock;

/// Accounts whose counts one batch records at most; the others wait for the next batch.
const REPORTED_MAX: usize = 128;

/// The end of time: everything is due then.
const THE_END: Micros = Micros(u64::MAX);

impl Writer {
    /// Records the counts and accesses that are due, and tends clock and tag keys.
    pub(super) fn do_chores(&mut self, batch: &mut Batch) {
        let monotonic = (self.shared.monotonic)();
        self.watch_clock(monotonic, batch);
        self.report_counts(monotonic, REPORTED_MAX, batch);
        if let Err(error) = self.shared.vault.tend_tag_keys(self.shared.now()) {
            tracing::error!(%error, "the tag keys that are due could not be made or destroyed yet");
        }
        self.count_accesses(monotonic, REPORTED_MAX, batch);
    }

    /// Raises an alarm if the wall clock jumped ahead or is behind the log.
    fn watch_clock(&mut self, monotonic: Micros, batch: &mut Batch) {
        let (wall, policy) = (self.shared.now(), &self.shared.policy);
        let (back_max_s, forward_max_s) = (policy.clock_back_max_s, policy.clock_forward_max_s);
        if let Some(by_us) = self.watch.jumps.jumped(wall, monotonic, forward_max_s) {
            tracing::error!(
                by_us,
                "ALARM: the wall clock jumped forward: see that this machine's time is right"
            );
            self.shared.gauges.clock_jumped();
            self.record_own(service::clock_jumped(by_us), None, batch);
        }
        self.watch.wall_seen = self.watch.wall_seen.max(wall);
        let floor = self.clock_floor(self.now());
        let is_behind = wall.plus_s(back_max_s) < floor;
        match (is_behind, self.watch.is_behind) {
            (true, false) => tracing::error!(
                behind_s = floor.seconds_since(wall),
                "ALARM: the wall clock is behind the log, so no code is checked until it has caught up: set it right, or if it is right start once with --accept-clock-back REASON"
            ),
            (false, true) => tracing::info!("the wall clock is right again, codes are checked"),
            (true, true) | (false, false) => {}
        }
        self.watch.is_behind = is_behind;
        self.shared.gauges.clock_is_behind(is_behind);
    }

    /// Returns the time that the wall clock must have reached for codes to be checked.
    pub(super) fn clock_floor(&self, log_time: Micros) -> Micros {
        AcceptedClock::floor(self.shared.accepted_clock, log_time, self.watch.wall_seen)
    }

    /// Records the counts that wait for the end of their minute, as far as a last batch has room.
    pub(super) fn finish_chores(&mut self, batch: &mut Batch) {
        let room = super::batch::BATCH_EVENTS_MAX.saturating_sub(batch.records.len());
        self.report_counts(THE_END, room, batch);
        let room = super::batch::BATCH_EVENTS_MAX.saturating_sub(batch.records.len());
        self.count_accesses(THE_END, room, batch);
    }

    /// Records an event of the service itself; one that cannot be recorded is logged and dropped.
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
        let id = batch.own_command_id(&event);
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
            Err(error) => tracing::error!(%error, "an own event could not be recorded"),
        }
    }

    fn newest(
        &self,
        stream: StreamKey,
        batch: &Batch,
    ) -> Result<Arc<Account>, crate::engine::accounts::HistoryError> {
        match batch.accounts.get(&stream) {
            Some(account) => Ok(Arc::clone(account)),
            None => self.shared.accounts.load(stream),
        }
    }
}
