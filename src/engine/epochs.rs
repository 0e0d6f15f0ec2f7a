//! The epochs of the log: a new one begins where an operator gave up what was lost.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::EpochStarted;

use super::entries::record;
use crate::log::LogReader;

/// An epoch of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Where it begins.
    pub position: u64,
    /// What was recorded then.
    pub begun: EpochStarted,
}

/// The epoch that the record at a position begins; none where it begins none.
pub fn epoch_at(reader: &LogReader, position: u64) -> Option<Epoch> {
    match record(reader, position)?.event().ok()? {
        Event::EpochStarted(begun) => Some(Epoch { position, begun }),
        _ => None,
    }
}
