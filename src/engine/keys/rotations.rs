//! How far the last rotation of the keys came, as the log says.

use countersign_schemas::event::Event;

use crate::account::service;
use crate::log::index::{Index, IndexError};

/// How many rotations are recorded, and how many are recorded as done.
pub struct Recorded {
    /// Those that are recorded.
    pub begun: u64,
    /// Those whose end is recorded.
    pub done: u64,
}

impl Recorded {
    /// Counts them.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn of(index: &Index) -> Result<Self, IndexError> {
        let counts = index.counts()?;
        let of = |example: &Event| counts.get(&example.type_code()).map_or(0, |(n, _)| *n);
        Ok(Self {
            begun: of(&service::keys_rotated(0)),
            done: of(&service::data_keys_rewrapped(0, 0)),
        })
    }
}

/// Whether a rotation is recorded whose end is not.
///
/// # Errors
/// [`IndexError`] when the index cannot be read.
pub fn is_under_way(index: &Index) -> Result<bool, IndexError> {
    let recorded = Recorded::of(index)?;
    Ok(recorded.done < recorded.begun)
}
