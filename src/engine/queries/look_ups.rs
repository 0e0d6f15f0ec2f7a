//! Looking at somebody's history leaves a record: before the answer leaves, and without a flood.
//!
//! ```text
//!   query ─▶ answer from the views ─▶ recorded within 10 minutes? ─yes─▶ reply
//!                                       │ no
//!                                       └─▶ writer: SubjectViewed, one commit ─▶ reply
//! ```
//! A record stands for every further look by the same caller, on behalf of the same person, at the
//! same subject by the same query for ten minutes of the monotonic clock. The table of those that
//! were recorded is in memory and bounded; what it forgets is recorded once more.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::recorded_looks::{Recorded, key_of};
use crate::account::service;
use crate::engine::message::Message;
use crate::engine::writer::Writer;
use crate::engine::writer::batch::{Batch, Group, Origin};
use crate::engine::{Caller, Queries};

/// How long an answer waits for its record to be durable.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
const TOO_MANY: &str = "a caller may look in a minute at 60 accounts, usernames and lists that it did not look at in the ten minutes before";

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The caller of the query.
    pub caller: Caller,
    /// For whom the caller says it acts; sealed, never trusted.
    pub on_behalf_of: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
}

/// What is looked at or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookUp<'a> {
    /// One account, or several at once, by the query of this name.
    Viewed(Option<&'a AccountId>, &'static str),
    /// Events in this form; what was asked for beside the account is JSON.
    Exported(Option<&'a AccountId>, &'static str, String),
}

impl LookUp<'_> {
    /// The query's name.
    pub fn query(&self) -> &'static str {
        match self {
            Self::Viewed(_, query) => query,
            Self::Exported(_, "records", _) => "audit-records",
            Self::Exported(..) => "audit-export",
        }
    }

    fn event(&self) -> Event {
        match self {
            Self::Viewed(account, query) => service::subject_viewed(*account, query),
            Self::Exported(account, format, filter) => {
                service::audit_exported(*account, format, filter)
            }
        }
    }
}

/// A look on its way to the writer.
pub(in crate::engine) struct Looking {
    event: Event,
    viewer: Viewer,
    /// Told once the record is durable; dropped where it will not be.
    durable: SyncSender<()>,
}

impl Queries {
    /// Says whether a caller may name somebody now: sixty that are not on record in a minute,
    /// whether they exist or not. `look_up` is the look, where the request alone says at whom.
    /// What is refused is counted, and `look-ups-counted` says how many there were.
    ///
    /// # Errors
    /// `quota.exceeded`, with the seconds to wait.
    pub fn admit_look_up(
        &self,
        viewer: &Viewer,
        query: &'static str,
        look_up: Option<&LookUp>,
    ) -> Result<(), Refusal> {
        let now = (self.shared.monotonic)();
        let mut looks = self.shared.look_ups();
        looks.forget_old(now);
        let is_on_record = |look_up: &LookUp| {
            let key = key_of(viewer, &look_up.event());
            looks.looks.contains_key(&key)
        };
        if look_up.is_some_and(is_on_record) {
            return Ok(());
        }
        let caller = (viewer.caller.role, viewer.caller.name.as_str());
        looks.rates.take(caller, now).map_err(|seconds| {
            looks.refused(viewer, query, now);
            Refusal {
                detail: Some(TOO_MANY),
                ..Refusal::after(ErrorCode::QuotaExceeded, seconds)
            }
        })
    }

    /// Makes sure that a look is on record before its answer leaves; waits for a commit where no
    /// record of the last ten minutes stands for it. To be called once the answer is known to be
    /// a success.
    ///
    /// # Errors
    /// `store.unavailable` when the record did not become durable in time: the answer must not leave.
    pub fn record_look_up(&self, viewer: &Viewer, look_up: &LookUp) -> Result<(), Refusal> {
        let event = look_up.event();
        let key = key_of(viewer, &event);
        let now = (self.shared.monotonic)();
        if self.shared.look_ups().counts(&key, now) {
            return Ok(());
        }
        let (durable, told) = sync_channel(1);
        let look = Recorded {
            event: event.clone(),
            viewer: viewer.clone(),
            further: 0,
        };
        let looking = Looking {
            event,
            viewer: viewer.clone(),
            durable,
        };
        // Each thread of the queries has one at most under way.
        let sent = self.queue.send(Message::LookedUp(Box::new(looking)));
        sent.map_err(|_| Refusal::new(ErrorCode::StoreUnavailable))?;
        match told.recv_timeout(COMMIT_WAIT) {
            Ok(()) => {
                self.shared.look_ups().insert(key, look, now);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(Refusal::new(ErrorCode::StoreUnavailable))
            }
        }
    }
}

impl Writer {
    /// Takes the record of a look into the batch; one that cannot be made is said, and the look is
    /// refused.
    pub(in crate::engine) fn record_look_up(&mut self, looking: Looking, batch: &mut Batch) {
        if self.record_of_viewer(looking.event, &looking.viewer, batch) {
            batch.looks.push(looking.durable);
        }
    }

    /// Records how many further looks the records stand for whose time is over, at most `max`.
    pub(in crate::engine) fn count_look_ups(
        &mut self,
        monotonic: Micros,
        max: usize,
        batch: &mut Batch,
    ) {
        let due = self.shared.look_ups().due(monotonic, max);
        for look in due {
            let event = counted(&look.event, look.further);
            self.record_of_viewer(event, &look.viewer, batch);
        }
    }

    /// Whether the batch has taken it.
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
            Err(error) => tracing::error!(%error, "a look-up could not be recorded"),
        }
        recorded.is_ok()
    }
}

/// The event that says how many more looks there were.
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

impl Batch {
    /// The command id of what the service records unasked: no two records of a log have one
    /// position, so no two of these have one id.
    pub(in crate::engine) fn own_command_id(&self, event: &Event) -> CommandId {
        let position = self.head + self.records.len() as u64 + 1;
        CommandId::parse(&format!("{}-{position}", event.name()))
            .expect("an event name and a number are printable")
    }
}
