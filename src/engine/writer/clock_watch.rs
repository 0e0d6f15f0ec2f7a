//! The writer's observations of the wall clock.

use countersign_schemas::time::Micros;

use crate::engine::clock::JumpWatch;
use crate::engine::shared::Shared;

/// The writer's observations of the wall clock.
pub struct ClockWatch {
    pub(super) jumps: JumpWatch,
    /// The highest reading since the start.
    pub(super) wall_seen: Micros,
    /// Whether codes are refused because of it.
    pub(super) is_behind: bool,
}

impl ClockWatch {
    /// Starts to observe the clock.
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            jumps: JumpWatch::new(shared.now(), (shared.monotonic)()),
            wall_seen: Micros(0),
            is_behind: false,
        }
    }
}
