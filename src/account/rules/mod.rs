//! The rules, one file per topic: what a command is checked for, in which order, and which events
//! it records. Each topic folds its own events.

pub(super) mod backup_codes;
pub(super) mod clear;
pub(super) mod codes;
pub(super) mod credentials;
pub(super) mod enrolment;
pub(super) mod erasure;
pub(super) mod login;
pub(super) mod pair;
pub mod quota;
pub(super) mod reset;
pub(super) mod rotation;
pub(super) mod suspension;
