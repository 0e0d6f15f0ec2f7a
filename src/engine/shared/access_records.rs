//! The recent access records, and how many further accesses each of them covers.
//!
//! In memory and bounded; it has no clock, times are arguments.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::event::Event;
use countersign_schemas::time::Micros;
use sha2::{Digest, Sha256};

use super::subject_rates::SubjectRates;
use crate::account::service;
use crate::engine::request::Viewer;

/// How long one record covers further accesses to the same subject, in seconds.
pub const WINDOW_S: u64 = 600;
/// Access records that are remembered; beyond that, the oldest is forgotten.
pub const RECORDED_MAX: usize = 65_536;
/// A remembered access record, and how many accesses it covers.
#[derive(Debug)]
pub struct Recorded {
    pub event: Event,
    pub viewer: Viewer,
    /// Further accesses to the same subject.
    pub further: u32,
}

/// The recent access records, and how many further accesses each of them covers.
#[derive(Debug, Default)]
pub struct AccessRecords {
    pub recent: HashMap<[u8; 16], Recorded>,
    /// The keys of the same records, oldest first, with the time of their recording.
    order: VecDeque<(Micros, [u8; 16])>,
    /// Records whose time is over and whose count waits to be recorded.
    counted: VecDeque<Recorded>,
    /// How often callers named a new subject.
    pub rates: SubjectRates,
}

impl AccessRecords {
    /// Whether a record within the window covers this access; if so, the access is counted.
    pub fn counts(&mut self, key: &[u8; 16], now: Micros) -> bool {
        self.forget_old(now);
        let recorded = self.recent.get_mut(key);
        let stands = recorded.is_some();
        if let Some(recorded) = recorded {
            recorded.further = recorded.further.saturating_add(1);
        }
        stands
    }

    /// Remembers an access whose record is durable; another thread may have recorded the same.
    pub fn insert(&mut self, key: [u8; 16], record: Recorded, now: Micros) {
        if let Some(recorded) = self.recent.get_mut(&key) {
            recorded.further = recorded.further.saturating_add(1);
            return;
        }
        self.recent.insert(key, record);
        self.order.push_back((now, key));
        if self.order.len() > RECORDED_MAX {
            self.forget_oldest();
        }
    }

    /// Counts a refused access: one count per caller and query. The person that the caller says it
    /// acts for is ignored, so that the caller cannot fill the log by varying it.
    pub fn refused(&mut self, viewer: &Viewer, query: &str, now: Micros) {
        let viewer = Viewer {
            on_behalf_of: None,
            trace_id: None,
            ..viewer.clone()
        };
        let event = service::subject_viewed(None, query);
        let mut key = key_of(&viewer, &event);
        // Different from the key of an answered access that has a record.
        key.iter_mut().for_each(|byte| *byte ^= 0xff);
        let record = Recorded {
            event,
            viewer,
            further: 1,
        };
        self.insert(key, record, now);
    }

    /// Takes the counts that must be recorded, at most `max` of them.
    pub fn due(&mut self, now: Micros, max: usize) -> Vec<Recorded> {
        self.forget_old(now);
        let due = self.counted.len().min(max);
        self.counted.drain(..due).collect()
    }

    pub fn forget_old(&mut self, now: Micros) {
        let is_over = |(at, _): &(Micros, _)| at.plus_s(WINDOW_S) <= now;
        while self.order.front().is_some_and(is_over) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front();
        let record = oldest.and_then(|(_, key)| self.recent.remove(&key));
        if let Some(record) = record.filter(|record| record.further > 0) {
            if self.counted.len() < RECORDED_MAX {
                self.counted.push_back(record);
            } else {
                tracing::warn!(
                    "more access records wait to be counted than are kept; one count is lost"
                );
            }
        }
    }
}

/// Returns the first 16 bytes of SHA-256 over viewer and subject, each part after its length.
pub fn key_of(viewer: &Viewer, event: &Event) -> [u8; 16] {
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

#[cfg(test)]
mod tests {
    use countersign_schemas::record::Role;

    use super::*;
    use crate::engine::Caller;

    const NOW: Micros = Micros(500_000_000);

    fn key(n: usize) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        key
    }

    fn record() -> Recorded {
        let caller = Caller {
            name: "eve".into(),
            verified: true,
            role: Role::Support,
        };
        Recorded {
            event: service::subject_viewed(None, "find-account"),
            viewer: Viewer {
                caller,
                on_behalf_of: None,
                trace_id: None,
            },
            further: 0,
        }
    }

    #[test]
    fn a_record_covers_ten_minutes_and_no_longer_and_counts_the_further_accesses() {
        let mut recorded = AccessRecords::default();
        assert!(!recorded.counts(&key(1), NOW));
        recorded.insert(key(1), record(), NOW);
        // Two threads that both found no record.
        recorded.insert(key(1), record(), NOW.plus_s(300));
        recorded.insert(key(2), record(), NOW.plus_s(300));
        assert!(recorded.counts(&key(1), NOW.plus_s(WINDOW_S - 1)));
        assert!(recorded.due(NOW.plus_s(WINDOW_S - 1), 9).is_empty());
        assert!(!recorded.counts(&key(1), NOW.plus_s(WINDOW_S)));
        assert!(recorded.counts(&key(2), NOW.plus_s(WINDOW_S)));
        assert_eq!(recorded.order.len(), 1);
        let due = |recorded: &mut AccessRecords, at| -> Vec<u32> {
            let due = recorded.due(at, 9);
            due.iter().map(|record| record.further).collect()
        };
        assert_eq!(due(&mut recorded, NOW.plus_s(WINDOW_S)), [2]);
        assert_eq!(due(&mut recorded, Micros(u64::MAX)), [1]);
        recorded.insert(key(3), record(), NOW);
        assert!(
            due(&mut recorded, Micros(u64::MAX)).is_empty(),
            "one access has its record"
        );
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_keeps_its_count() {
        let mut recorded = AccessRecords::default();
        for n in 0..=RECORDED_MAX {
            recorded.insert(key(n), record(), NOW);
            assert!(recorded.counts(&key(n), NOW));
        }
        assert_eq!(recorded.order.len(), RECORDED_MAX);
        assert_eq!(recorded.recent.len(), RECORDED_MAX);
        assert!(!recorded.counts(&key(0), NOW) && recorded.counts(&key(1), NOW));
        assert_eq!(recorded.due(NOW, 9).len(), 1);
    }
}
