//! Counts how many passwords the limits let an attacker guess at one account.
//!
//! The count comes from running the rules themselves for a virtual day, against an attacker who
//! knows every number and guesses in the first second in which a guess is compared. A pair of
//! password and code does not count as a guess of a password: a wrong pair reveals nothing about
//! either.

use countersign_schemas::time::Micros;
use serde::Serialize;

use super::DAY_S;
use crate::account::{PasswordAttempts, Policy};

/// Days of the virtual month.
const MONTH_DAYS: u64 = 30;
/// When the virtual day begins.
const START: Micros = Micros(1_800_000_000 * Micros::SECOND);

/// The number of passwords that are compared at one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PasswordGuesses {
    /// In a day, from one source.
    pub one_source_day: u64,
    /// In a day, with a new source for every guess.
    pub any_sources_day: u64,
    /// In 30 days, with a new source for every guess.
    pub any_sources_month: u64,
}

/// Counts the guesses that the policy lets through.
pub fn password_guesses(policy: &Policy) -> PasswordGuesses {
    let any_sources_day = day(policy, |guess| guess);
    PasswordGuesses {
        one_source_day: day(policy, |_| 0),
        any_sources_day,
        any_sources_month: MONTH_DAYS * any_sources_day,
    }
}

/// Counts the guesses of a day, each from the source that `source_of` gives for it.
fn day(policy: &Policy, source_of: impl Fn(u64) -> u64) -> u64 {
    let mut passwords = PasswordAttempts::default();
    let (mut now, mut guesses) = (START, 0);
    while now < START.plus_s(DAY_S) {
        let source = source_of(guesses).to_le_bytes();
        match passwords.waiting_s(source, now) {
            Some(seconds) => now = now.plus_s(seconds),
            None => {
                let counted = passwords.counted(source, now, policy);
                passwords.failed(source, now, &counted);
                guesses += 1;
                // Counting stops here, since a policy may set no wait at all.
                if guesses > GUESSES_MAX {
                    return GUESSES_MAX;
                }
            }
        }
    }
    guesses
}

/// The number of guesses a day at which counting stops, since the policy has no useful bound.
const GUESSES_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::passwords::NEW_FAILURES_MAX;

    #[test]
    fn the_shipped_policy_bounds_a_source_and_a_crowd_of_any_size() {
        let guesses = password_guesses(&Policy::default());
        // 10 free, eight waits up to 640 s, and one each quarter of an hour.
        assert_eq!(guesses.one_source_day, 113);
        // The failures of new sources, and one a minute.
        let crowd = NEW_FAILURES_MAX as u64 + DAY_S / 60 - 1;
        assert_eq!(guesses.any_sources_day, crowd);
        assert_eq!(guesses.any_sources_month, 30 * crowd);
    }
}
