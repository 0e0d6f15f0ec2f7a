//! How far events are published, and why publication stopped there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_schemas::admin::PublicationState;

/// The progress of publication; off until publishing begins.
#[derive(Debug, Default)]
pub struct Publication {
    is_on: AtomicBool,
    through: AtomicU64,
    halted: Mutex<Option<String>>,
}

impl Publication {
    /// Notes that events are published from now on.
    pub fn turn_on(&self) {
        self.is_on.store(true, Ordering::Release);
    }

    /// Returns why nothing is published at the moment, if so.
    pub fn halted(&self) -> Option<String> {
        self.reason().clone()
    }

    /// Returns the progress for a log that ends at `head`; `None` if publication is off.
    pub fn state(&self, head: u64) -> Option<PublicationState> {
        let position = self.through.load(Ordering::Acquire);
        self.is_on
            .load(Ordering::Acquire)
            .then(|| PublicationState {
                position,
                lag: head.saturating_sub(position),
                halted: self.halted(),
            })
    }

    /// Notes that everything up to a position is published.
    pub fn reached(&self, position: u64) {
        self.through.store(position, Ordering::Release);
        *self.reason() = None;
    }

    /// Notes why nothing is published.
    pub fn halt(&self, reason: String) {
        *self.reason() = Some(reason);
    }

    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publication_is_off_until_it_is_turned_on_and_halted_until_it_goes_on() {
        let publication = Publication::default();
        publication.reached(3);
        assert!(publication.state(7).is_none());
        publication.turn_on();
        let state = |head| {
            let state = publication.state(head).unwrap();
            (state.position, state.lag, state.halted)
        };
        assert_eq!(state(7), (3, 4, None));
        assert_eq!(state(2), (3, 0, None), "the log was read before");
        publication.halt("the stream is gone".into());
        assert_eq!(publication.halted().as_deref(), Some("the stream is gone"));
        assert_eq!(state(7), (3, 4, Some("the stream is gone".into())));
        publication.reached(7);
        assert_eq!(publication.halted(), None);
        assert_eq!(state(7), (7, 0, None));
    }
}
