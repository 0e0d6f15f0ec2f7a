//! The projector: one thread that folds the log into the views, from their own checkpoint.
//!
//! A view that is rebuilt is folded by the same thread, a slice at a time, between the rounds that
//! bring the serving views up to date.

use std::time::{Duration, Instant};

use countersign_projections::Views;

use super::indexer::UNDURABLE_ENTRIES_MAX;
use crate::crash_point::reached;
use crate::engine::entries::{decode_all, whole_groups};
use crate::engine::shared::progress::Progress;
use crate::log::{LogReader, Page};

/// The most that one transaction of the views takes; the page that reaches the limit is the last.
#[derive(Clone, Copy)]
pub struct Slice {
    entries: usize,
    /// Bytes of the records.
    bytes: usize,
}

/// The slice while nothing else waits. Large slices share the pages of the file that they touch,
/// which among many accounts is most of the work; some 100 MB of memory if the views are far
/// behind.
pub const CATCH_UP: Slice = Slice {
    entries: 131_072,
    bytes: 64 * 1024 * 1024,
};
/// The slice of a rebuild, for which the serving views have to wait.
const BESIDE: Slice = Slice {
    entries: 16_384,
    bytes: 16 * 1024 * 1024,
};
/// Entries and bytes in one page of the log.
const PAGE_ENTRIES_MAX: usize = 1_024;
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often folded entries are made durable.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// How often a long catch-up reports its progress.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How long it waits for work before it checks whether it must stop.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits for more entries to fold together; a waiting query ends it.
const LINGER: Duration = Duration::from_millis(250);
/// How long it waits before it tries a failing store again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Folds the log into the views until the service stops.
pub fn run(log: &LogReader, views: &Views, progress: &Progress) {
    let mut flushed_at = Instant::now();
    let mut undurable = 0;
    let mut reported = Vec::new();
    while !progress.is_stopping(Duration::ZERO) {
        if views.building().is_none() {
            progress.wait_for_work(IDLE, LINGER);
        }
        let carried = catch_up(log, views, progress);
        report_halted(views, &mut reported);
        match carried.and_then(|carried| Ok(carried + build(log, views, progress, BESIDE)?)) {
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

/// Raises an alarm for each view that has halted since the last call.
fn report_halted(views: &Views, reported: &mut Vec<&'static str>) {
    let halted = views.halted();
    reported.retain(|known| halted.iter().any(|(view, _)| view == known));
    for (view, why) in halted {
        if !reported.contains(&view) {
            tracing::error!(
                view,
                why,
                "ALARM: a view has halted and no longer follows the log; commands go on. Rebuild it with `countersign view rebuild`"
            );
            reported.push(view);
        }
    }
}

/// Catches up before the first command. A long catch-up is durable then, so that a crash right
/// afterwards does not start it again. Tables of other versions of the views are dropped.
///
/// # Errors
/// Those of [`catch_up`], and if the views cannot be made durable.
pub fn start(log: &LogReader, views: &Views, progress: &Progress) -> Result<(), String> {
    let carried = catch_up(log, views, progress)?;
    report_halted(views, &mut Vec::new());
    if carried >= UNDURABLE_ENTRIES_MAX {
        views.flush().map_err(|error| error.to_string())?;
    }
    views.drop_superseded().map_err(|error| error.to_string())
}

/// Folds everything committed into the views; returns the number of entries.
///
/// # Errors
/// A sentence if the log or the views cannot be read or written, or an event is unknown.
pub fn catch_up(log: &LogReader, views: &Views, progress: &Progress) -> Result<u64, String> {
    let mut carried = 0;
    let mut reported_at = Instant::now();
    progress.show(views.checkpoint());
    loop {
        let from = views.checkpoint() + 1;
        let pages = read(log, from, CATCH_UP)?;
        let entries = decode_all(&pages)?;
        let whole = whole_groups(&entries);
        if whole.is_empty() {
            return Ok(carried);
        }
        reached("views-unwritten");
        views.catch_up(whole).map_err(|error| error.to_string())?;
        reached("views-written");
        if views.checkpoint() < from {
            // Every view has halted, and `report_halted` has reported it.
            return Ok(carried);
        }
        carried += whole.len() as u64;
        progress.show(views.checkpoint());
        if reported_at.elapsed() >= REPORT_EVERY {
            let (position, head) = (views.checkpoint(), log.head());
            tracing::info!(
                position,
                head,
                percent = position * 100 / head,
                "the views catch up"
            );
            reported_at = Instant::now();
        }
    }
}

/// Folds one slice into the views that are being rebuilt, and puts those that have caught up in
/// place of the old ones; returns the number of entries.
///
/// # Errors
/// Those of [`catch_up`].
pub fn build(
    log: &LogReader,
    views: &Views,
    progress: &Progress,
    most: Slice,
) -> Result<u64, String> {
    let Some(after) = views.building() else {
        return Ok(0);
    };
    let pages = read(log, after + 1, most)?;
    let entries = decode_all(&pages)?;
    let whole = whole_groups(&entries);
    let given_up = views.build(whole).map_err(|error| error.to_string())?;
    for (view, why) in given_up {
        tracing::error!(
            view,
            why,
            "ALARM: a view could not be rebuilt; the old one stays in use"
        );
    }
    for view in views.switch().map_err(|error| error.to_string())? {
        tracing::info!(view, "the rebuilt view is in use");
    }
    progress.show(views.checkpoint());
    Ok(whole.len() as u64)
}

/// Reads the records of one slice.
fn read(log: &LogReader, from: u64, most: Slice) -> Result<Vec<Page>, String> {
    let (mut pages, mut next, mut entries, mut bytes) = (Vec::new(), from, 0, 0);
    while entries < most.entries && bytes < most.bytes {
        let page = log
            .read(next, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        next = page.next();
        entries += page.len();
        bytes += page.iter().map(|(_, record)| record.len()).sum::<usize>();
        pages.push(page);
    }
    Ok(pages)
}
