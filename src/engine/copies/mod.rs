//! Copies of log and keys, where they may go, and the proof of one.

pub(super) mod backup;
mod believed;
pub(super) mod places;
pub(super) mod verify;
