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
