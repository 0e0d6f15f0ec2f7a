//! Every type of Countersign that crosses a wire or reaches the disk.
//!
//! This crate only encodes and decodes, and depends on no other crate of the project. Names are the
//! format: renaming a field here changes the contract.

pub mod admin;
pub mod audit;
mod body;
mod canonical;
pub mod catalogue;
pub mod code;
pub mod command;
pub mod concerns;
pub mod context;
pub mod event;
mod forms;
pub mod ids;
mod meta;
mod open_part;
pub mod published;
pub mod query;
pub mod record;
pub mod refusal;
pub mod reply;
pub mod sealed;
pub mod secret;
pub mod strict;
pub mod support;
pub mod support_reply;
mod text;
pub mod time;
pub mod whole;

pub use forms::stored_forms;
pub use text::is_seen;
