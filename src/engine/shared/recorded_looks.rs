//! Which looks at histories have a record, and how many further ones each stands for.
//!
//! In memory and bounded; it knows no clock, times are arguments.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::event::Event;
use countersign_schemas::time::Micros;
use sha2::{Digest, Sha256};

use super::look_rates::LookRates;
use crate::account::service;
use crate::engine::request::Viewer;

/// How long one record stands for further looks at the same.
pub const WINDOW_S: u64 = 600;
/// Looks that are remembered as recorded; the oldest is forgotten for one more.
pub const RECORDED_MAX: usize = 65_536;
/// A look that has a record, and how many it stands for.
#[derive(Debug)]
pub struct Recorded {
    pub event: Event,
    pub viewer: Viewer,
    /// Further looks at the same.
    pub further: u32,
}

/// Which looks were recorded lately, and how many further ones each record stands for.
#[derive(Debug, Default)]
pub struct RecordedLooks {
    pub looks: HashMap<[u8; 16], Recorded>,
    /// The same, oldest first, with when they were recorded.
    order: VecDeque<(Micros, [u8; 16])>,
    /// Those whose time is over and whose count waits for its record.
    counted: VecDeque<Recorded>,
    /// How often callers named somebody new.
    pub rates: LookRates,
}

impl RecordedLooks {
    /// Whether a record that is not older than the window stands for a look; it then counts it.
    pub fn counts(&mut self, key: &[u8; 16], now: Micros) -> bool {
        self.forget_old(now);
        let recorded = self.looks.get_mut(key);
        let stands = recorded.is_some();
        if let Some(recorded) = recorded {
            recorded.further = recorded.further.saturating_add(1);
        }
        stands
    }

    /// Remembers a look whose record is durable; another thread may have recorded the same.
    pub fn insert(&mut self, key: [u8; 16], look: Recorded, now: Micros) {
        if let Some(recorded) = self.looks.get_mut(&key) {
            recorded.further = recorded.further.saturating_add(1);
            return;
        }
        self.looks.insert(key, look);
        self.order.push_back((now, key));
        if self.order.len() > RECORDED_MAX {
            self.forget_oldest();
        }
    }

    /// Counts a look that was refused: one count for each caller and query, for whomever the caller
    /// says it acts, so that it cannot fill the log by varying that.
    pub fn refused(&mut self, viewer: &Viewer, query: &str, now: Micros) {
        let viewer = Viewer {
            on_behalf_of: None,
            trace_id: None,
            ..viewer.clone()
        };
        let event = service::subject_viewed(None, query);
        let mut key = key_of(&viewer, &event);
        // Beside the key of a look that was answered and has a record.
        key.iter_mut().for_each(|byte| *byte ^= 0xff);
        let look = Recorded {
            event,
            viewer,
            further: 1,
        };
        self.insert(key, look, now);
    }

    /// Takes the counts that are to be recorded, at most `max` of them.
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
        let look = oldest.and_then(|(_, key)| self.looks.remove(&key));
        if let Some(look) = look.filter(|look| look.further > 0) {
            if self.counted.len() < RECORDED_MAX {
                self.counted.push_back(look);
            } else {
                tracing::warn!("more look-ups wait to be counted than are kept; one count is lost");
            }
        }
    }
}

/// The first 16 bytes of SHA-256 over who looks at what, each part behind its length.
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

    fn look() -> Recorded {
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
    fn a_record_stands_for_ten_minutes_and_not_longer_and_counts_what_it_stands_for() {
        let mut recorded = RecordedLooks::default();
        assert!(!recorded.counts(&key(1), NOW));
        recorded.insert(key(1), look(), NOW);
        // Two threads that both found none.
        recorded.insert(key(1), look(), NOW.plus_s(300));
        recorded.insert(key(2), look(), NOW.plus_s(300));
        assert!(recorded.counts(&key(1), NOW.plus_s(WINDOW_S - 1)));
        assert!(recorded.due(NOW.plus_s(WINDOW_S - 1), 9).is_empty());
        assert!(!recorded.counts(&key(1), NOW.plus_s(WINDOW_S)));
        assert!(recorded.counts(&key(2), NOW.plus_s(WINDOW_S)));
        assert_eq!(recorded.order.len(), 1);
        let due = |recorded: &mut RecordedLooks, at| -> Vec<u32> {
            let due = recorded.due(at, 9);
            due.iter().map(|look| look.further).collect()
        };
        assert_eq!(due(&mut recorded, NOW.plus_s(WINDOW_S)), [2]);
        assert_eq!(due(&mut recorded, Micros(u64::MAX)), [1]);
        recorded.insert(key(3), look(), NOW);
        assert!(
            due(&mut recorded, Micros(u64::MAX)).is_empty(),
            "one look has its record"
        );
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_keeps_its_count() {
        let mut recorded = RecordedLooks::default();
        for n in 0..=RECORDED_MAX {
            recorded.insert(key(n), look(), NOW);
            assert!(recorded.counts(&key(n), NOW));
        }
        assert_eq!(recorded.order.len(), RECORDED_MAX);
        assert_eq!(recorded.looks.len(), RECORDED_MAX);
        assert!(!recorded.counts(&key(0), NOW) && recorded.counts(&key(1), NOW));
        assert_eq!(recorded.due(NOW, 9).len(), 1);
    }
}
