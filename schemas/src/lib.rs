//! Everything of Countersign that crosses a wire or reaches the disk.
//!
//! No logic beyond encoding and decoding; depends on nothing else of ours. Names are the format:
//! renaming a field here is a change of the contract.

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
