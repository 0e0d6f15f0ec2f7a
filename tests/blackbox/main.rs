//! Black box: the real binary on a real nats-server, bytes in and bytes out.
//!
//! The suite knows docs/reference/contract.md and nothing else: requests are JSON written by hand,
//! another crate computes the codes, and every reply is compared with the laws of the contract.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod agents;
mod assertions;
mod auditing;
mod bad_input;
mod brokers;
mod canary;
mod changed;
mod cli;
mod configuring;
mod connecting;
mod copies;
#[path = "../credentials/mod.rs"]
mod credentials;
mod directory;
mod doctor;
mod door;
mod erasure;
mod floods;
mod gateways;
mod halting;
mod idempotency;
mod identity;
mod life;
mod losses;
mod lying_service;
mod metrics;
mod notices;
mod operating;
mod output;
mod pages;
#[path = "../patience/mod.rs"]
mod patience;
mod publishing;
mod python;
mod races;
#[path = "../raw/mod.rs"]
mod raw;
mod refusals;
mod repeats;
mod reset;
mod rotation;
mod starting;
mod successes;
mod support;
mod trouble;
mod watching;
mod wiping;
