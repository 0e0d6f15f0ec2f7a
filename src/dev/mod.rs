//! The dev room: a real broker on this machine, and the tour, for `countersign dev` and the tests.

mod audit_tour;
pub mod broker;
pub mod fetch;
pub mod find;
mod reset_tour;
pub mod tour;
