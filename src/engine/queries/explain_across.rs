//! The facts beside its account that a recorded decision rested on, found in the log as it was
//! before.

use countersign_projections::{Entry, Filter};
use countersign_schemas::event::Event;
use countersign_schemas::ids::{Username, is_same_person, person};
use countersign_schemas::refusal::Refusal;
use countersign_schemas::time::Micros;

use super::{type_codes, unavailable};
use crate::account::explain::recording::Across;
use crate::account::rules::quota::Act;
use crate::account::{Account, Policy};
use crate::engine::Queries;
use crate::engine::keys::vault::VaultError;

/// Positions that are examined at once.
const POSITIONS_PAGE: usize = 500;

/// The facts, owned.
pub(super) struct FoundAcross {
    requested_at: Vec<Micros>,
    is_own_account: Option<bool>,
    next_key_id: Option<u32>,
}

impl FoundAcross {
    pub(super) fn across(&self) -> Across<'_> {
        Across {
            requested_at: &self.requested_at,
            is_own_account: self.is_own_account,
            next_key_id: self.next_key_id,
        }
    }
}

impl Queries {
    /// Finds what the decision of these events rested on; each fact only if one of the events needs
    /// it.
    ///
    /// # Errors
    /// `projection.behind` if the views lag, `store.unavailable` if they or the log cannot be read.
    pub(super) fn across(
        &self,
        first: &Entry,
        events: &[Event],
        before: &Account,
        policy: &Policy,
    ) -> Result<FoundAcross, Refusal> {
        let asks_for = |name: &str| events.iter().any(|event| event.name() == name);
        let caller = &*first.record.meta.caller;
        let requested_at = match events.iter().find_map(Act::of_event) {
            Some(act) => self.acts_before(first, caller, act, policy)?,
            None => Vec::new(),
        };
        let has_a_hand = ["reset-requested", "reset-approved", "reset-executed"];
        let is_own_account = match has_a_hand.into_iter().any(asks_for) {
            true => self.was_own_account(before, caller)?,
            false => Some(false),
        };
        let next_key_id = match asks_for("keys-rotated") {
            true => self.next_key_id_before(first.position)?,
            false => None,
        };
        Ok(FoundAcross {
            requested_at,
            is_own_account,
            next_key_id,
        })
    }

    /// Returns when a caller had done similar acts, within the policy's window before an event.
    fn acts_before(
        &self,
        first: &Entry,
        caller: &str,
        act: Act,
        policy: &Policy,
    ) -> Result<Vec<Micros>, Refusal> {
        let at = first.record.recorded_at;
        let from = self.first_at_or_after(at.minus_s(act.bound(policy).1))?;
        let types: Vec<_> = act.events().iter().copied().map(String::from).collect();
        let filter = Filter {
            types: type_codes(Some(&types))?,
            caller: Some(caller.to_owned()),
            account: None,
        };
        let positions = self.positions_between(&filter, from.saturating_sub(1), first.position)?;
        let mut times = Vec::new();
        for position in positions {
            let entry = self.entry(position)?;
            if Act::of_event(&entry.event) == Some(act) {
                times.push(entry.record.recorded_at);
            }
        }
        Ok(times)
    }

    /// Whether a caller's own name is the account's id or username; `None` if the username cannot
    /// be read any more.
    fn was_own_account(&self, before: &Account, caller: &str) -> Result<Option<bool>, Refusal> {
        let Some(id) = &before.id else {
            return Ok(Some(false));
        };
        if is_same_person(id.as_str(), caller) {
            return Ok(Some(true));
        }
        let (Some(held), Ok(name)) = (&before.username, Username::parse(&person(caller))) else {
            return Ok(Some(false));
        };
        let stream = countersign_schemas::ids::StreamKey::of(id);
        match self.shared.vault.open(stream, held) {
            Ok(username) => Ok(Some(*username == *name.as_str().as_bytes())),
            Err(VaultError::Erased) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Returns the number that the keys of a rotation had to have: it counts rotations, and each
    /// begins only once the previous one is done.
    pub(in crate::engine) fn next_key_id_before(
        &self,
        position: u64,
    ) -> Result<Option<u32>, Refusal> {
        let count = |name: &str| -> Result<usize, Refusal> {
            let filter = Filter {
                types: type_codes(Some(&[name.to_owned()]))?,
                ..Filter::default()
            };
            Ok(self.positions_between(&filter, 0, position)?.len())
        };
        let (begun, done) = (count("keys-rotated")?, count("data-keys-rewrapped")?);
        Ok((done >= begun).then_some(begun as u32 + 2))
    }

    /// Returns every position that a filter finds after one position (exclusive) and before
    /// another.
    ///
    /// Only for rare events: rotations, policies, one agent's requests of some days.
    pub(super) fn positions_between(
        &self,
        filter: &Filter,
        after: u64,
        before: u64,
    ) -> Result<Vec<u64>, Refusal> {
        self.wait_for(self.shared.views.audit_trail(), None)?;
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let trail = self.shared.views.audit_trail();
            let page = trail.positions(filter, after, POSITIONS_PAGE);
            let page = page.map_err(|error| unavailable(&error))?;
            found.extend(page.positions.iter().filter(|at| **at < before));
            match page.next_after {
                Some(next) if next < before => after = next,
                Some(_) | None => return Ok(found),
            }
        }
    }
}
