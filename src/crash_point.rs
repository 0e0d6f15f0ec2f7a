//! Named moments at which the kill harness (`tests/crash`) ends the process.
//!
//! Outside debug builds [`reached`] is empty and costs nothing. In a debug build the variable
//! `COUNTERSIGN_CRASH_AT=name:n` aborts the process when the point `name` is reached for the
//! `n`-th time: no destructor runs, nothing is flushed, as after SIGKILL.

/// Every point of `log new-epoch`.
pub const EPOCH_POINTS: &[&str] = &["epoch-appended", "epoch-keyring"];

/// Every point of the service, in the order of a command's way.
pub const POINTS: &[&str] = &[
    "before-append",
    "data-keys-written",
    "data-keys-committed",
    "before-log",
    "segment-closed",
    "segment-unpublished",
    "segment-published",
    "after-commit",
    "before-reply",
    "after-reply",
    "index-unwritten",
    "index-written",
    "views-unwritten",
    "views-written",
    "checkpoint-unsigned",
    "checkpoint-replaced",
    "views-unflushed",
    "views-flushed",
    "index-unflushed",
    "index-flushed",
];

/// The points of what happens to keys seldom and on an operator's word, in their order.
pub const KEY_POINTS: &[&str] = &[
    "keyring-unrotated",
    "keyring-rotated",
    "tombstone-unwritten",
    "tombstone-written",
    "keys-copied",
    "keys-unreplaced",
    "keys-replaced",
    "keys-rewritten",
];

/// Ends the process here if this point's turn has come; empty outside debug builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn reached(_point: &str) {}

/// Ends the process here if this point's turn has come; empty outside debug builds.
#[cfg(debug_assertions)]
pub(crate) fn reached(point: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let armed = std::env::var("COUNTERSIGN_CRASH_AT").ok()?;
        let (name, turn) = armed.split_once(':')?;
        Some((name.into(), AtomicU64::new(turn.parse().ok()?)))
    });
    let mut listed = POINTS.iter().chain(EPOCH_POINTS).chain(KEY_POINTS);
    debug_assert!(listed.any(|known| *known == point), "{point} is in no list");
    if let Some((name, turns_left)) = &*ARMED
        && name == point
        && turns_left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
