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

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;
use sha2::{Digest, Sha256};

use super::batch::{Batch, Group, Origin};
use super::message::Message;
use super::writer::Writer;
use super::{Caller, Queries};
use crate::account::service;

/// How long one record stands for further looks at the same.
pub const WINDOW_S: u64 = 600;
/// Looks that are remembered as recorded; the oldest is forgotten for one more.
pub const RECORDED_MAX: usize = 65_536;
/// How long an answer waits for its record to be durable.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

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
pub(super) struct Looking {
    event: Event,
    viewer: Viewer,
    /// Told once the record is durable; dropped where it will not be.
    durable: SyncSender<()>,
}

/// Which looks were recorded lately.
#[derive(Debug, Default)]
pub struct RecordedLooks {
    keys: HashSet<[u8; 16]>,
    /// The same, oldest first, with when they were recorded.
    order: VecDeque<(Micros, [u8; 16])>,
}

impl RecordedLooks {
    /// Whether a record that is not older than the window stands for a look.
    fn has(&mut self, key: &[u8; 16], now: Micros) -> bool {
        let is_over = |(at, _): &(Micros, _)| at.plus_s(WINDOW_S) <= now;
        while self.order.front().is_some_and(is_over) {
            self.forget_oldest();
        }
        self.keys.contains(key)
    }

    /// Remembers a look whose record is durable.
    fn insert(&mut self, key: [u8; 16], now: Micros) {
        if !self.keys.insert(key) {
            return;
        }
        self.order.push_back((now, key));
        if self.order.len() > RECORDED_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.keys.remove(&key);
        }
    }
}

impl Queries {
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
        if self.shared.look_ups().has(&key, now) {
            return Ok(());
        }
        let (durable, told) = sync_channel(1);
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
                self.shared.look_ups().insert(key, now);
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
    pub(super) fn record_look_up(&mut self, looking: Looking, batch: &mut Batch) {
        let id = batch.own_command_id(&looking.event);
        let group = Group {
            events: vec![looking.event],
            origin: Origin::viewer(&id, &looking.viewer),
            made: None,
            account: std::sync::Arc::default(),
            now: self.now(),
            // No caller has an empty name, so none can ask for this outcome.
            key: CommandKey::of("", &id),
        };
        match batch.record(&self.shared, &group) {
            Ok(_) => {
                self.recorded_at(group.now);
                batch.looks.push(looking.durable);
            }
            Err(error) => tracing::error!(%error, "a look-up could not be recorded; it is refused"),
        }
    }
}

/// The first 16 bytes of SHA-256 over who looks at what, each part behind its length.
fn key_of(viewer: &Viewer, event: &Event) -> [u8; 16] {
    let caller = &viewer.caller;
    let parts = [
        caller.name.as_str(),
        caller.role.as_str(),
        viewer.on_behalf_of.as_deref().unwrap_or_default(),
        event.name(),
        &event.data().to_string(),
    ];
    let mut hash = Sha256::new();
    hash.update([
        u8::from(caller.verified),
        u8::from(viewer.on_behalf_of.is_some()),
    ]);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

impl Batch {
    /// The command id of what the service records unasked: no two records of a log have one
    /// position, so no two of these have one id.
    pub(super) fn own_command_id(&self, event: &Event) -> CommandId {
        let position = self.head + self.records.len() as u64 + 1;
        CommandId::parse(&format!("{}-{position}", event.name()))
            .expect("an event name and a number are printable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(500_000_000);

    fn key(n: usize) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[test]
    fn a_record_stands_for_ten_minutes_and_not_longer() {
        let mut recorded = RecordedLooks::default();
        assert!(!recorded.has(&key(1), NOW));
        recorded.insert(key(1), NOW);
        recorded.insert(key(1), NOW.plus_s(300));
        recorded.insert(key(2), NOW.plus_s(300));
        assert!(recorded.has(&key(1), NOW.plus_s(WINDOW_S - 1)));
        assert!(!recorded.has(&key(1), NOW.plus_s(WINDOW_S)));
        assert!(recorded.has(&key(2), NOW.plus_s(WINDOW_S)));
        assert_eq!(recorded.order.len(), 1);
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut recorded = RecordedLooks::default();
        for n in 0..=RECORDED_MAX {
            recorded.insert(key(n), NOW);
        }
        assert_eq!(recorded.order.len(), RECORDED_MAX);
        assert_eq!(recorded.keys.len(), RECORDED_MAX);
        assert!(!recorded.has(&key(0), NOW) && recorded.has(&key(1), NOW));
    }
}
