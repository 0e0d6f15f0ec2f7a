//! Countersign: an event-sourced two-factor-authentication service.

pub mod account;
pub mod bus;
pub mod cli;
pub mod crash_point;
pub mod crypto;
pub mod dev;
pub mod engine;
pub mod log;
