//! Wrong passwords of one address over all accounts and names: whoever tries one password on every
//! name is slowed down, though no single account sees more than one failure.
//!
//! In memory only, so a restart forgets it; what each account and name counts is not concerned. Only
//! addresses are counted: a caller that reports none stands for all its users.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::time::Micros;

use super::source::Source;
use crate::account::Policy;

/// Addresses whose failures are remembered; the one remembered longest is dropped.
pub const SOURCES_MAX: usize = 65_536;

/// The counts.
#[derive(Debug, Default)]
pub struct SourceBudget {
    failures: HashMap<Source, Failures>,
    order: VecDeque<Source>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last_at: Micros,
    wait_until: Option<Micros>,
}

impl SourceBudget {
    /// The seconds that an address still waits.
    pub fn waiting_s(&self, source: &Source, now: Micros) -> Option<u64> {
        let until = self.failures.get(source)?.wait_until?;
        (now < until).then(|| until.seconds_since(now))
    }

    /// Counts a wrong password, whatever name it was for. A success clears nothing: an attacker
    /// has an account too.
    pub fn failed(&mut self, source: &Source, now: Micros, policy: &Policy) {
        if !source.is_address() {
            return;
        }
        if !self.failures.contains_key(source) {
            if self.order.len() == SOURCES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.failures.remove(&oldest);
            }
            self.order.push_back(source.clone());
        }
        let failures = self.failures.entry(source.clone()).or_default();
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
#[allow(clippy::unwrap_used)]
mod tests {
    use countersign_schemas::command::Context;
    use countersign_schemas::ids::SourceIp;

    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn source(n: u32) -> Source {
        let ip = std::net::Ipv4Addr::from(n).to_string();
        let context = Context {
            ip: Some(SourceIp::parse(&ip).unwrap()),
            agent: None,
        };
        Source::of(Some(&context), "portal")
    }

    #[test]
    fn an_address_has_a_hundred_failures_over_all_names_and_then_waits_that_double() {
        let (mut budget, policy) = (SourceBudget::default(), Policy::default());
        for _ in 0..100 {
            assert_eq!(budget.waiting_s(&source(1), NOW), None);
            budget.failed(&source(1), NOW, &policy);
        }
        for wait in [5, 10, 20] {
            budget.failed(&source(1), NOW, &policy);
            assert_eq!(budget.waiting_s(&source(1), NOW), Some(wait));
        }
        assert_eq!(budget.waiting_s(&source(2), NOW), None);
        assert_eq!(budget.waiting_s(&source(1), NOW.plus_s(20)), None);
        budget.failed(&source(1), NOW.plus_s(86_400), &policy);
        assert_eq!(
            budget.waiting_s(&source(1), NOW.plus_s(86_400)),
            None,
            "forgotten"
        );
    }

    #[test]
    fn a_caller_that_reports_no_address_is_not_counted_as_one() {
        let (mut budget, policy) = (SourceBudget::default(), Policy::default());
        let caller = Source::of(None, "portal");
        for _ in 0..1_000 {
            budget.failed(&caller, NOW, &policy);
        }
        assert_eq!(budget.waiting_s(&caller, NOW), None);
    }

    #[test]
    fn the_table_is_bounded_and_drops_the_oldest() {
        let (mut budget, policy) = (SourceBudget::default(), Policy::default());
        for n in 0..=SOURCES_MAX as u32 {
            budget.failed(&source(n), NOW, &policy);
        }
        assert_eq!(budget.failures.len(), SOURCES_MAX);
        assert!(!budget.failures.contains_key(&source(0)));
    }
}
