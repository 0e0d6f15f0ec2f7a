//! The clocks, as arguments.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use countersign_schemas::time::Micros;

/// A clock, as an argument.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The monotonic clock of this machine, since it was first read; nobody sets it.
pub fn monotonic_clock() -> Micros {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = BEGINNING.elapsed().as_micros();
    Micros(u64::try_from(since).unwrap_or(u64::MAX))
}

/// The wall clock of this machine.
pub fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}
