//! Contract types.

pub mod sealed;
