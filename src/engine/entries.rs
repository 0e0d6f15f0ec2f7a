//! Records of the log, decoded.

use countersign_projections::Entry;
use countersign_schemas::record::Record;

use crate::log::{LogReader, Page};

/// Returns the record at a position. An unreadable record counts as none here; the reader that
/// needs it finds the damage.
pub fn record(log: &LogReader, position: u64) -> Option<Record<'static>> {
    let bytes = log.get(position).ok().flatten()?;
    Some(Record::decode(&bytes).ok()?.into_owned())
}

/// Decodes the records of pages, with their events, in order.
///
/// # Errors
/// Those of [`decode`], for the first record that cannot be read.
pub fn decode_all(pages: &[Page]) -> Result<Vec<Entry<'_>>, String> {
    let records = pages.iter().flat_map(Page::iter);
    records
        .map(|(position, bytes)| decode(position, bytes))
        .collect()
}

/// Decodes the bytes of the record at a position, with its event.
///
/// # Errors
/// A sentence with the position and what is wrong with the record.
pub fn decode(position: u64, bytes: &[u8]) -> Result<Entry<'_>, String> {
    let failed = |why: String| format!("the event at position {position} cannot be read: {why}");
    let record = Record::decode(bytes).map_err(|error| failed(error.to_string()))?;
    Entry::decode(position, record).map_err(|error| failed(error.to_string()))
}

/// Returns the entries up to the end of the last whole group.
pub fn whole_groups<'a, 'b>(entries: &'a [Entry<'b>]) -> &'a [Entry<'b>] {
    let ends_group = |entry: &Entry| entry.record.group_index + 1 == entry.record.group_len;
    let end = entries
        .iter()
        .rposition(ends_group)
        .map_or(0, |last| last + 1);
    &entries[..end]
}
