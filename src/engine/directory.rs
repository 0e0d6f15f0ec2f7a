//! Facts across accounts: which account a name, a challenge or a reset case belongs to, when an
//! agent asked for resets, and how often a text was tried. What the log holds of them is found through the index; decisions of a
//! batch that is not durable yet are the batch's own.

use std::collections::{HashMap, VecDeque};

use countersign_projections::Entry;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountRegistered;
use countersign_schemas::ids::{CaseId, agent_key};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

use super::vault::{SourceKey, Vault, VaultError};
use crate::account::quota::Act;
use crate::account::{Held, PasswordAttempts, Policy, USERNAME_FIELD};
use crate::log::index::Fact;

/// Texts whose wrong passwords are remembered; the one remembered longest is dropped.
pub const TEXTS_MAX: usize = 65_536;

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

// BUG: budgets-in-memory: it is in memory, so a restart forgets it.
/// Wrong passwords by the text that names an account, id or username alike, whoever has it: so a
/// name that nobody has waits as an account does.
///
/// An account counts its own. But a text can be one account's id and another's username, or only
/// one of the two: where each way of asking had a count of its own, the wait of one and the answer
/// of the other would tell which of them exists. So the same text waits the same in both ways.
///
/// In memory only: the log keeps no trace of which text it was.
#[derive(Debug, Default)]
pub struct ByText {
    attempts: HashMap<[u8; 16], PasswordAttempts>,
    order: VecDeque<[u8; 16]>,
}

impl ByText {
    /// The seconds that a source still waits at a text, which is given by its keyed hash.
    pub fn waiting_s(&self, text: &[u8; 16], source: SourceKey, now: Micros) -> Option<u64> {
        self.attempts.get(text)?.waiting_s(source, now)
    }

    /// Counts a wrong password as an account would.
    pub fn failed(&mut self, text: [u8; 16], source: SourceKey, now: Micros, policy: &Policy) {
        if !self.attempts.contains_key(&text) {
            if self.order.len() == TEXTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.attempts.remove(&oldest);
            }
            self.order.push_back(text);
        }
        let attempts = self.attempts.entry(text).or_default();
        let counted = attempts.counted(source, now, policy);
        attempts.failed(source, now, &counted);
    }

    /// Forgets the failures of a source that gave the right password, as the account does.
    pub fn succeeded(&mut self, text: &[u8; 16], source: SourceKey) {
        if let Some(attempts) = self.attempts.get_mut(text) {
            attempts.succeeded(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    #[test]
    fn an_unknown_name_waits_as_an_account_does() {
        let (mut by_text, policy) = (ByText::default(), Policy::default());
        for _ in 0..11 {
            assert_eq!(by_text.waiting_s(&[1; 16], [7; 8], NOW), None);
            by_text.failed([1; 16], [7; 8], NOW, &policy);
        }
        assert_eq!(by_text.waiting_s(&[1; 16], [7; 8], NOW), Some(5));
        assert_eq!(by_text.waiting_s(&[2; 16], [7; 8], NOW), None);
    }
}
