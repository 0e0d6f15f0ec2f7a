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
