//! Contract types.

pub mod code;
pub mod sealed;
