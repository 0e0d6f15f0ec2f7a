//! The bus room: the NATS service in front of the engine.
//!
//! ```text
//!  subject ─▶ endpoint loop ─▶ router: size, caller, headers, body ─▶ engine or query threads
//!                                                                            │ ReplyGuard
//!  reply subject ◀─ replier: renders, publishes, counts ◀─ 8,192 slots ◀─────┘
//!
//!  stream COUNTERSIGN_EVENTS ◀─ publisher: whole commands, one atomic batch at a time ◀─ log
//! ```
//!
//! Nothing between a message and the engine waits, and no request is executed that cannot be
//! answered: its slot for the answer is reserved first.

mod admission;
#[cfg(test)]
mod agreement_tests;
mod answering;
mod batch;
mod connection;
mod connection_error;
mod directory;
mod discovery;
mod documents;
mod endpoints;
mod found;
mod gate;
mod greeting;
mod header_block;
pub mod headers;
mod identity;
mod jetstream;
mod lane;
#[cfg(test)]
mod looks_tests;
mod presence;
mod publisher;
mod qr;
mod queries;
mod replier;
mod reply;
mod reply_reset;
mod router;
mod service;
mod session;
mod shares;
mod stats;
mod stream;
mod stream_error;
mod traffic;
mod user_token;
mod violation;

pub use connection::{Connection, DEFAULT_SERVER, OLDEST_SERVER, check_version};
pub use connection_error::ConnectionError;
pub use directory::DirectoryConfig;
pub use documents::Documents;
pub use endpoints::{Endpoint, Operation, PREFIX, all as all_endpoints};
pub use greeting::{MAX_PAYLOAD_LEAST, MAX_PAYLOAD_MOST};
pub use header_block::parse as parse_header_block;
pub use identity::Identity;
pub use publisher::Publishing;
pub use replier::IN_FLIGHT_MAX;
pub use router::PAYLOAD_BYTES_MAX;
pub use service::{BusConfig, BusError, DRAIN_MAX, serve};
pub use stats::{BOUNDS_US, Counts};
pub use stream::drift as stream_drift;
pub use stream_error::StreamError;
pub use traffic::Traffic;
pub use user_token::user_token;
pub use violation::Violation;
