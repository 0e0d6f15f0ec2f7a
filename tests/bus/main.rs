//! The bus, over a real nats-server: discovery, strictness, headers, identity, what a
//! command leaves behind, and stopping without losing a request.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

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
mod look_ups;
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
