//! The clocks, as arguments.

use std::sync::Arc;

use countersign_schemas::time::Micros;

/// A clock, as an argument.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The wall clock of this machine.
pub fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}
