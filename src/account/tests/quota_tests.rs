//! What one agent may do over all accounts, in sentences.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::sealed::Protected;

use super::reset_words::*;
use super::scenario::{Scenario, offset};
use super::sentences::{Ask, enabled_account};
use crate::account::Policy;
use crate::account::rules::quota::{Act, exceeded};

type When = fn(&Scenario) -> Ask;

/// Each act with how many of it the shipped policy lets one agent do in a day.
const ACTS: [(AgentAct, When, usize); 5] = [
    (AgentAct::SuspendFactor, suspend_factor, 20),
    (AgentAct::ClearAttempts, clear_attempts, 20),
    (AgentAct::EndReset, reject, 20),
    (AgentAct::EndReset, cancel, 20),
    (AgentAct::EraseAccount, erase, 100),
];

fn cancel(s: &Scenario) -> Ask {
    with_case(Step::Cancel, case_back(s, 0))
}

/// An open case, and so many acts of the agent at other accounts, the first 23 hours ago.
fn after(act: AgentAct, times: usize) -> Scenario {
    let mut scenario = enabled_account()
        .wrong_codes(1)
        .by("agent-2")
        .when(request_reset)
        .by("agent-1");
    let by = |agent, at| (agent, Act::Of(act), offset(at));
    scenario.acts = vec![by("agent-1", "-1h"); times];
    scenario.acts[0] = by("agent-1", "-23h");
    // Neither another agent's nor those of another kind nor those of the day before count.
    scenario
        .acts
        .extend([by("agent-2", "-1h"), by("agent-1", "-24h")]);
    let other = ACTS.iter().find(|(other, ..)| *other != act);
    let other = other.expect("there are several").0;
    scenario
        .acts
        .push(("agent-1", Act::Of(other), offset("-1h")));
    scenario
}

#[test]
fn s09_one_agent_does_so_many_in_a_day_over_all_accounts_and_another_agent_the_next() {
    for (act, when, max) in ACTS {
        let last = after(act, max - 1).when(when);
        assert!(!last.acts.is_empty(), "{act:?}");
        let recorded = last.acts.iter().filter(|done| done.1 == Act::Of(act));
        assert_eq!(recorded.count(), max + 2, "{act:?} was done once more");
        let over = after(act, max)
            .when(when)
            .then("quota.exceeded for 3600 s")
            .records(&[]);
        let done = over.acts.len();
        assert_eq!(over.by("agent-2").when(when).acts.len(), done + 1);
        let next_day = after(act, max).at("+1h").when(when);
        assert_eq!(next_day.acts.len(), done + 1, "{act:?} again");
    }
}

/// A suspension by failures and an act of the owner count for no agent.
#[test]
fn what_no_agent_did_counts_for_none() {
    let suspended = enabled_account().wrong_codes(100);
    assert!(suspended.acts.is_empty());
    let cancelled = enabled_account()
        .by("agent-1")
        .when(request_reset)
        .by("shop")
        .when(user_cancel)
        .then("cancelled");
    assert_eq!(cancelled.acts.len(), 1, "the request");
}

#[test]
fn every_bound_of_an_agent_is_at_least_one() {
    let policy = |change: fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        policy.check().map_err(|error| error.to_string())
    };
    for change in [
        (|p| p.suspensions_max = 0) as fn(&mut Policy),
        |p| p.clears_max = 0,
        |p| p.reset_ends_max = 0,
        |p| p.erasures_max = 0,
        |p| p.erasures_max = 10_001,
        |p| p.agent_acts_window_s = 3_599,
        |p| p.agent_acts_window_s = 8 * 86_400,
    ] {
        assert!(policy(change).is_err());
    }
}

#[test]
fn the_names_of_an_acts_events_are_those_that_it_records() {
    for (act, when, _) in ACTS {
        let done = after(act, 1).when(when);
        let name = done.events[0].name();
        assert!(Act::Of(act).events().contains(&name), "{act:?}: {name}");
    }
}

#[test]
fn only_a_refusal_for_the_agents_own_bound_says_that_it_was_exceeded() {
    for (act, when, max) in ACTS {
        let mut full = after(act, max);
        let (command, password) = when(&full);
        let evidence = full.gather(&command, password);
        let refused = full.submit(&command, &evidence).reply;
        let refused = refused.expect("it is decided");
        let mut refusal = refused.expect_err("it is one too many");
        assert_eq!(exceeded(&command, &refusal), Some(act));
        refusal.detail = None;
        assert_eq!(exceeded(&command, &refusal), None, "another bound");
    }
}

#[test]
fn an_erasure_that_a_start_completes_is_no_agents_act() {
    let erased = |reason| Act::of_event(&Event::AccountErased(AccountErased { reason }));
    assert_eq!(erased(None), None);
    let reason = Protected::clear(b"asked for");
    assert_eq!(erased(Some(reason)), Some(Act::Of(AgentAct::EraseAccount)));
}
