//! Wrong passwords that came with a right code, by the text that names the account.
//!
//! A password and a code that come together pass every wait for passwords. Somebody who has a code
//! of the owner's, a stolen phone or one backup code, must not guess the password past those waits,
//! from however many addresses. Somebody who has none cannot fill this count, so it keeps no owner
//! out. In memory only: a restart forgets it.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::time::Micros;

use super::vault::SourceKey;
use crate::account::{PasswordAttempts, Policy};

/// Texts that are remembered; the one remembered longest is dropped.
const TEXTS_MAX: usize = 65_536;
/// All sources are one here.
const ANY: SourceKey = [0; 8];

// BUG: right-codes-in-memory: a restart forgets them.
/// The counts.
#[derive(Debug, Default)]
pub struct RightCodes {
    attempts: HashMap<[u8; 16], PasswordAttempts>,
    order: VecDeque<[u8; 16]>,
}

impl RightCodes {
    /// The seconds for which a pair at this text passes no wait.
    pub fn waiting_s(&self, text: &[u8; 16], now: Micros) -> Option<u64> {
        self.attempts.get(text)?.waiting_s(ANY, now)
    }

    /// Counts a wrong password beside a right code, as wrong passwords of one source are counted.
    pub fn failed(&mut self, text: [u8; 16], now: Micros, policy: &Policy) {
        if !self.attempts.contains_key(&text) {
            if self.order.len() == TEXTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.attempts.remove(&oldest);
            }
            self.order.push_back(text);
        }
        let attempts = self.attempts.entry(text).or_default();
        let counted = attempts.counted(ANY, now, policy);
        attempts.failed(ANY, now, &counted);
    }
}
