//! The operators' measurements, read at one moment.

use std::path::Path;
use std::sync::atomic::Ordering;

use countersign_projections::ViewState;
use countersign_schemas::admin::PublicationState;
use countersign_schemas::time::Micros;

use super::Engine;

/// The engine's measurements at one moment.
#[derive(Debug)]
pub struct Readings {
    /// The last durable position.
    pub head: u64,
    /// How far each view is.
    pub views: Vec<ViewState>,
    /// How far events are published; `None` if publication is off.
    pub publication: Option<PublicationState>,
    /// Commands that wait for the writer.
    pub queued: usize,
    /// Commands that wait for a hash.
    pub proofs_waiting: usize,
    /// Commands since the start that found no room among those that wait for a hash.
    pub sheds: u64,
    /// Passwords and codes compared since the start.
    pub comparisons: u64,
    /// Argon2id hashes computed since the start.
    pub hashes: u64,
    /// Seconds since a signed checkpoint last covered everything.
    pub checkpoint_age_s: u64,
    /// Seconds since the older of the two copies in the backup folders was taken, or since the log
    /// began if one is missing; `None` without configured backups.
    pub backup_age_s: Option<u64>,
    /// Seconds by which the wall clock is behind the last recorded time.
    pub clock_behind_s: u64,
    /// Whether codes are refused because of that.
    pub clock_is_behind: bool,
    /// Forward jumps of the wall clock since the start.
    pub clock_jumps: u64,
    /// Free bytes on the log's file system; `None` if the system does not report them.
    pub data_free_bytes: Option<u64>,
    /// Free bytes on the file system of the keyring and its checkpoints.
    pub keys_free_bytes: Option<u64>,
    /// The position up to which the log was hashed again since the start and matched what was
    /// appended.
    pub verified_through: u64,
    /// What is wrong with the place or the permissions of the files; `None` if both are as at the
    /// start.
    pub misplaced: Option<String>,
    /// Whether a commit has failed or the data folder was changed.
    pub has_failed: bool,
    /// Whether no more commands are accepted.
    pub is_draining: bool,
}

impl Engine {
    /// Reads the operators' measurements; asks the file system, so it must not be called from a
    /// task that may not block.
    pub fn readings(&self) -> Readings {
        let (shared, gauges) = (&self.shared, &self.shared.gauges);
        // In this order; else an event recorded in between would look like a clock that is behind.
        let recorded_at = Micros(shared.recorded_at.load(Ordering::Acquire));
        let now = shared.now();
        Readings {
            head: shared.progress.committed(),
            views: shared.views.list(),
            publication: shared.publication.state(shared.progress.committed()),
            queued: self.queue.waiting(),
            proofs_waiting: self.pool.waiting(),
            sheds: gauges.sheds.load(Ordering::Relaxed),
            comparisons: gauges.comparisons.load(Ordering::Relaxed),
            hashes: gauges.hashes.load(Ordering::Relaxed),
            checkpoint_age_s: now.seconds_since(Micros(gauges.signed_at.load(Ordering::Relaxed))),
            backup_age_s: self.admin.backup_age_s(now),
            clock_behind_s: recorded_at.seconds_since(now),
            clock_is_behind: gauges.clock_is_behind.load(Ordering::Relaxed),
            clock_jumps: gauges.clock_jumps.load(Ordering::Relaxed),
            verified_through: gauges.verified_through.load(Ordering::Relaxed),
            data_free_bytes: free_bytes(&gauges.data),
            keys_free_bytes: free_bytes(&gauges.keyring_folder),
            misplaced: shared.standing.wrong(),
            has_failed: *shared.failed.borrow(),
            is_draining: self.draining.load(Ordering::Acquire),
        }
    }
}

/// Returns the bytes that this process may still write on a folder's file system; `None` if the
/// system does not report them.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(folder).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}
