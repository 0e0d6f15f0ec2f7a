//! How long a test waits for a result that must come.

use std::time::Duration;

/// Longer than anything takes on one loaded core. No result rests on it: a test that waits so long
/// has failed.
pub const PATIENCE: Duration = Duration::from_secs(180);
