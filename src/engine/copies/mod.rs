//! Copies of log and keys, the folders that may hold them, and the verification of a copy.

pub(super) mod backup;
pub(super) mod needed;
pub(super) mod places;
pub(super) mod verify;
