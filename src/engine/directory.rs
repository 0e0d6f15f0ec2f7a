//! Facts across accounts: which account a name or a challenge belongs to, and who knocked on
//! doors that do not exist. Folded from the log, owned by the writer, read by the evidence.

use std::collections::{HashMap, VecDeque};

use countersign_projections::Entry;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountRegistered;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;

use super::vault::{Vault, VaultError};
use crate::account::{Held, PasswordAttempts, Policy, USERNAME_FIELD};

/// Unknown names whose wrong passwords are remembered; the one idle longest is dropped.
pub const STRANGERS_MAX: usize = 65_536;

/// The maps.
#[derive(Debug, Default)]
pub struct Directory {
    names: HashMap<[u8; 16], StreamKey>,
    challenges: HashMap<[u8; 16], StreamKey>,
    /// Challenges by when they lapse; all live equally long, so the front lapses first.
    lapsing: VecDeque<(Micros, [u8; 16])>,
    strangers: HashMap<[u8; 16], PasswordAttempts>,
    stranger_order: VecDeque<[u8; 16]>,
}

impl Directory {
    /// The account that holds a name, by the name's keyed hash.
    pub fn by_name(&self, name: &[u8; 16]) -> Option<StreamKey> {
        self.names.get(name).copied()
    }

    /// The account that a challenge was opened for, by the challenge's hash.
    pub fn by_challenge(&self, challenge: &[u8; 16]) -> Option<StreamKey> {
        self.challenges.get(challenge).copied()
    }

    /// Takes an event in.
    ///
    /// # Errors
    /// [`VaultError`] when a sealed name does not open where it stands.
    pub fn fold(&mut self, vault: &Vault, entry: &Entry) -> Result<(), VaultError> {
        let (stream, record) = (entry.record.stream_key, &entry.record);
        match &entry.event {
            Event::AccountRegistered(AccountRegistered {
                username: Some(username),
            }) => {
                let held = Held {
                    value: username.clone(),
                    version: record.version,
                    event_type: record.event_type,
                    field: USERNAME_FIELD,
                };
                let bytes = vault.open(stream, &held)?;
                let name = std::str::from_utf8(&bytes).map_err(|_| VaultError::Changed)?;
                self.names.insert(vault.keyring().name_hash(name), stream);
            }
            Event::LoginStarted(e) => {
                self.challenge_opened(e.challenge, stream, e.expires_at, record.recorded_at);
            }
            _ => {}
        }
        Ok(())
    }

    fn challenge_opened(
        &mut self,
        challenge: [u8; 16],
        stream: StreamKey,
        expires_at: Micros,
        now: Micros,
    ) {
        while let Some((_, lapsed)) = self.lapsing.front().filter(|(at, _)| *at <= now) {
            self.challenges.remove(lapsed);
            self.lapsing.pop_front();
        }
        self.challenges.insert(challenge, stream);
        self.lapsing.push_back((expires_at, challenge));
    }

    /// The wrong passwords sent to an unknown name, by its keyed hash.
    pub fn stranger(&self, name: &[u8; 16]) -> PasswordAttempts {
        self.strangers.get(name).cloned().unwrap_or_default()
    }

    /// Counts a wrong password sent to an unknown name as an account would.
    pub fn stranger_failed(
        &mut self,
        name: [u8; 16],
        source: [u8; 8],
        now: Micros,
        policy: &Policy,
    ) {
        if !self.strangers.contains_key(&name) {
            if self.stranger_order.len() == STRANGERS_MAX
                && let Some(oldest) = self.stranger_order.pop_front()
            {
                self.strangers.remove(&oldest);
            }
            self.stranger_order.push_back(name);
        }
        let attempts = self.strangers.entry(name).or_default();
        let (failures, wait_until) = attempts.counted(source, now, policy);
        attempts.failed(source, now, failures, wait_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    #[test]
    fn a_challenge_is_forgotten_once_it_has_lapsed() {
        let mut directory = Directory::default();
        directory.challenge_opened([1; 16], StreamKey([9; 16]), NOW.plus_s(300), NOW);
        assert_eq!(directory.by_challenge(&[1; 16]), Some(StreamKey([9; 16])));
        directory.challenge_opened(
            [2; 16],
            StreamKey([9; 16]),
            NOW.plus_s(600),
            NOW.plus_s(300),
        );
        assert_eq!(directory.by_challenge(&[1; 16]), None);
    }

    #[test]
    fn an_unknown_name_waits_as_an_account_does() {
        let (mut directory, policy) = (Directory::default(), Policy::default());
        for _ in 0..11 {
            assert_eq!(directory.stranger(&[1; 16]).waiting_s([7; 8], NOW), None);
            directory.stranger_failed([1; 16], [7; 8], NOW, &policy);
        }
        assert_eq!(directory.stranger(&[1; 16]).waiting_s([7; 8], NOW), Some(5));
        assert_eq!(directory.stranger(&[2; 16]).waiting_s([7; 8], NOW), None);
    }
}
