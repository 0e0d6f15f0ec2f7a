//! Countersign: an event-sourced two-factor-authentication service over NATS.
//!
//! ```text
//!                      ┌──────────── engine ─────────────────────────────────┐
//!  NATS ──▶ bus ──────▶│ queue ──▶ writer ──────────────▶ log ──▶ replies    │──▶ bus ──▶ NATS
//!           size,      │           decide ◀─▶ evidence    one                │
//!           strict     │           seal       (pool of 2) commit             │
//!           decode,    └──────────────────────────┬──────────────────────────┘
//!           caller                                └──▶ index, login view, audit trail
//! ```
//!
//! A command's way has seven steps: decode (`bus`), queue, ask the gate (`account`, pure), gather
//! the evidence that it names (`engine`), decide, commit (`log`) and reply, follow (`projections`).
//!
//! | room | what it is |
//! |---|---|
//! | [`account`] | the rules: `decide` and `evolve`, without clock, randomness or IO |
//! | [`crypto`] | codes, password hashing, sealing, the keyring and the data keys |
//! | [`log`] | the append-only log in segments, and the index over it |
//! | [`engine`] | the writer, the evidence that it asks for, and the followers of a commit |
//! | [`bus`] | the NATS service: endpoints, callers, replies, stopping without a loss |
//! | [`http`] | `/livez`, `/readyz` and `/metrics`, and the client for them |
//! | [`fair_queue`] | a bounded queue in which callers take turns, for hashes and queries |
//! | [`cli`], [`dev`] | the command line; a broker and a tour on this machine |
//!
//! What is absent, as tests enforce: no event is built outside `account`; no clock is read outside
//! `engine` and the command line; no view is read while deciding; nothing waits for NATS inside a
//! transaction; no code outside `log` depends on an append being local.

#[cfg(all(feature = "mutant-spent-codes", not(debug_assertions)))]
compile_error!(
    "mutant-spent-codes accepts every code twice: it is only for the race tests of debug builds"
);

pub mod account;
pub mod bus;
// Time enters here and in the engine; everywhere else it is an argument.
#[allow(clippy::disallowed_methods)]
pub mod cli;
pub mod crash_point;
pub mod crypto;
pub mod dev;
mod durable;
#[allow(clippy::disallowed_methods)]
pub mod engine;
pub mod fair_queue;
pub mod http;
pub mod log;
