//! Backup codes, in sentences.

use super::scenario::Password::{Right, Wrong};
use super::scenario::Scenario;
use super::sentences::*;

/// B-01.
#[test]
fn b01_each_of_ten_codes_works_once() {
    let mut scenario = enabled_account();
    for ordinal in 1..=10 {
        let left = 10 - ordinal;
        let low = if left <= 3 { ", low" } else { "" };
        scenario = scenario
            .log_in_with(backup_code(ordinal))
            .then(&format!("logged in by backup code, {left} left{low}"))
            .records(&["backup-code-accepted"]);
    }
    for ordinal in 1..=10 {
        scenario = scenario
            .when(verify_vouched(backup_code(ordinal)))
            .then("code.invalid")
            .records(&["backup-code-rejected"]);
    }
}

#[test]
fn a_code_is_refused_the_second_time() {
    enabled_account()
        .log_in_with(backup_code(4))
        .then("logged in by backup code, 9 left")
        .log_in_with(backup_code(4))
        .then("code.invalid")
        .records(&["backup-code-rejected"])
        .where_account(|a| a.on().is_some_and(|on| on.codes.left() == 9));
}

/// B-04, as the contract has it: recorded, never a wait.
#[test]
fn b04_wrong_backup_codes_are_recorded_and_set_no_wait() {
    let mut scenario = enabled_account();
    for ordinal in (0..32).chain(0..32) {
        scenario = scenario
            .when(verify_vouched(wrong_backup_code(ordinal)))
            .then("code.invalid")
            .records(&["backup-code-rejected"]);
    }
    scenario
        .clone()
        .log_in_with(backup_code(1))
        .then("logged in by backup code, 9 left");
    scenario
        .log_in_with(code_now(0))
        .then("logged in by totp, 10 left");
}

/// B-09.
#[test]
fn b09_with_no_codes_left_only_the_app_is_offered() {
    let mut scenario = enabled_account();
    for ordinal in 1..=10 {
        scenario = scenario.when(verify_vouched(backup_code(ordinal)));
    }
    scenario
        .then("logged in by backup code, 0 left, low")
        .when(start_login(Right))
        .then("code required: totp")
        .when(verify_login(backup_code(1)))
        .then("code.invalid")
        .when(verify_login(wrong_backup_code(1)))
        .then("code.invalid")
        .when(verify_login(code_now(0)))
        .then("logged in by totp, 0 left, low");
}

/// B-06.
#[test]
fn b06_a_new_set_makes_every_old_code_worthless() {
    let mut scenario = enabled_account()
        .log_in_with(backup_code(1))
        .when(regenerate(Right))
        .then("set 2, 9 superseded")
        .records(&["backup-codes-issued"]);
    for ordinal in 1..=10 {
        scenario = scenario
            .when(verify_vouched(backup_code_of(1, ordinal)))
            .then("code.invalid")
            .records(&["backup-code-rejected"]);
    }
    scenario
        .when(verify_vouched(backup_code_of(2, 1)))
        .then("logged in by backup code, 9 left");
}

#[test]
fn set_numbers_rise_for_the_life_of_the_account() {
    enabled_account()
        .when(regenerate(Right))
        .then("set 2, 10 superseded")
        .when(disable(Right))
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 3")
        .when(regenerate(Right))
        .then("set 4, 10 superseded");
}

/// B-08, as the contract has it.
#[test]
fn a_new_set_needs_the_password_and_a_factor() {
    enabled_account()
        .when(regenerate(Wrong))
        .then("credentials.invalid")
        .records(&["password-rejected"])
        .when(verify_vouched(backup_code(1)))
        .then("logged in by backup code, 9 left");
    for off in [registered_account(), pending_account()] {
        off.when(regenerate(Right))
            .then("factor.not_on")
            .records(&[]);
    }
}

#[test]
fn a_new_set_leaves_the_app_and_its_attempts_alone() {
    let before = enabled_account().wrong_codes(4);
    let (attempts, last_step) = (before.account.attempts.clone(), last_step(&before));
    before
        .when(regenerate(Right))
        .then("set 2, 10 superseded")
        .where_account(|a| a.attempts == attempts)
        .where_account(|a| a.on().map(|on| on.last_step) == last_step);
}

#[test]
fn a_backup_code_works_while_the_app_waits_and_ends_the_wait() {
    enabled_account()
        .wrong_codes(4)
        .when(verify_vouched(code_now(0)))
        .then("account.throttled for 5 s")
        .when(verify_vouched(backup_code(1)))
        .then("logged in by backup code, 9 left")
        .when(verify_vouched(code_now(0)))
        .then("logged in by totp, 9 left");
}

/// X-08, Zitadel CVE-2025-64102: the owner can log in at once, whatever the thief of the password
/// does.
#[test]
fn x08_a_backup_code_works_in_double_code_mode_and_leaves_the_budget_spent() {
    enabled_account()
        .wrong_codes(14)
        .log_in_with(backup_code(7))
        .then("logged in by backup code, 9 left")
        .later("+1h")
        .log_in_with(code_now(0))
        .then("code.second_required");
}

#[test]
fn a_backup_code_needs_no_second_one() {
    enabled_account()
        .wrong_codes(10)
        .when(verify_pair(backup_code(2), wrong_code()))
        .then("logged in by backup code, 9 left");
}

fn last_step(scenario: &Scenario) -> Option<u64> {
    scenario.account.on().map(|on| on.last_step)
}
