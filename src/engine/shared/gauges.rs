//! The operators' counters and marks, raised by the engine's threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_schemas::time::Micros;

/// Counters and marks, each raised where its event happens.
pub struct Gauges {
    pub(in crate::engine) data: PathBuf,
    pub(in crate::engine) keyring_folder: PathBuf,
    pub(in crate::engine) sheds: AtomicU64,
    pub(in crate::engine) comparisons: AtomicU64,
    pub(in crate::engine) hashes: AtomicU64,
    pub(in crate::engine) clock_jumps: AtomicU64,
    pub(in crate::engine) clock_is_behind: AtomicBool,
    /// When a signed checkpoint last covered everything, in microseconds.
    pub(in crate::engine) signed_at: AtomicU64,
    /// The highest position up to which the log was hashed again since the start.
    pub(in crate::engine) verified_through: AtomicU64,
}

impl Gauges {
    /// Starts to count; a start has just signed the log.
    pub fn new(data: &Path, keyring: &Path, now: Micros) -> Self {
        Self {
            data: data.into(),
            keyring_folder: keyring.parent().unwrap_or(Path::new(".")).into(),
            sheds: AtomicU64::new(0),
            comparisons: AtomicU64::new(0),
            hashes: AtomicU64::new(0),
            clock_jumps: AtomicU64::new(0),
            clock_is_behind: AtomicBool::new(false),
            signed_at: AtomicU64::new(now.0),
            verified_through: AtomicU64::new(0),
        }
    }

    /// Counts a command for which the pool had no room.
    pub fn shed(&self) {
        self.sheds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a comparison of a password or a code.
    pub fn compares(&self) {
        self.comparisons.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a computed Argon2id hash.
    pub fn hashes(&self) {
        self.hashes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a forward jump of the wall clock.
    pub fn clock_jumped(&self) {
        self.clock_jumps.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether codes are refused because the wall clock is behind the log.
    pub fn clock_is_behind(&self, is_behind: bool) {
        self.clock_is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// Notes that a signed checkpoint covers everything up to now.
    pub fn signed(&self, now: Micros) {
        self.signed_at.store(now.0, Ordering::Relaxed);
    }
}

impl Gauges {
    /// Notes that the records up to a position are those that were appended.
    pub fn verified_through(&self, position: u64) {
        self.verified_through.fetch_max(position, Ordering::Relaxed);
    }
}
