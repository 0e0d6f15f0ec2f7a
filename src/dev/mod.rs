//! The dev room: a real broker on this machine, for `countersign dev` and for the tests.

mod audit_tour;
pub mod broker;
pub mod fetch;
pub mod find;
mod reset_tour;
pub mod tour;
