//! Facts across accounts: which account a name, a challenge or a reset case belongs to, and when an
//! agent asked for resets. Facts of the log are found through the index; a batch that is not
//! durable yet has its own.

use countersign_projections::Entry;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountRegistered;
use countersign_schemas::ids::{CaseId, agent_key};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

use crate::account::rules::quota::Act;
use crate::account::{Held, USERNAME_FIELD};
use crate::engine::keys::vault::{Vault, VaultError};
use crate::log::index::Fact;

/// Returns the fact across accounts in an event, if it has one.
///
/// # Errors
/// [`VaultError`] if a sealed name does not open in its place.
pub fn fact(vault: &Vault, entry: &Entry) -> Result<Option<Fact>, VaultError> {
    match &entry.event {
        Event::AccountRegistered(AccountRegistered {
            username: Some(username),
        }) => {
            let held = Held {
                value: username.clone(),
                version: entry.record.version,
                event_type: entry.record.event_type,
                field: USERNAME_FIELD,
            };
            let bytes = match vault.open(entry.record.stream_key, &held) {
                // The erasure that follows frees the name, whatever it was.
                Err(VaultError::Erased) => return Ok(None),
                opened => opened?,
            };
            let name = std::str::from_utf8(&bytes).map_err(|_| VaultError::Changed)?;
            Ok(Some(Fact::Name(vault.keyring().name_hash(name))))
        }
        Event::LoginStarted(e) => Ok(Some(Fact::Challenge(e.challenge, e.expires_at))),
        Event::ResetRequested(e) => Ok(CaseId::parse(&e.case_id).ok().map(|case| Fact::Case {
            case: case.hash(),
            agent: agent_key(&entry.record.meta.caller),
            at: entry.record.recorded_at,
        })),
        Event::AccountErased(_) => Ok(Some(erased(&entry.record, &entry.event))),
        Event::EpochStarted(_) | Event::PolicyInForce(_) | Event::SchemasInForce(_) => {
            Ok(Some(Fact::ReadAtStart(entry.record.event_type)))
        }
        event => Ok(acted(&entry.record, event).map(|(key, at)| Fact::Acted(key, at))),
    }
}

/// Returns the fact across accounts in an erasure.
pub fn erased(record: &Record, event: &Event) -> Fact {
    Fact::Erased(acted(record, event))
}

/// Returns the key under which an agent's act is counted, and when it happened.
fn acted(record: &Record, event: &Event) -> Option<([u8; 16], Micros)> {
    let act = Act::of_event(event)?;
    Some((act.key(&record.meta.caller), record.recorded_at))
}
