//! Accounts and passwords, in sentences.

use super::scenario::Password::{Absent, Right, Vouched, Wrong};
use super::scenario::{Scenario, unregistered};
use super::sentences::*;
use crate::account::evidence::ProofEvidence;
use crate::account::passwords::SOURCES_MAX;
use crate::account::policy::Policy;

#[test]
fn an_account_is_registered_with_a_name_and_a_password() {
    unregistered()
        .when(register("a good password"))
        .then("registered")
        .records(&["account-registered", "password-set"])
        .where_account(|a| a.username.is_some() && a.credential.is_some() && a.on().is_none());
}

#[test]
fn an_id_is_registered_only_once() {
    registered_account()
        .when(register("another password"))
        .then("account.exists")
        .records(&[]);
}

#[test]
fn a_name_that_another_account_holds_is_taken() {
    let mut scenario = unregistered();
    scenario.name_taken = true;
    scenario
        .when(register("a good password"))
        .then("account.exists")
        .records(&[]);
}

/// S-06: taken whole or refused, never cut.
#[test]
fn a_password_has_eight_to_two_hundred_and_fifty_six_bytes_and_is_no_common_one() {
    let policy = Policy::default();
    let rows = [
        ("~".repeat(policy.password_bytes_min - 1), false),
        ("~".repeat(policy.password_bytes_min), true),
        ("~".repeat(policy.password_bytes_max), true),
        ("~".repeat(policy.password_bytes_max + 1), false),
        ("🔑".repeat(8), true),
        // Two characters of four bytes each, and 129 of two.
        ("🔑".repeat(2), true),
        ("é".repeat(129), false),
        ("nul\0inside".into(), true),
        // Long enough, and among the first that an attacker tries.
        ("Password1".into(), false),
    ];
    for (password, acceptable) in rows {
        let (registered, changed) = match acceptable {
            true => ("registered", "password changed"),
            false => ("password.unacceptable", "password.unacceptable"),
        };
        unregistered().when(register(&password)).then(registered);
        registered_account()
            .when(change_password(Right, &password))
            .then(changed);
    }
}

#[test]
fn an_unacceptable_password_is_refused_without_counting_the_old_one() {
    registered_account()
        .when(change_password(Wrong, "short"))
        .then("password.unacceptable")
        .records(&[]);
}

#[test]
fn a_changed_password_is_another_credential() {
    let before = registered_account();
    let old = before.account.credential.clone();
    before
        .when(change_password(Right, "a new password"))
        .then("password changed")
        .records(&["password-set"])
        .where_account(|a| a.credential.is_some() && a.credential != old);
}

#[test]
fn a_password_is_not_changed_with_a_wrong_one() {
    registered_account()
        .when(change_password(Wrong, "a new password"))
        .then("credentials.invalid")
        .records(&["password-rejected"]);
}

/// P-11: a password change must not be a way around 2FA.
#[test]
fn a_password_change_leaves_2fa_on_and_voids_open_challenges() {
    enabled_account()
        .when(start_login(Right))
        .when(change_password(Right, "a new password"))
        .then("password changed")
        .where_account(|a| a.on().is_some())
        .when(verify_login(code_now(0)))
        .then("challenge.expired")
        .records(&[]);
}

/// E-09.
#[test]
fn a_password_change_drops_a_pending_enrolment() {
    pending_account()
        .when(change_password(Right, "a new password"))
        .when(confirm(code_now(0)))
        .then("factor.not_pending");
}

#[test]
fn a_proof_that_is_missing_is_no_proof() {
    for ask in [boxed(enable(Absent)), boxed(start_login(Absent))] {
        registered_account()
            .when(ask)
            .then("credentials.invalid")
            .records(&[]);
    }
    for ask in [boxed(regenerate(Absent)), boxed(disable(Absent))] {
        enabled_account()
            .when(ask)
            .then("credentials.invalid")
            .records(&[]);
    }
}

/// C-20, R-09: unknown and wrong have one answer.
#[test]
fn an_unknown_account_answers_as_a_wrong_password_does() {
    for password in [Right, Wrong] {
        for ask in [boxed(start_login(password)), boxed(enable(password))] {
            unregistered()
                .when(ask)
                .then("credentials.invalid")
                .records(&["unknown-name-refused"])
                .where_account(|a| !a.exists());
        }
    }
}

/// If the caller vouches for an unknown account, only an enrolment registers it.
#[test]
fn a_vouched_command_makes_no_account_in_passing() {
    unregistered()
        .when(change_password(Vouched, "a new password"))
        .then("credentials.invalid")
        .records(&[])
        .when(start_login(Vouched))
        .then("credentials.invalid")
        .records(&[]);
    for ask in [boxed(regenerate(Vouched)), boxed(disable(Vouched))] {
        unregistered()
            .when(ask)
            .then("account.not_found")
            .records(&[]);
    }
}

/// The contract's rule: `credentials.invalid` only where the request carries a password.
#[test]
fn an_unknown_account_without_a_password_is_not_found() {
    for ask in [
        boxed(enable(Absent)),
        boxed(disable(Absent)),
        boxed(regenerate(Absent)),
    ] {
        unregistered()
            .when(ask)
            .then("account.not_found")
            .records(&[]);
    }
}

#[test]
fn ten_wrong_passwords_of_a_source_are_free_and_the_eleventh_makes_it_wait() {
    let mut scenario = registered_account();
    for _ in 0..10 {
        scenario = scenario
            .when(start_login(Wrong))
            .then("credentials.invalid")
            .records(&["password-rejected"]);
    }
    let waiting = scenario
        .when(start_login(Wrong))
        .then("credentials.invalid")
        .records(&["password-rejected"]);
    for password in [Wrong, Right] {
        waiting
            .clone()
            .when(start_login(password))
            .then("account.throttled for 5 s")
            .records(&[]);
    }
    waiting
        .clone()
        .with_source(2)
        .when(start_login(Right))
        .then("logged in by password");
    waiting
        .later("+5s")
        .when(start_login(Wrong))
        .then("credentials.invalid")
        .when(start_login(Right))
        .then("account.throttled for 10 s");
}

#[test]
fn every_command_that_takes_a_password_waits_with_its_source() {
    let waiting = wrong_passwords(enabled_account(), 11);
    let asks = [
        boxed(start_login(Right)),
        boxed(enable(Right)),
        boxed(disable(Right)),
        boxed(regenerate(Right)),
        boxed(change_password(Right, "a new password")),
    ];
    for ask in asks {
        waiting
            .clone()
            .when(ask)
            .then("account.throttled for 5 s")
            .records(&[]);
    }
}

#[test]
fn every_success_clears_the_failures_of_its_source_and_of_no_other() {
    let failed = wrong_passwords(enabled_account(), 10);
    let failed = wrong_passwords(failed.with_source(2), 10).with_source(1);
    let asks = [
        boxed(start_login(Right)),
        boxed(disable(Right)),
        boxed(regenerate(Right)),
        boxed(change_password(Right, "a new password")),
    ];
    for ask in asks {
        let cleared = failed.clone().when(ask);
        wrong_passwords(cleared.clone(), 10)
            .when(start_login(Wrong))
            .then("credentials.invalid");
        cleared
            .with_source(2)
            .when(start_login(Wrong))
            .when(start_login(Right))
            .then("account.throttled for 5 s");
    }
    let off = wrong_passwords(registered_account(), 10);
    for ask in [boxed(start_login(Right)), boxed(enable(Right))] {
        wrong_passwords(off.clone().when(ask), 10)
            .when(start_login(Wrong))
            .then("credentials.invalid");
    }
}

#[test]
fn a_sources_wrong_passwords_are_forgotten_after_a_day() {
    wrong_passwords(registered_account(), 10)
        .later("+1d")
        .when(start_login(Wrong))
        .when(start_login(Wrong))
        .then("credentials.invalid");
}

/// Memory is bounded: an attacker who rotates sources gets ten tries a source, as with new ones.
#[test]
fn of_too_many_sources_the_one_idle_longest_is_forgotten() {
    let policy = Policy {
        password_day_failures_free: 10_000,
        ..Policy::default()
    };
    let mut scenario = registered_account().under(policy);
    for source in 0..=SOURCES_MAX as u8 {
        scenario = wrong_passwords(scenario.with_source(source), 11);
    }
    let wait = "account.throttled for 5 s";
    scenario
        .clone()
        .with_source(0)
        .when(start_login(Right))
        .then("logged in by password");
    for source in [1, SOURCES_MAX as u8] {
        scenario
            .clone()
            .with_source(source)
            .when(start_login(Right))
            .then(wait);
    }
}

/// a crowd of sources gets about 1,500 guesses a day, and the owner waits a minute at most.
#[test]
fn a_hundred_wrong_passwords_in_a_day_make_a_crowd_wait_a_minute_at_most_and_no_new_source() {
    let mut scenario = registered_account();
    for source in 0..100 {
        scenario = scenario
            .with_source(source)
            .when(start_login(Wrong))
            .then("credentials.invalid");
    }
    scenario = scenario.with_source(200);
    let from = |scenario: &Scenario, source| {
        scenario
            .clone()
            .with_source(source)
            .when(start_login(Right))
    };
    // A source that failed three times in the day is not new.
    for _ in 0..2 {
        scenario = scenario.with_source(7).when(start_login(Wrong));
    }
    let mut scenario = scenario.with_source(200);
    for wait in [20, 40, 60, 60, 60] {
        scenario = wrong_passwords(scenario, 1).records(&["password-rejected"]);
        from(&scenario, 250).then("logged in by password");
        from(&scenario, 8).then("logged in by password");
        from(&scenario, 7)
            .then(&format!("account.throttled for {wait} s"))
            .records(&[]);
    }
    from(&scenario.later("+1m"), 7).then("logged in by password");
}

/// D-03: the end of a wait is in the log, not in the process.
#[test]
fn the_wait_of_a_source_is_an_instant_in_the_log() {
    wrong_passwords(registered_account(), 30)
        .when(start_login(Right))
        .then("account.throttled for 900 s");
}

/// Sends `count` wrong passwords, each as soon as it is compared.
fn wrong_passwords(mut scenario: Scenario, count: usize) -> Scenario {
    for _ in 0..count {
        let (now, source) = (scenario.now(), scenario.source_key);
        if let Some(s) = scenario.account.passwords.waiting_s(source, now) {
            scenario.wall = now.plus_s(s);
        }
        scenario = scenario
            .when(start_login(Wrong))
            .then("credentials.invalid")
            .records(&["password-rejected"]);
    }
    scenario
}

/// After a loss of events, the known state of an account may be out of date, its password too.
#[test]
fn while_an_account_waits_for_its_reset_no_right_first_factor_is_enough() {
    let mut waiting = enabled_account();
    waiting.account.until_reset = true;
    for right in [
        ProofEvidence::Vouched,
        ProofEvidence::Elsewhere { right: true },
    ] {
        for ask in [boxed(disable(Right)), boxed(regenerate(Right))] {
            waiting
                .clone()
                .when_with(ask, |evidence| evidence.proof = right)
                .then("factor.suspended")
                .records(&[]);
        }
    }
    for ask in [boxed(disable(Right)), boxed(start_login(Right))] {
        let refused = waiting.clone().when(ask).then("factor.suspended");
        refused.records(&[]);
    }
}

#[test]
fn a_place_is_known_once_a_login_was_completed_there_and_not_before() {
    let knows = |s: &Scenario| s.account.passwords.knows([9; 8], s.now());
    let opened = enabled_account().with_source(9).when(start_login(Right));
    assert!(!knows(&opened));
    let renewed = enabled_account().with_source(9).when(regenerate(Right));
    assert!(!knows(&renewed));
    assert!(knows(&opened.when(verify_login(code_now(1)))));
}

#[test]
fn while_app_codes_are_suspended_the_password_can_be_changed_by_itself() {
    enabled_account()
        .wrong_codes(100)
        .when(change_password(Right, "another good password"))
        .then("password changed");
}
