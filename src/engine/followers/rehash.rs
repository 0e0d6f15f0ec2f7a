//! Hashes the whole log again and reads the whole index, to find damage where no account is folded.
//!
//! An account's records are compared with their leaves when they are folded, and a log whose index
//! is rebuilt is compared with the last signed checkpoint. The records that are not folded remain:
//! this thread compares them, after each start and then in a cycle.

use std::time::Duration;

use crate::engine::shared::Shared;
use crate::log::index::{Cursor, Finding};
use crate::log::tree::{Frontier, leaf_hash};
use crate::log::{LogReader, ReadLogError};

/// Bytes of records read in a second: a hundredth of a processor, and little of a disk.
const BYTES_PER_S: u64 = 16 * 1024 * 1024;
/// Records and bytes in one page.
const PAGE_RECORDS: usize = 1_024;
const PAGE_BYTES: usize = 256 * 1024;
/// Buckets of the index that are read at once.
const BUCKETS: usize = 64;
/// The pause after those buckets.
const REST: Duration = Duration::from_millis(2);
/// The pause after a complete pass.
const CYCLE: Duration = Duration::from_secs(24 * 3_600);

/// Checks everything until the service stops; reports what it finds to the index.
pub fn run(shared: &Shared, log: &LogReader) {
    loop {
        let wait = |rest| shared.progress.is_stopping(rest);
        if let Err(error) = index(shared, wait).and_then(|()| pass(shared, log, wait)) {
            tracing::error!(%error, "the log was not hashed again to its end");
        }
        if shared.progress.is_stopping(CYCLE) {
            return;
        }
    }
}

/// Reads every row of the index that decisions use, and checks its seal. `wait` pauses for the
/// given time and returns whether to stop.
///
/// # Errors
/// A sentence if rows were changed or cannot be read.
pub fn index(shared: &Shared, wait: impl Fn(Duration) -> bool) -> Result<(), String> {
    let mut next = Some(Cursor::START);
    while let Some(from) = next.filter(|_| !wait(REST)) {
        let checked = shared.index.check_buckets(from, BUCKETS);
        next = checked.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Hashes every record of the log and compares it with its leaf, and the root with the newest
/// checkpoint that was signed when this pass began.
///
/// # Errors
/// A sentence if a record or the root differs, or cannot be read.
pub fn pass(
    shared: &Shared,
    log: &LogReader,
    wait: impl Fn(Duration) -> bool,
) -> Result<(), String> {
    let signed = shared.signed_root();
    let mut frontier = Frontier::default();
    loop {
        let from = frontier.size() + 1;
        let page = log.read(from, PAGE_RECORDS, PAGE_BYTES);
        let page = page.map_err(|error: ReadLogError| error.to_string())?;
        if page.is_empty() {
            return Ok(());
        }
        let mut bytes = 0;
        for (_, record) in page.iter() {
            frontier.append(leaf_hash(record));
            bytes += record.len() as u64;
            let (size, root) = signed.unwrap_or_default();
            if size == frontier.size() && root != frontier.root() {
                let finding = Finding::Root { size };
                shared.index.met(finding);
                return Err(finding.to_string());
            }
        }
        shared.gauges.verified_through(frontier.size());
        if wait(Duration::from_micros(bytes * 1_000_000 / BYTES_PER_S)) {
            return Ok(());
        }
    }
}
