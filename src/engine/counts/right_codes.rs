//! Wrong passwords that came with a right code, by account, however the request names it.
//!
//! A password and a code that come together bypass every wait for passwords. An attacker who has
//! one of the owner's codes, from a stolen phone or a leaked backup code, must not bypass those
//! waits to guess the password, from any number of addresses. An attacker without a code cannot
//! raise this count, so it locks no owner out. In memory only: a restart forgets it.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;

use crate::account::{PasswordAttempts, Policy};
use crate::engine::counts::source::SourceKey;

/// Accounts that are remembered; beyond that, the one remembered longest is dropped.
const ACCOUNTS_MAX: usize = 65_536;
/// The one key of all sources: they are counted together here.
const ANY: SourceKey = [0; 8];

// BUG: right-codes-in-memory: a restart forgets them.
/// The counts, by account.
#[derive(Debug, Default)]
pub struct RightCodes {
    attempts: HashMap<StreamKey, PasswordAttempts>,
    order: VecDeque<StreamKey>,
}

impl RightCodes {
    /// Returns the seconds for which a pair at this account bypasses no wait.
    pub fn waiting_s(&self, account: &StreamKey, now: Micros) -> Option<u64> {
        self.attempts.get(account)?.waiting_s(ANY, now)
    }

    /// Counts a wrong password beside a right code, by the rules for wrong passwords of one source.
    pub fn failed(&mut self, account: StreamKey, now: Micros, policy: &Policy) {
        if !self.attempts.contains_key(&account) {
            if self.order.len() == ACCOUNTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.attempts.remove(&oldest);
            }
            self.order.push_back(account);
        }
        let attempts = self.attempts.entry(account).or_default();
        let counted = attempts.counted(ANY, now, policy);
        attempts.failed(ANY, now, &counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn account(n: usize) -> StreamKey {
        StreamKey((n as u128).to_le_bytes())
    }

    #[test]
    fn wrong_passwords_beside_right_codes_wait_by_account_and_from_every_address_at_once() {
        let (mut counts, policy) = (RightCodes::default(), Policy::default());
        for _ in 0..policy.password_failures_free {
            assert_eq!(counts.waiting_s(&account(1), NOW), None);
            counts.failed(account(1), NOW, &policy);
        }
        for wait in [5, 10, 20] {
            counts.failed(account(1), NOW, &policy);
            assert_eq!(counts.waiting_s(&account(1), NOW), Some(wait));
            let over = NOW.plus_s(wait);
            assert_eq!(counts.waiting_s(&account(1), over), None);
        }
        assert_eq!(counts.waiting_s(&account(2), NOW), None);
    }

    #[test]
    fn a_full_table_forgets_the_account_that_is_in_it_longest() {
        let (mut counts, policy) = (RightCodes::default(), Policy::default());
        for _ in 0..=policy.password_failures_free {
            counts.failed(account(0), NOW, &policy);
            counts.failed(account(1), NOW, &policy);
        }
        for n in 2..ACCOUNTS_MAX {
            counts.failed(account(n), NOW, &policy);
        }
        assert!(counts.waiting_s(&account(0), NOW).is_some());
        counts.failed(account(ACCOUNTS_MAX), NOW, &policy);
        assert!(counts.waiting_s(&account(0), NOW).is_none());
        assert!(counts.waiting_s(&account(1), NOW).is_some());
        assert_eq!(counts.attempts.len(), ACCOUNTS_MAX);
    }
}
