//! The promises of the wire and of the stored format, held by files that are added and never edited.
//!
//! `UPDATE_GOLDEN=1 cargo test -p countersign-schemas --test golden` adds what is missing under
//! `golden/` and in `schemas.lock`; it overwrites nothing. `UPDATE_SCHEMAS=1` rewrites `json/`,
//! which is generated.
// A list of cases is as long as the contract.
#![allow(clippy::too_many_lines, clippy::unwrap_used)]

mod audit_cases;
mod documents;
mod event_cases;
mod events;
mod files;
mod lock;
mod made_cases;
mod mutants;
mod payload_source;
mod records;
mod registered;
mod reset_cases;
mod shape;
mod wire;
mod wire_cases;
