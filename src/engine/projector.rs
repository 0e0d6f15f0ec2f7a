//! The projector: one thread that carries the log into the views, from their own checkpoint.

use std::time::{Duration, Instant};

use countersign_projections::{Entry, Views};
use countersign_schemas::record::Record;

use super::indexer::UNDURABLE_ENTRIES_MAX;
use super::progress::Progress;
use crate::crash_point::reached;
use crate::log::LogReader;

/// Entries in one transaction of the views; the group that reaches it may end.
const PAGE_ENTRIES_MAX: usize = 2_048;
/// Bytes in one page of the log.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often what was carried over is made durable.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// How long it waits for something to do before it looks whether it is to stop.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits for more to do at once; a query that waits ends it.
const LINGER: Duration = Duration::from_millis(250);
/// How long to wait before a failing store is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Carries the log into the views until told to stop.
pub fn run(log: &LogReader, views: &Views, progress: &Progress) {
    let mut flushed_at = Instant::now();
    let mut undurable = 0;
    while !progress.is_stopping(Duration::ZERO) {
        progress.wait_for_work(IDLE, LINGER);
        match catch_up(log, views, progress) {
            Ok(carried) => undurable += carried,
            Err(error) => {
                tracing::error!(%error, "the views are behind; commands go on");
                progress.is_stopping(RETRY_AFTER);
            }
        }
        let is_due = undurable >= UNDURABLE_ENTRIES_MAX || flushed_at.elapsed() >= FLUSH_EVERY;
        if undurable > 0 && is_due {
            if let Err(error) = views.flush() {
                tracing::error!(%error, "the views are not durable; they are rebuilt after a crash");
            }
            (flushed_at, undurable) = (Instant::now(), 0);
        }
    }
}

/// Catches up before the first command; what took long is durable then, so that a crash right
/// afterwards does not begin it again.
///
/// # Errors
/// As [`catch_up`], and when the views cannot be made durable.
pub fn start(log: &LogReader, views: &Views, progress: &Progress) -> Result<(), String> {
    match catch_up(log, views, progress)? {
        0..UNDURABLE_ENTRIES_MAX => Ok(()),
        _ => views.flush().map_err(|error| error.to_string()),
    }
}

/// Carries everything that is committed into the views; answers how many entries that was.
///
/// # Errors
/// A sentence when the log or the views cannot be read or written, or an event is unknown.
pub fn catch_up(log: &LogReader, views: &Views, progress: &Progress) -> Result<u64, String> {
    let mut carried = 0;
    progress.show(views.checkpoint());
    loop {
        let from = views.checkpoint() + 1;
        let page = log
            .read(from, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        let entries = page
            .iter()
            .map(|(position, bytes)| decode(position, bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let whole = whole_groups(&entries);
        if whole.is_empty() {
            return Ok(carried);
        }
        reached("views-unwritten");
        views.catch_up(whole).map_err(|error| error.to_string())?;
        reached("views-written");
        if views.checkpoint() < from {
            return Err("every view has halted: see `countersign view list`".into());
        }
        carried += whole.len() as u64;
        progress.show(views.checkpoint());
    }
}

/// Decodes the record at a position with its event.
///
/// # Errors
/// The position and what is wrong with the record there.
pub fn decode(position: u64, bytes: &[u8]) -> Result<Entry<'_>, String> {
    let failed = |why: String| format!("the event at position {position} cannot be read: {why}");
    let record = Record::decode(bytes).map_err(|error| failed(error.to_string()))?;
    Entry::decode(position, record).map_err(|error| failed(error.to_string()))
}

/// The entries up to the end of the last whole group.
pub fn whole_groups<'a, 'b>(entries: &'a [Entry<'b>]) -> &'a [Entry<'b>] {
    let ends_group = |entry: &Entry| entry.record.group_index + 1 == entry.record.group_len;
    let end = entries
        .iter()
        .rposition(ends_group)
        .map_or(0, |last| last + 1);
    &entries[..end]
}
