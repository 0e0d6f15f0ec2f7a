//! `clear-attempts`, in sentences.

use countersign_schemas::event::Event;
use countersign_schemas::time::Micros;

use super::reset_words::*;
use super::scenario::Password::{Absent, Right};
use super::scenario::{Scenario, unregistered};
use super::sentences::*;
use crate::account::CodeAttempts;

fn cleared(scenario: Scenario, agent: &'static str) -> Scenario {
    scenario.by(agent).when(clear_attempts).by("shop")
}

#[test]
fn support_ends_a_wait_and_double_code_mode_and_gives_a_whole_budget() {
    for failures in [4, 10, 14] {
        let again = cleared(enabled_account().wrong_codes(failures), "agent-1")
            .then("attempts cleared")
            .records(&["attempts-cleared"])
            .where_event(|e| matches!(e, Event::AttemptsCleared(e) if e.by == "agent-1"))
            .wrong_codes(3)
            .when(verify_vouched(code_now(0)))
            .then("logged in by totp, 10 left");
        again
            .wrong_codes(7)
            .where_event(|e| matches!(e, Event::DoubleCodeRequired(_)));
    }
}

/// NIST SP 800-63B §3.2.2: an agent does not lift the hundred in a row.
#[test]
fn a_suspension_stays_and_so_does_the_row_that_leads_to_it() {
    let suspended = cleared(enabled_account().wrong_codes(100), "agent-1")
        .then("factor.suspended")
        .records(&[]);
    suspended
        .when(verify_vouched(code_now(0)))
        .then("factor.suspended");
    cleared(enabled_account().wrong_codes(99), "agent-1")
        .where_account(|a| a.attempts.consecutive == 99)
        .when(verify_vouched(wrong_code()))
        .then("code.invalid")
        .records(&["totp-rejected", "factor-suspended"]);
}

/// A refusal costs nothing: the same agent can still help once a backup code has been used.
#[test]
fn after_a_backup_code_the_agent_that_was_refused_can_clear_the_attempts() {
    let refused = cleared(enabled_account().wrong_codes(100), "agent-1").then("factor.suspended");
    let again = refused.when(verify_vouched(backup_code(1)));
    cleared(again, "agent-1").then("attempts cleared");
}

#[test]
fn the_attempts_are_cleared_once_in_seven_days_and_by_the_same_agent_once_in_thirty() {
    let enabled_account = || enabled_account().wrong_codes(1);
    let cleared = |scenario: Scenario, agent| cleared(scenario.wrong_codes(1), agent);
    let once = cleared(enabled_account(), "agent-1").then("attempts cleared");
    cleared(once.clone(), "agent-1")
        .then("quota.exceeded for 2592000 s")
        .records(&[]);
    cleared(once.clone(), "Agent-1").then("quota.exceeded for 2592000 s");
    cleared(once.clone(), "agent-2").then("quota.exceeded for 604800 s");
    let week = once.at("+7d");
    cleared(week.clone(), "agent-1").then("quota.exceeded for 1987200 s");
    let twice = cleared(week, "agent-2").then("attempts cleared").at("+14d");
    cleared(twice.clone(), "agent-1").then("quota.exceeded for 1382400 s");
    cleared(twice.clone(), "agent-2").then("quota.exceeded for 1987200 s");
    cleared(twice.clone(), "agent-3").then("attempts cleared");
    cleared(twice.at("+30d"), "agent-1").then("attempts cleared");
}

/// Otherwise a password thief could get a new budget by turning 2FA off and on, or an agent by
/// asking the owner to.
#[test]
fn another_enrolment_does_not_forget_that_support_cleared_the_attempts() {
    let again = cleared(enabled_account().wrong_codes(1), "agent-1")
        .when(disable(Right))
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 2")
        .wrong_codes(1);
    cleared(again, "agent-2").then("quota.exceeded for 604800 s");
}

/// A clear that would not help the owner costs neither the account's quota nor the agent's.
#[test]
fn where_a_clear_would_not_help_it_is_refused_for_free_and_says_what_would_help() {
    let free = |scenario: Scenario, words: &str| {
        let refused = cleared(scenario, "agent-1").then(words).records(&[]);
        assert!(refused.account.clears.is_empty() && refused.acts.len() < 2);
    };
    free(enabled_account(), "attempts.none");
    free(enabled_account().wrong_codes(3).at("+30d"), "attempts.none");
    let stolen = || {
        enabled_account()
            .by("agent-2")
            .when(suspend_factor)
            .by("shop")
    };
    free(stolen(), "factor.suspended");
    let guessed_and_stolen = enabled_account().wrong_codes(5).by("agent-2");
    free(guessed_and_stolen.when(suspend_factor), "factor.suspended");
    free(enabled_account().wrong_codes(100), "factor.suspended");
    free(
        enabled_account().wrong_codes(100).at("+31d"),
        "factor.suspended",
    );
}

#[test]
fn a_wait_or_double_code_mode_can_be_cleared_by_itself_and_until_it_ends() {
    let ends: [fn(&mut CodeAttempts, Micros); 2] = [
        |attempts, end| attempts.throttled_until = Some(end),
        |attempts, end| attempts.double_code_until = Some(end),
    ];
    for end_at in ends {
        for (seconds, words) in [(1, "attempts cleared"), (0, "attempts.none")] {
            let mut scenario = enabled_account();
            let end = scenario.now().plus_s(seconds);
            end_at(&mut scenario.account.attempts, end);
            cleared(scenario, "agent-1").then(words);
        }
    }
}

#[test]
fn without_a_second_factor_there_is_nothing_to_clear() {
    cleared(registered_account(), "agent-1").then("factor.not_on");
    cleared(pending_account(), "agent-1").then("factor.not_on");
    cleared(unregistered(), "agent-1").then("account.not_found");
    assert!(matches!(clear_attempts(&unregistered()).1, Absent));
}
