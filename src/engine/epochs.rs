//! The epochs of the log: an operator begins a new one to give up events that were lost.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::EpochStarted;

use super::entries::record;
use crate::log::LogReader;

/// An epoch of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The position of its first record.
    pub position: u64,
    /// The event that began it.
    pub begun: EpochStarted,
}

/// Returns the epoch that the record at a position begins, if it begins one.
pub fn epoch_at(reader: &LogReader, position: u64) -> Option<Epoch> {
    match record(reader, position)?.event().ok()? {
        Event::EpochStarted(begun) => Some(Epoch { position, begun }),
        _ => None,
    }
}
