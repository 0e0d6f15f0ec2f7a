//! Wrong codes and their consequences, in sentences.

use countersign_schemas::event::Event;

use super::scenario::Password::Right;
use super::scenario::Scenario;
use super::sentences::*;
use crate::account::CodeEvidence;
use crate::account::policy::Policy;

fn spends(step: u64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::TotpAccepted(e) if e.step == step)
}

/// C-18; privacyidea-keycloak #71, where a locked account revealed whether a code was right.
#[test]
fn c18_a_throttled_account_answers_right_and_wrong_codes_alike_and_counts_neither() {
    let throttled = enabled_account().wrong_codes(4);
    let attempts = throttled.account.attempts.clone();
    let asks = [
        boxed(verify_vouched(code_now(0))),
        boxed(verify_vouched(wrong_code())),
        boxed(verify_pair(code_now(0), code_now(1))),
    ];
    for ask in asks {
        throttled
            .clone()
            .when(ask)
            .then("account.throttled for 5 s")
            .records(&[])
            .where_account(|a| a.attempts == attempts);
    }
    throttled
        .later("+5s")
        .when(verify_vouched(code_now(0)))
        .then("logged in by totp, 10 left");
}

#[test]
fn a_wait_doubles_with_each_failure_and_a_success_ends_it_without_clearing_the_budget() {
    let mut scenario = enabled_account().wrong_codes(3);
    for wait in [5, 10, 20, 40] {
        scenario = scenario
            .wrong_codes(1)
            .records(&["totp-rejected", "attempts-throttled"])
            .when(verify_vouched(code_now(0)))
            .then(&format!("account.throttled for {wait} s"));
    }
    scenario
        .later("+40s")
        .log_in_with(code_now(0))
        .then("logged in by totp, 10 left")
        .wrong_codes(1)
        .when(verify_vouched(code_now(1)))
        .then("account.throttled for 80 s");
}

/// C-16; the mend of AIL CVE-2026-56450 was a limit that the next hour forgets.
#[test]
fn c16_good_logins_do_not_clear_the_budget() {
    let mut scenario = enabled_account();
    for day in 0..20 {
        if day % 2 == 0 {
            scenario = scenario.wrong_codes(1);
        }
        scenario = scenario.later("+1h").log_in_with(code_now(0));
        match day < 18 {
            true => scenario = scenario.then("logged in by totp, 10 left").later("+23h"),
            false => scenario = scenario.then("code.second_required").records(&[]),
        }
    }
}

/// X-07, the AuthQuake pattern.
#[test]
fn x07_many_challenges_share_one_budget() {
    let mut scenario = enabled_account();
    for _ in 0..10 {
        scenario = scenario
            .log_in_with(wrong_code())
            .then("code.invalid")
            .later("+15m");
    }
    scenario
        .log_in_with(code_now(0))
        .then("code.second_required")
        .records(&[]);
}

fn in_double_code_mode() -> Scenario {
    enabled_account()
        .wrong_codes(10)
        .records(&[
            "totp-rejected",
            "attempts-throttled",
            "double-code-required",
        ])
        .later("+1h")
}

/// C-17.
#[test]
fn c17_two_consecutive_codes_are_taken_and_the_second_is_spent() {
    for (first, next) in [(-1, 0), (0, 1)] {
        let mode = in_double_code_mode();
        let spent = mode.step_now().wrapping_add_signed(next);
        mode.when(verify_pair(code_now(first), code_now(next)))
            .then("logged in by totp, 10 left")
            .where_event(spends(spent))
            .where_event(|e| matches!(e, Event::TotpAccepted(e) if e.double_code));
    }
}

/// C-17.
#[test]
fn c17_any_other_pair_is_refused_and_counted() {
    let pairs = [(1, 0), (0, 0), (-1, 1), (1, 2), (-2, -1), (0, -1)];
    for (first, next) in pairs {
        in_double_code_mode()
            .when(verify_pair(code_now(first), code_now(next)))
            .then("code.invalid")
            .records(&["totp-rejected", "double-code-required"])
            .where_account(|a| a.attempts.pair_failed_at.len() == 1);
    }
    for ask in [
        boxed(verify_pair(code_now(0), wrong_code())),
        boxed(verify_pair(wrong_code(), code_now(0))),
        boxed(verify_pair(code_now(0), backup_code(1))),
    ] {
        in_double_code_mode().when(ask).then("code.invalid");
    }
}

/// C-17.
#[test]
fn c17_a_pair_with_a_used_code_is_refused() {
    in_double_code_mode()
        .when(verify_pair(code_now(-1), code_now(0)))
        .then("logged in by totp, 10 left")
        .when(verify_pair(code_now(0), code_now(1)))
        .then("code.invalid");
}

/// No clock shows this time, but evidence could.
#[test]
fn a_pair_at_the_end_of_time_has_no_second_step() {
    let mode = in_double_code_mode();
    let enrolment = mode.account.on().map_or(0, |on| on.enrolment);
    mode.when_with(verify_pair(code_now(0), code_now(1)), |evidence| {
        evidence.code = CodeEvidence::Totp {
            enrolment,
            step_now: u64::MAX,
            matched: vec![u64::MAX],
            next_matched: vec![0],
        };
    })
    .then("code.invalid");
}

#[test]
fn after_four_wrong_pairs_in_an_hour_the_next_waits() {
    let tried = in_double_code_mode().wrong_codes(4);
    tried
        .clone()
        .when(verify_pair(code_now(0), code_now(1)))
        .then("account.throttled for 3600 s")
        .records(&[]);
    tried
        .later("+1h")
        .when(verify_pair(code_now(0), code_now(1)))
        .then("logged in by totp, 10 left");
}

#[test]
fn thirty_days_after_the_failures_one_code_suffices_again() {
    enabled_account()
        .wrong_codes(10)
        .at("+29d23h")
        .log_in_with(code_now(0))
        .then("code.second_required")
        .at("+30d")
        .log_in_with(code_now(0))
        .then("logged in by totp, 10 left");
}

#[test]
fn failures_older_than_thirty_days_set_no_wait() {
    enabled_account()
        .wrong_codes(3)
        .at("+30d")
        .wrong_codes(3)
        .when(verify_vouched(code_now(0)))
        .then("logged in by totp, 10 left");
}

#[test]
fn the_budget_is_free_again_when_the_tenth_last_failure_is_thirty_days_old() {
    let failed = enabled_account().wrong_codes(9).at("+10d").wrong_codes(1);
    failed
        .at("+20d")
        .wrong_codes(9)
        .at("+39d23h")
        .log_in_with(code_now(0))
        .then("code.second_required")
        .at("+40d")
        .log_in_with(code_now(0))
        .then("logged in by totp, 10 left");
}

/// An attacker who can turn 2FA off does not need to guess.
#[test]
fn another_enrolment_begins_with_a_whole_budget() {
    enabled_account()
        .wrong_codes(14)
        .when(disable(Right))
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 2")
        .log_in_with(code_now(1))
        .then("logged in by totp, 10 left");
}

/// C-19, R-07.
#[test]
fn c19_the_hundredth_failure_in_a_row_suspends_until_a_backup_code() {
    let suspended = enabled_account()
        .wrong_codes(100)
        .then("code.invalid")
        .where_event(|e| matches!(e, Event::FactorSuspended(_)));
    for ask in [
        boxed(verify_vouched(code_now(0))),
        boxed(verify_vouched(wrong_code())),
        boxed(verify_pair(code_now(0), code_now(1))),
    ] {
        suspended
            .clone()
            .later("+40d")
            .when(ask)
            .then("factor.suspended")
            .records(&[]);
    }
    suspended
        .when(start_login(Right))
        .then("code required: backup code")
        .when(verify_login(wrong_backup_code(1)))
        .then("code.invalid")
        .when(verify_login(backup_code(1)))
        .then("logged in by backup code, 9 left")
        .later("+1h")
        .when(verify_pair(code_now(0), code_now(1)))
        .then("logged in by totp, 9 left");
}

#[test]
fn ninety_nine_failures_and_a_success_restart_the_row() {
    enabled_account()
        .wrong_codes(99)
        .later("+1h")
        .when(verify_pair(code_now(0), code_now(1)))
        .then("logged in by totp, 10 left")
        .wrong_codes(2)
        .where_account(|a| a.attempts.consecutive == 2 && a.attempts.suspended.is_none());
}

/// a suspension that a backup code ends leaves the budget as spent as it was.
#[test]
fn a_failure_that_suspends_still_spends_the_budget() {
    let policy = Policy {
        suspend_after: 10,
        ..Policy::default()
    };
    enabled_account()
        .under(policy)
        .wrong_codes(10)
        .when(verify_vouched(code_now(0)))
        .then("factor.suspended")
        .when(verify_vouched(backup_code(1)))
        .then("logged in by backup code, 9 left")
        .later("+1h")
        .when(verify_vouched(wrong_code()))
        .then("code.second_required");
}

/// NIST SP 800-63B §3.1.4.2: a digit string is taken once while it could be valid.
#[test]
fn a_later_code_with_the_digits_of_the_last_one_waits_until_that_one_is_over() {
    for window_steps in 1..=2 {
        let policy = Policy {
            window_steps,
            ..Policy::default()
        };
        let used = enabled_account().under(policy);
        let used = used.when(verify_vouched(code_now(0)));
        let last = used.step_now();
        let after = |steps: u64| {
            let later = used.clone().later(&format!("+{}s", 30 * steps));
            later.when_with(verify_vouched(code_now(0)), |evidence| {
                let CodeEvidence::Totp { matched, .. } = &mut evidence.code else {
                    panic!("an app code");
                };
                matched.insert(0, last);
            })
        };
        let over = 2 * window_steps + 2;
        after(over - 1).records(&["code-replayed"]);
        after(over).where_event(spends(last + over));
    }
}
