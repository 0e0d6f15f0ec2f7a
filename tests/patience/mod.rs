//! How long a test waits for what must come.

use std::time::Duration;

/// Longer than anything takes on one loaded core. No result rests on it: whoever waits so long has
/// failed.
pub const PATIENCE: Duration = Duration::from_secs(180);
