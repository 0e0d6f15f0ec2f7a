//! The bus, over a real nats-server: discovery, strictness, headers, identity, and stopping
//! without losing a request.
#![allow(clippy::unwrap_used)]

mod contract;
mod identity;
mod life;
mod service;
mod strict;
