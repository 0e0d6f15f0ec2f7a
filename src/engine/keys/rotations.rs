//! How far the last rotation of the keys is, according to the log.

use countersign_schemas::event::Event;

use crate::account::service;
use crate::log::index::{Index, IndexError};

/// The numbers of rotations recorded as begun and as done.
pub struct Recorded {
    /// Rotations that are recorded.
    pub begun: u64,
    /// Rotations whose end is recorded.
    pub done: u64,
}

impl Recorded {
    /// Counts the recorded rotations.
    ///
    /// # Errors
    /// [`IndexError`] if the index cannot be read.
    pub fn of(index: &Index) -> Result<Self, IndexError> {
        let counts = index.counts()?;
        let of = |example: &Event| counts.get(&example.type_code()).map_or(0, |(n, _)| *n);
        Ok(Self {
            begun: of(&service::keys_rotated(0)),
            done: of(&service::data_keys_rewrapped(0, 0)),
        })
    }
}

/// Whether a rotation is recorded and its end is not.
///
/// # Errors
/// [`IndexError`] if the index cannot be read.
pub fn is_under_way(index: &Index) -> Result<bool, IndexError> {
    let recorded = Recorded::of(index)?;
    Ok(recorded.done < recorded.begun)
}
