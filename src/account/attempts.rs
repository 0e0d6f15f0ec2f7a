//! Wrong app codes: what the account remembers of them, and their consequences.
//!
//! ```text
//!            wrong code 1–3          wrong code 4…10            10 in 30 days
//!   free ───────────────────▶ free ──────────────────▶ waiting ───────────────▶ double-code mode
//!                                   5 s, doubling        │ time                  │ 4 pairs an hour
//!                                                        ▼                       ▼
//!                                                      free            100 in a row: suspended
//! ```
//!
//! A success ends the failures in a row and a wait, never the budget. A backup code works in every
//! state and ends a suspension by failures, so a password thief cannot shut the owner out. It does
//! not end a suspension by support: see `suspension`.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::{
    AttemptsThrottled, DoubleCodeRequired, FactorSuspended, SuspendedCause,
};
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use crate::account::policy::Policy;

/// The number of failures whose times are remembered: the most that any policy may count.
pub const FAILURES_MAX: usize = 100;
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

/// Why app codes are suspended, which decides what ends the suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspended {
    /// Too many failures in a row: a backup code ends it.
    Failures,
    /// Support, for a stolen phone: only the end of that authenticator ends it.
    Support,
}

/// Wrong app codes of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeAttempts {
    /// The times of the last failures, oldest first.
    pub failed_at: Vec<Micros>,
    /// The times of the last wrong pairs, oldest first.
    pub pair_failed_at: Vec<Micros>,
    /// Failures since the last accepted code.
    pub consecutive: u16,
    /// The end of the wait during which no app code is compared.
    pub throttled_until: Option<Micros>,
    /// The end of double-code mode, which requires two consecutive codes.
    pub double_code_until: Option<Micros>,
    /// Why app codes are suspended; none while they are accepted.
    pub suspended: Option<Suspended>,
}

/// What an account does with an app code before it compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It compares one code.
    Open,
    /// It compares only a pair of consecutive codes.
    DoubleCode,
    /// It compares nothing for so many seconds.
    Wait(u64),
    /// It compares nothing until the suspension ends.
    Suspended,
}

impl CodeAttempts {
    /// Returns what happens to an app code at `now`. A suspension comes first, then a wait, then
    /// double-code mode with its wrong pairs of the last hour.
    pub fn gate(&self, now: Micros, policy: &Policy) -> Gate {
        if self.suspended.is_some() {
            return Gate::Suspended;
        }
        if let Some(until) = self.throttled_until.filter(|until| now < *until) {
            return Gate::Wait(until.seconds_since(now));
        }
        if self.double_code_until.is_none_or(|until| now >= until) {
            return Gate::Open;
        }
        let hour_ago = now.minus_s(HOUR_S);
        let tries = usize::from(policy.double_code_tries_per_hour);
        let in_hour: Vec<_> = self
            .pair_failed_at
            .iter()
            .filter(|at| **at > hour_ago)
            .collect();
        match in_hour.len().checked_sub(tries) {
            None => Gate::DoubleCode,
            Some(extra) => Gate::Wait(in_hour[extra].plus_s(HOUR_S).seconds_since(now)),
        }
    }

    /// Returns the failures in the budget's window and the failures in a row, each with one more.
    pub fn counted(&self, now: Micros, policy: &Policy) -> (u16, u16) {
        let since = now.minus_s(policy.code_failures_window_s);
        let earlier = self.failed_at.iter().filter(|at| **at > since).count();
        let failures = (earlier + 1).min(FAILURES_MAX) as u16;
        (failures, self.consecutive.saturating_add(1))
    }

    /// Returns the failures of the last 24 hours with one more, at most [`FAILURES_MAX`].
    pub fn counted_today(&self, now: Micros) -> u16 {
        let since = now.minus_s(DAY_S);
        let earlier = self.failed_at.iter().filter(|at| **at > since).count();
        (earlier + 1).min(FAILURES_MAX) as u16
    }

    /// Returns the events of one more failure, of a pair or a single code, beside the event that
    /// counts it: a suspension or a wait, and double-code mode.
    pub fn consequences(&self, now: Micros, pair: bool, policy: &Policy) -> Vec<Event> {
        let (failures, consecutive) = self.counted(now, policy);
        let mut events = Vec::new();
        let suspends = consecutive >= policy.suspend_after;
        if suspends {
            events.push(Event::FactorSuspended(FactorSuspended {
                cause: SuspendedCause::Failures,
                reason: None,
                ticket: None,
            }));
        }
        let wait_s = policy.wait_s(u32::from(
            failures.saturating_sub(policy.code_failures_free),
        ));
        if !suspends && !pair && wait_s > 0 {
            let until = now.plus_s(wait_s);
            events.push(Event::AttemptsThrottled(AttemptsThrottled { until }));
        }
        // Also recorded for a failure that suspends: otherwise the backup code that ends the
        // suspension would allow single codes again although the budget is spent.
        if failures >= policy.code_failures_budget {
            let until = self.budget_free_at(now, policy);
            events.push(Event::DoubleCodeRequired(DoubleCodeRequired { until }));
        }
        events
    }

    /// Returns when the window holds fewer failures than the budget, with one at `now` included.
    fn budget_free_at(&self, now: Micros, policy: &Policy) -> Micros {
        let budget = usize::from(policy.code_failures_budget);
        let mut times = self.failed_at.clone();
        times.push(now);
        times[times.len().saturating_sub(budget)].plus_s(policy.code_failures_window_s)
    }

    /// Remembers a failure that an event counted.
    pub(in crate::account) fn failed(&mut self, at: Micros, pair: bool, consecutive: u16) {
        push_bounded(&mut self.failed_at, at);
        if pair {
            push_bounded(&mut self.pair_failed_at, at);
        }
        self.consecutive = consecutive;
    }

    /// Remembers an accepted code; the budget and a suspension by support stay.
    pub(in crate::account) fn succeeded(&mut self) {
        self.consecutive = 0;
        self.throttled_until = None;
        self.suspended = self.suspended.filter(|by| *by == Suspended::Support);
    }

    /// Returns whether there is a wait, double-code mode or a counted failure to clear now.
    pub(super) fn has_counted(&self, now: Micros, policy: &Policy) -> bool {
        let since = now.minus_s(policy.code_failures_window_s);
        let is_ahead = |until: Option<Micros>| until.is_some_and(|until| now < until);
        is_ahead(self.throttled_until)
            || is_ahead(self.double_code_until)
            || self.failed_at.iter().any(|at| *at > since)
    }

    /// Forgets everything that support clears: all but the failures in a row and a suspension.
    pub(super) fn cleared(&mut self) {
        self.failed_at.clear();
        self.pair_failed_at.clear();
        self.throttled_until = None;
        self.double_code_until = None;
    }
}

fn push_bounded(times: &mut Vec<Micros>, at: Micros) {
    if times.len() == FAILURES_MAX {
        times.remove(0);
    }
    times.push(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn failed_times(times: impl IntoIterator<Item = Micros>) -> CodeAttempts {
        let mut attempts = CodeAttempts::default();
        for (n, at) in times.into_iter().enumerate() {
            let pair = n >= 10;
            let consequences = attempts.consequences(at, pair, &Policy::default());
            attempts.failed(at, pair, n as u16 + 1);
            for event in consequences {
                match event {
                    Event::AttemptsThrottled(e) => attempts.throttled_until = Some(e.until),
                    Event::DoubleCodeRequired(e) => attempts.double_code_until = Some(e.until),
                    Event::FactorSuspended(_) => attempts.suspended = Some(Suspended::Failures),
                    other => panic!("{other:?}"),
                }
            }
        }
        attempts
    }

    #[test]
    fn a_failure_counts_until_its_window_is_over_and_not_a_moment_longer() {
        let policy = Policy::default();
        let attempts = CodeAttempts {
            failed_at: vec![NOW],
            ..CodeAttempts::default()
        };
        let ends = NOW.plus_s(policy.code_failures_window_s);
        assert_eq!(attempts.counted(ends, &policy).0, 1);
        assert_eq!(attempts.counted(Micros(ends.0 - 1), &policy).0, 2);
        let tomorrow = NOW.plus_s(DAY_S);
        assert_eq!(attempts.counted_today(tomorrow), 1);
        assert_eq!(attempts.counted_today(Micros(tomorrow.0 - 1)), 2);
    }

    #[test]
    fn three_failures_set_no_wait_and_the_fourth_sets_five_seconds() {
        let policy = Policy::default();
        assert_eq!(failed_times([NOW; 3]).gate(NOW, &policy), Gate::Open);
        assert_eq!(failed_times([NOW; 4]).gate(NOW, &policy), Gate::Wait(5));
        assert_eq!(failed_times([NOW; 5]).gate(NOW, &policy), Gate::Wait(10));
        assert_eq!(
            failed_times([NOW; 4]).gate(NOW.plus_s(5), &policy),
            Gate::Open
        );
    }

    #[test]
    fn the_tenth_failure_in_thirty_days_asks_for_two_codes_until_one_is_thirty_days_old() {
        let policy = Policy::default();
        let days = (0..10).map(|d| NOW.plus_s(d * 86_400));
        let attempts = failed_times(days);
        let later = NOW.plus_s(20 * 86_400);
        assert_eq!(attempts.gate(later, &policy), Gate::DoubleCode);
        assert_eq!(attempts.gate(NOW.plus_s(30 * 86_400), &policy), Gate::Open);
    }

    #[test]
    fn four_wrong_pairs_in_an_hour_and_the_fifth_waits_for_the_hour() {
        let policy = Policy::default();
        let start = NOW.plus_s(10_000);
        let pairs = (0..4).map(|n| start.plus_s(n));
        let attempts = failed_times([NOW; 10].into_iter().chain(pairs));
        assert_eq!(attempts.gate(start.plus_s(4), &policy), Gate::Wait(3_596));
        assert_eq!(
            attempts.gate(start.plus_s(3_600), &policy),
            Gate::DoubleCode
        );
    }

    #[test]
    fn the_hundredth_failure_in_a_row_suspends() {
        let hours = (0..100).map(|h| NOW.plus_s(h * 3_600));
        let attempts = failed_times(hours);
        assert_eq!(attempts.suspended, Some(Suspended::Failures));
        assert_eq!(attempts.failed_at.len(), FAILURES_MAX);
    }
}
