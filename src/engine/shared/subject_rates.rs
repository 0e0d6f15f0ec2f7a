//! How often a caller names a new account or username: counted in memory, by a clock that is an
//! argument.
//!
//! A restart forgets a minute of it; no budget of guesses rests on it.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::ids::person;
use countersign_schemas::record::Role;
use countersign_schemas::time::Micros;

/// Accounts and usernames that one caller may name in the window, without those that have an access
/// record.
pub const NEW_SUBJECTS_MAX: usize = 60;
/// The rolling window, in seconds.
pub const RATE_WINDOW_S: u64 = 60;
/// Callers that are counted at once; beyond that, the one that was seen longest ago is forgotten.
const CALLERS_MAX: usize = 4_096;

// BUG: looks-in-memory: it is in memory, so a restart forgets a minute of the count.
/// When each caller, under one spelling of its name, named a new subject, oldest first; at most
/// [`NEW_SUBJECTS_MAX`] times for each caller.
#[derive(Debug, Default)]
pub struct SubjectRates(HashMap<(Role, String), VecDeque<Micros>>);

impl SubjectRates {
    /// Counts a new subject.
    ///
    /// # Errors
    /// The seconds until the caller may name another.
    pub fn take(&mut self, (role, name): (Role, &str), now: Micros) -> Result<(), u64> {
        let caller = (role, person(name));
        if !self.0.contains_key(&caller) && self.0.len() >= CALLERS_MAX {
            self.forget_one();
        }
        let times = self.0.entry(caller).or_default();
        while times
            .front()
            .is_some_and(|at| at.plus_s(RATE_WINDOW_S) <= now)
        {
            times.pop_front();
        }
        match times.front() {
            Some(first) if times.len() >= NEW_SUBJECTS_MAX => {
                Err(first.plus_s(RATE_WINDOW_S).seconds_since(now))
            }
            Some(_) | None => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    fn forget_one(&mut self) {
        let last_seen = |(_, times): &(_, &VecDeque<Micros>)| times.back().copied();
        let oldest = self.0.iter().min_by_key(last_seen);
        if let Some(caller) = oldest.map(|(caller, _)| caller.clone()) {
            self.0.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(500_000_000);
    const EVE: (Role, &str) = (Role::Support, "eve");

    #[test]
    fn sixty_in_any_minute_and_each_caller_for_itself() {
        let mut rates = SubjectRates::default();
        for n in 0..NEW_SUBJECTS_MAX as u64 {
            assert_eq!(rates.take(EVE, NOW.plus_s(n / 2)), Ok(()));
        }
        assert_eq!(rates.take(EVE, NOW.plus_s(30)), Err(30));
        assert_eq!(
            rates.take(EVE, NOW.plus_s(59)),
            Err(1),
            "refusals cost none"
        );
        assert_eq!(rates.take((Role::Support, " Eve"), NOW.plus_s(59)), Err(1));
        assert_eq!(rates.take((Role::Audit, "eve"), NOW.plus_s(59)), Ok(()));
        assert_eq!(rates.take((Role::Support, "bob"), NOW.plus_s(59)), Ok(()));
        let again: Vec<_> = (0..3).map(|_| rates.take(EVE, NOW.plus_s(60))).collect();
        assert_eq!(again, [Ok(()), Ok(()), Err(1)]);
    }

    #[test]
    fn callers_beyond_the_table_push_out_the_one_seen_longest_ago() {
        let mut rates = SubjectRates::default();
        for n in 0..=CALLERS_MAX as u64 {
            let name = n.to_string();
            assert_eq!(rates.take((Role::Audit, &name), NOW.plus_s(n)), Ok(()));
        }
        assert_eq!(rates.0.len(), CALLERS_MAX);
        assert!(!rates.0.contains_key(&(Role::Audit, "0".into())));
    }
}
