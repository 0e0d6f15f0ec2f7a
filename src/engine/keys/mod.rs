//! Keys: sealing the fields of events, signing checkpoints, and the list of keys.

pub(super) mod assertions;
pub(super) mod checkpoints;
pub(super) mod key_list;
pub(super) mod rotations;
pub(super) mod vault;
