//! Wrong passwords that came with a right code, by account, whatever names it.
//!
//! A password and a code that come together pass every wait for passwords. Somebody who has a code
//! of the owner's, a stolen phone or one backup code, must not guess the password past those waits,
//! from however many addresses. Somebody who has none cannot fill this count, so it keeps no owner
//! out. In memory only: a restart forgets it.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;

use crate::account::{PasswordAttempts, Policy};
use crate::engine::counts::source::SourceKey;

/// Accounts that are remembered; the one remembered longest is dropped.
const ACCOUNTS_MAX: usize = 65_536;
/// All sources are one here.
const ANY: SourceKey = [0; 8];

// BUG: right-codes-in-memory: a restart forgets them.
/// The counts.
#[derive(Debug, Default)]
pub struct RightCodes {
    attempts: HashMap<StreamKey, PasswordAttempts>,
    order: VecDeque<StreamKey>,
}

impl RightCodes {
    /// The seconds for which a pair at this account passes no wait.
    pub fn waiting_s(&self, account: &StreamKey, now: Micros) -> Option<u64> {
        self.attempts.get(account)?.waiting_s(ANY, now)
    }

    /// Counts a wrong password beside a right code, as wrong passwords of one source are counted.
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
