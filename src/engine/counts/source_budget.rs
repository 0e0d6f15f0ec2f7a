//! Wrong passwords of one address over all accounts and names: an attacker who tries one password
//! on every name is slowed down, though no single account sees more than one failure.
//!
//! In memory only, so a restart forgets it; the counts of each account and name are separate. Only
//! addresses are counted, since a caller that reports none sends the requests of all its users.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::time::Micros;

use super::source::Source;
use crate::account::Policy;

/// Addresses whose failures are remembered; beyond that, the one remembered longest is dropped.
pub const SOURCES_MAX: usize = 65_536;

/// Which sources a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Addresses only: a caller that reports none sends the requests of all its users.
    Addresses,
    /// Callers without an address too: nothing else bounds what they could bypass.
    CallersToo,
}

/// Seconds until the next attempt of an address that has a comparison under way and no free failure
/// left.
const UNDER_WAY_WAIT_S: u64 = 1;

// BUG: budgets-in-memory: it is in memory, so a restart forgets it.
/// The counts, by source.
#[derive(Debug)]
pub struct SourceBudget {
    counted: Counted,
    failures: HashMap<Source, Failures>,
    order: VecDeque<Source>,
    /// Comparisons under way, by address; only addresses that have one.
    under_way: HashMap<Source, u32>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last_at: Micros,
    wait_until: Option<Micros>,
}

impl SourceBudget {
    /// Starts without any count.
    pub fn of(counted: Counted) -> Self {
        Self {
            counted,
            failures: HashMap::new(),
            order: VecDeque::new(),
            under_way: HashMap::new(),
        }
    }

    /// Returns the source under which a request is counted, if it is counted.
    fn key(&self, source: &Source) -> Option<Source> {
        match self.counted {
            Counted::Addresses => source.is_address().then(|| source.clone()),
            Counted::CallersToo => Some(source.clone()),
        }
    }

    /// Returns the seconds that an address still has to wait. Once the comparisons under way could
    /// use up its free failures, it gets one comparison at a time: many requests at once must not
    /// pass the gate together.
    pub fn waiting_s(&self, source: &Source, now: Micros, policy: &Policy) -> Option<u64> {
        let source = &self.key(source)?;
        let failures = self.failures.get(source);
        let until = failures.and_then(|failures| failures.wait_until);
        if let Some(until) = until.filter(|until| now < *until) {
            return Some(until.seconds_since(now));
        }
        let under_way = self.under_way.get(source).copied().unwrap_or(0);
        let failed = failures.map_or(0, |failures| failures.count);
        let is_used_up = failed.saturating_add(under_way) >= policy.source_failures_free;
        (under_way > 0 && is_used_up).then_some(UNDER_WAY_WAIT_S)
    }

    /// Notes that a password from this address is about to be compared.
    pub fn begun(&mut self, source: &Source) {
        if let Some(source) = self.key(source) {
            *self.under_way.entry(source).or_default() += 1;
        }
    }

    /// Notes that the comparison is decided, or will not be made.
    pub fn ended(&mut self, source: &Source) {
        let Some(source) = self.key(source) else {
            return;
        };
        if let Some(count) = self.under_way.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&source);
            }
        }
    }

    /// Counts a wrong password, for any name. A success clears nothing: an attacker has an account
    /// too.
    pub fn failed(&mut self, source: &Source, now: Micros, policy: &Policy) {
        let Some(source) = self.key(source) else {
            return;
        };
        if !self.failures.contains_key(&source) {
            if self.order.len() == SOURCES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.failures.remove(&oldest);
            }
            self.order.push_back(source.clone());
        }
        let failures = self.failures.entry(source).or_default();
        if now >= failures.last_at.plus_s(policy.password_forget_s) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last_at = now;
        let beyond = failures.count.saturating_sub(policy.source_failures_free);
        let wait_s = policy.wait_s(beyond);
        failures.wait_until = (wait_s > 0).then(|| now.plus_s(wait_s));
    }
}

#[cfg(test)]
mod tests {
    use countersign_schemas::context::{Context, SourceIp};

    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn source(n: u32) -> Source {
        let ip = std::net::Ipv4Addr::from(n).to_string();
        let context = Context {
            ip: SourceIp::of(&ip),
            agent: None,
        };
        Source::of(Some(&context), "portal")
    }

    #[test]
    fn an_address_has_a_hundred_failures_over_all_names_and_then_waits_that_double() {
        let (mut budget, policy) = (SourceBudget::of(Counted::Addresses), Policy::default());
        for _ in 0..100 {
            assert_eq!(budget.waiting_s(&source(1), NOW, &policy), None);
            budget.failed(&source(1), NOW, &policy);
        }
        for wait in [5, 10, 20] {
            budget.failed(&source(1), NOW, &policy);
            assert_eq!(budget.waiting_s(&source(1), NOW, &policy), Some(wait));
        }
        assert_eq!(budget.waiting_s(&source(2), NOW, &policy), None);
        assert_eq!(budget.waiting_s(&source(1), NOW.plus_s(20), &policy), None);
        budget.failed(&source(1), NOW.plus_s(86_400), &policy);
        assert_eq!(
            budget.waiting_s(&source(1), NOW.plus_s(86_400), &policy),
            None,
            "forgotten"
        );
    }

    #[test]
    fn a_caller_without_an_address_is_counted_where_it_has_no_other_bound() {
        let (mut budget, policy) = (SourceBudget::of(Counted::CallersToo), Policy::default());
        let (caller, other) = (Source::of(None, "portal"), Source::of(None, "wiki"));
        for _ in 0..=policy.source_failures_free {
            budget.failed(&caller, NOW, &policy);
        }
        assert_eq!(budget.waiting_s(&caller, NOW, &policy), Some(5));
        assert_eq!(budget.waiting_s(&other, NOW, &policy), None);
    }

    #[test]
    fn failures_are_forgotten_after_a_day_without_one_and_not_before() {
        let policy = Policy::default();
        for (pause_s, wait) in [(86_399, Some(10)), (86_400, None)] {
            let mut budget = SourceBudget::of(Counted::Addresses);
            for _ in 0..=policy.source_failures_free {
                budget.failed(&source(1), NOW, &policy);
            }
            let later = NOW.plus_s(pause_s);
            budget.failed(&source(1), later, &policy);
            assert_eq!(budget.waiting_s(&source(1), later, &policy), wait);
        }
    }

    #[test]
    fn one_comparison_that_ended_leaves_the_others_under_way() {
        let (mut budget, policy) = (SourceBudget::of(Counted::Addresses), Policy::default());
        for _ in 0..policy.source_failures_free {
            budget.begun(&source(1));
        }
        assert_eq!(budget.waiting_s(&source(1), NOW, &policy), Some(1));
        budget.ended(&source(1));
        assert_eq!(budget.waiting_s(&source(1), NOW, &policy), None);
        budget.begun(&source(1));
        assert_eq!(budget.waiting_s(&source(1), NOW, &policy), Some(1));
    }

    #[test]
    fn what_is_under_way_counts_as_if_it_had_failed_and_then_one_goes_at_a_time() {
        let (mut budget, policy) = (SourceBudget::of(Counted::Addresses), Policy::default());
        for _ in 0..95 {
            budget.failed(&source(1), NOW, &policy);
        }
        let mut begun = 0;
        while budget.waiting_s(&source(1), NOW, &policy).is_none() {
            budget.begun(&source(1));
            begun += 1;
        }
        assert_eq!(begun, 5);
        for _ in 0..5 {
            budget.ended(&source(1));
        }
        assert_eq!(budget.waiting_s(&source(1), NOW, &policy), None);
        assert!(budget.under_way.is_empty());
    }

    #[test]
    fn a_caller_that_reports_no_address_is_not_counted_as_one() {
        let (mut budget, policy) = (SourceBudget::of(Counted::Addresses), Policy::default());
        let caller = Source::of(None, "portal");
        for _ in 0..1_000 {
            budget.failed(&caller, NOW, &policy);
        }
        assert_eq!(budget.waiting_s(&caller, NOW, &policy), None);
    }

    #[test]
    fn the_table_is_bounded_and_drops_the_oldest() {
        let (mut budget, policy) = (SourceBudget::of(Counted::Addresses), Policy::default());
        for n in 0..=SOURCES_MAX as u32 {
            budget.failed(&source(n), NOW, &policy);
        }
        assert_eq!(budget.failures.len(), SOURCES_MAX);
        assert!(!budget.failures.contains_key(&source(0)));
    }
}
