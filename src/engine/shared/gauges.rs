//! What operators watch of the engine: counters and marks that its threads raise.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_schemas::time::Micros;

/// Counters and marks, raised where the thing happens.
pub struct Gauges {
    pub(in crate::engine) data: PathBuf,
    pub(in crate::engine) keyring_folder: PathBuf,
    pub(in crate::engine) sheds: AtomicU64,
    pub(in crate::engine) comparisons: AtomicU64,
    pub(in crate::engine) hashes: AtomicU64,
    pub(in crate::engine) clock_jumps: AtomicU64,
    pub(in crate::engine) clock_is_behind: AtomicBool,
    /// When everything was last covered by a signed checkpoint, in microseconds.
    pub(in crate::engine) signed_at: AtomicU64,
    /// The highest position up to which the log was hashed again since the start.
    pub(in crate::engine) verified_through: AtomicU64,
}

impl Gauges {
    /// Begins to count; a start has just signed for the log.
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

    /// The pool had no room for a command.
    pub fn shed(&self) {
        self.sheds.fetch_add(1, Ordering::Relaxed);
    }

    /// A password or a code is compared.
    pub fn compares(&self) {
        self.comparisons.fetch_add(1, Ordering::Relaxed);
    }

    /// An Argon2id is computed.
    pub fn hashes(&self) {
        self.hashes.fetch_add(1, Ordering::Relaxed);
    }

    /// The wall clock jumped ahead.
    pub fn clock_jumped(&self) {
        self.clock_jumps.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether codes are refused because the wall clock is behind the log.
    pub fn clock_is_behind(&self, is_behind: bool) {
        self.clock_is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// Everything up to now is covered by a signed checkpoint.
    pub fn signed(&self, now: Micros) {
        self.signed_at.store(now.0, Ordering::Relaxed);
    }
}

impl Gauges {
    /// The records up to a position are those that were appended.
    pub fn verified_through(&self, position: u64) {
        self.verified_through.fetch_max(position, Ordering::Relaxed);
    }
}
