//! Records of the log, decoded.

use countersign_projections::Entry;
use countersign_schemas::record::Record;

use crate::log::{LogReader, Page};

/// A record of the log; an unreadable one counts as none, and is found when it is needed.
pub fn record(log: &LogReader, position: u64) -> Option<Record<'static>> {
    let bytes = log.get(position).ok().flatten()?;
    Some(Record::decode(&bytes).ok()?.into_owned())
}

/// Decodes the records of pages with their events, in order.
///
/// # Errors
/// As [`decode`], for the first that cannot be read.
pub fn decode_all(pages: &[Page]) -> Result<Vec<Entry<'_>>, String> {
    let records = pages.iter().flat_map(Page::iter);
    records
        .map(|(position, bytes)| decode(position, bytes))
        .collect()
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
