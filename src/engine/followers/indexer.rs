//! The indexer: one thread that writes the index's memory to its file, after the commits, and signs
//! checkpoints of the growing log.

use std::time::{Duration, Instant};

use crate::crash_point::reached;
use crate::engine::entries::record;
use crate::engine::shared::Shared;
use crate::log::LogReader;
use crate::log::index::Finding;

/// The longest time that an entry waits to be written.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often the file is made durable; a crash loses at most this much of it.
const DURABLE_EVERY: Duration = Duration::from_secs(5);
/// Entries after which the file is made durable sooner. A start after a crash reads them again,
/// which takes some 0.1 s for the index and for each of the views.
pub const UNDURABLE_ENTRIES_MAX: u64 = 16_384;
// BUG: unsigned-seconds: what is acknowledged in between is not signed for yet.
/// How often a growing log is signed; a start detects the loss of anything signed.
const SIGN_EVERY: Duration = Duration::from_secs(10);
/// How often it checks whether the files are where the start found them.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How often it checks for work.
const TICK: Duration = Duration::from_millis(50);

/// Flushes until the service stops, and then once more, durably.
pub fn run(shared: &Shared, log: &LogReader) {
    let (mut flushed_at, mut durable_at) = (Instant::now(), Instant::now());
    let (mut signed_at, mut checked_at) = (Instant::now(), Instant::now());
    let mut volatile = 0;
    while !shared.progress.is_stopping(TICK) {
        shared.watch_findings();
        let waiting = shared.index.waiting();
        let due = waiting > 0 && flushed_at.elapsed() >= FLUSH_EVERY;
        let undurable = volatile + waiting as u64;
        let make_durable = undurable >= UNDURABLE_ENTRIES_MAX
            || (undurable > 0 && durable_at.elapsed() >= DURABLE_EVERY);
        if due || make_durable {
            flush(shared, log, make_durable);
            volatile = if make_durable { 0 } else { undurable };
            flushed_at = Instant::now();
        }
        if make_durable {
            durable_at = Instant::now();
        }
        shared.accounts.save_snapshots();
        if signed_at.elapsed() >= SIGN_EVERY {
            sign(shared);
            signed_at = Instant::now();
        }
        if checked_at.elapsed() >= CHECK_EVERY {
            shared.standing.look(&shared.vault, log);
            checked_at = Instant::now();
        }
    }
    if shared.index.finding() == Some(Finding::Index) {
        return distrust(shared);
    }
    flush(shared, log, true);
}

/// Makes the next start build the index again.
pub fn distrust(shared: &Shared) {
    if let Err(error) = shared.index.distrust() {
        tracing::error!(%error, "the next start may trust the index");
    }
}

/// Signs a checkpoint, or logs that none was signed.
pub fn sign(shared: &Shared) {
    if let Err(error) = shared.sign_checkpoint() {
        tracing::error!(%error, "no checkpoint was signed; commands go on");
    }
}

fn flush(shared: &Shared, log: &LogReader, durable: bool) {
    let [before, after] = match durable {
        true => ["index-unflushed", "index-flushed"],
        false => ["index-unwritten", "index-written"],
    };
    reached(before);
    if let Err(error) = shared
        .index
        .flush(durable, shared.now(), |position| record(log, position))
    {
        tracing::error!(%error, "the index stays in memory; commands go on");
    }
    reached(after);
}
