//! Facts across accounts: which account a name, a challenge or a reset case belongs to, when an
//! agent asked for resets, and who knocked on doors that do not exist. What the log holds of them is found through the index; decisions of a
//! batch that is not durable yet are the batch's own.

use std::collections::{HashMap, VecDeque};

use countersign_projections::Entry;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountRegistered;
use countersign_schemas::ids::{CaseId, agent_key};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

use super::vault::{Vault, VaultError};
use crate::account::quota::Act;
use crate::account::{Held, PasswordAttempts, Policy, USERNAME_FIELD};
use crate::log::index::Fact;

/// Unknown names whose wrong passwords are remembered; the one remembered longest is dropped.
pub const STRANGERS_MAX: usize = 65_536;

/// The fact across accounts that an event holds.
///
/// # Errors
/// [`VaultError`] when a sealed name does not open where it stands.
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

/// What an erasure says across accounts.
pub fn erased(record: &Record, event: &Event) -> Fact {
    Fact::Erased(acted(record, event))
}

/// The key under which what an agent did is counted, and when that was.
fn acted(record: &Record, event: &Event) -> Option<([u8; 16], Micros)> {
    let act = Act::of_event(event)?;
    Some((act.key(&record.meta.caller), record.recorded_at))
}

/// Wrong passwords sent to names that nobody has, so that such a name waits as an account does.
///
/// In memory only: the log keeps no trace of which name it was.
#[derive(Debug, Default)]
pub struct Strangers {
    attempts: HashMap<[u8; 16], PasswordAttempts>,
    order: VecDeque<[u8; 16]>,
}

impl Strangers {
    /// The wrong passwords sent to a name, by the name's keyed hash.
    pub fn of(&self, name: &[u8; 16]) -> PasswordAttempts {
        self.attempts.get(name).cloned().unwrap_or_default()
    }

    /// Counts a wrong password as an account would.
    pub fn failed(&mut self, name: [u8; 16], source: [u8; 8], now: Micros, policy: &Policy) {
        if !self.attempts.contains_key(&name) {
            if self.order.len() == STRANGERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.attempts.remove(&oldest);
            }
            self.order.push_back(name);
        }
        let attempts = self.attempts.entry(name).or_default();
        let counted = attempts.counted(source, now, policy);
        attempts.failed(source, now, &counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    #[test]
    fn an_unknown_name_waits_as_an_account_does() {
        let (mut strangers, policy) = (Strangers::default(), Policy::default());
        for _ in 0..11 {
            assert_eq!(strangers.of(&[1; 16]).waiting_s([7; 8], NOW), None);
            strangers.failed([1; 16], [7; 8], NOW, &policy);
        }
        assert_eq!(strangers.of(&[1; 16]).waiting_s([7; 8], NOW), Some(5));
        assert_eq!(strangers.of(&[2; 16]).waiting_s([7; 8], NOW), None);
    }
}
