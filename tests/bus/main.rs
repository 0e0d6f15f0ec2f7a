//! The bus, over a real nats-server: discovery, strictness, headers, identity, the events of a
//! command, and stopping without losing a request.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod access_records;
mod commands;
mod connection;
mod contract;
#[path = "../credentials/mod.rs"]
mod credentials;
mod drift;
mod fairness;
mod forged;
mod gate;
mod greetings;
mod identity;
mod instances;
mod life;
mod lost_replies;
#[path = "../patience/mod.rs"]
mod patience;
mod permissions;
mod queries;
#[path = "../raw/mod.rs"]
mod raw;
mod reset;
mod roles;
mod service;
mod strict;
