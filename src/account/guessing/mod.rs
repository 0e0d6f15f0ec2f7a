//! Computes the odds that an attacker who has the password guesses a code under the attempts
//! policy.
//!
//! The number of comparisons comes from running the rules themselves, [`super::decide`] and
//! [`super::Account::evolve`], for a virtual month of 30 days against an attacker who has every
//! source, knows every number of the policy and guesses in the first second in which a guess is
//! compared.
//!
//! # From comparisons to odds
//!
//! A six-digit code is a 31-bit number modulo 10⁶, so the likeliest codes have
//! p = 2148 / 2³¹ = 1.00024e-6 each (RFC 4226 A.4). With a window of w steps either way:
//!
//! - A *single* code is right when it equals one of W = 2w + 1 codes, so v compared ones all miss
//!   with (1 − p)^(W·v). An attacker who never repeats a guess within a step gains less than
//!   (W·v·p)² on that, 1e-9 at the shipped numbers.
//! - A *pair* is right when it equals the codes of two neighbouring steps (s, s+1) that both lie in
//!   the window. Only 2w of its W steps have their successor inside, so there are 2w right pairs,
//!   not W, each with p²: u compared ones all miss with (1 − 2w·p²)^u.
//!
//! Spent steps only lower this, so they are not counted in the attacker's disfavour.
//!
//! Each `clear-attempts` by support gives one more budget of single codes. These guesses are
//! counted too, with a new agent who clears whenever one may; the limit on the odds is for a month
//! without clears.

pub(super) mod attack;
pub mod password_bound;
pub mod usual_limits;

use serde::Serialize;

use super::Policy;
use attack::{Attack, Guess, Strategy};

/// The odds of the likeliest six-digit code (RFC 4226 A.4).
pub const CODE_ODDS: f64 = 2_148.0 / 2_147_483_648.0;
/// The limit on the odds of the shipped policy, per account and month.
pub const ODDS_MAX: f64 = 3.1e-5;
/// The virtual month, in seconds.
pub const MONTH_S: u64 = 30 * DAY_S;
/// A day, in seconds.
pub(super) const DAY_S: u64 = 86_400;

/// What the owner does in the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Nothing.
    Away,
    /// Logs in once every 24 hours, which ends the failures in a row, a wait and a suspension.
    Daily,
}

impl Owner {
    /// Returns when the owner logs in for the `nth` time, from 1, in seconds after the attack
    /// began.
    pub(super) fn login_s(self, nth: u64) -> Option<u64> {
        match self {
            Self::Away => None,
            // Not on the hour, when usual waits end anyway and a login would seem to gain nothing.
            Self::Daily => Some(nth * DAY_S + 450),
        }
    }
}

/// What support does in the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// Nothing.
    Idle,
    /// Clears the attempts as soon as the budget is spent and the rules allow it, with another
    /// agent each time.
    Clears,
}

/// Wrong guesses that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Guesses of a single code.
    pub singles: u64,
    /// Guesses of two consecutive codes.
    pub pairs: u64,
}

impl Compared {
    /// Returns the odds that one of the guesses was right, 0–1.
    ///
    /// `code_odds` is the probability of the likeliest code, `window_steps` the number of steps
    /// that a code may be early or late.
    pub fn odds(self, code_odds: f64, window_steps: u64) -> f64 {
        let neighbours = 2.0 * window_steps as f64;
        let single_misses = (neighbours + 1.0) * (-code_odds).ln_1p();
        let pair_misses = (-neighbours * code_odds * code_odds).ln_1p();
        -(self.singles as f64 * single_misses + self.pairs as f64 * pair_misses).exp_m1()
    }
}

/// Counts the guesses that the policy lets an attacker compare in 30 days, by running the rules.
///
/// Each count is the highest of any strategy: to send pairs as long as they are required, or to
/// stop after some failures of a window and return with single codes later. If a different strategy
/// leads for each count, no attacker reaches both, and the odds of their sum are an upper bound.
pub fn compared(policy: &Policy, owner: Owner, support: Support) -> Compared {
    let patient = policy.code_failures_free.max(1)..=policy.code_failures_budget;
    let strategies = patient
        .map(|failures| Strategy::Patient { failures })
        .chain([Strategy::Greedy]);
    let months = strategies.map(|strategy| {
        let wrong = |_: Guess| (Vec::new(), Vec::new());
        let month = Attack::new(policy, strategy, wrong).month(owner, support);
        assert_eq!(month.right, None, "what matches no step is never right");
        month.compared
    });
    months.fold(Compared::default(), |most, month| Compared {
        singles: most.singles.max(month.singles),
        pairs: most.pairs.max(month.pairs),
    })
}
