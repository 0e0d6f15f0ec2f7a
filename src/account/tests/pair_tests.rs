//! A password and a code that come together, in sentences.

use countersign_schemas::code::Code;

use super::reset_words::{request_reset, suspend_factor};
use super::scenario::Password;
use super::scenario::Password::{Right, Vouched, Wrong};
use super::scenario::{Scenario, unregistered};
use super::sentences::*;
use crate::account::Step;
use crate::account::attempts::Gate;
use crate::account::evidence::ProofEvidence;
use crate::account::policy::Policy;

type Given = fn(&Scenario) -> Code;

const APP: Given = |s| code_now(0)(s);
const BACKUP: Given = |s| backup_code(1)(s);
const WRONG_APP: Given = |s| wrong_code()(s);
const WRONG_BACKUP: Given = |s| wrong_backup_code(1)(s);
const CODES: [Given; 4] = [APP, BACKUP, WRONG_APP, WRONG_BACKUP];

fn both(password: Password, code: Given) -> impl FnOnce(&Scenario) -> Ask {
    with_code(start_login(password), code, None)
}

/// A crowd has used up the account's free failures, and this source is no longer new.
fn waiting(mut scenario: Scenario) -> Scenario {
    scenario.policy = Policy {
        password_day_failures_free: 1,
        ..scenario.policy
    };
    for _ in 0..3 {
        scenario = scenario.when(start_login(Wrong)).later("+1m");
    }
    scenario = scenario.with_source(9).when(start_login(Wrong));
    scenario
        .with_source(1)
        .when(start_login(Right))
        .then("account.throttled for 20 s")
}

#[test]
fn the_right_password_with_a_code_of_either_kind_is_a_login_in_one_step() {
    for scenario in [enabled_account(), waiting(enabled_account())] {
        scenario
            .clone()
            .when(both(Right, APP))
            .then("logged in by totp, 10 left")
            .records(&["totp-accepted"])
            .where_account(|a| a.challenges.is_empty())
            .where_account(|a| {
                a.passwords.knows(
                    [1; 8],
                    a.on()
                        .map_or(countersign_schemas::time::Micros(0), |on| on.enabled_at),
                )
            });
        scenario
            .clone()
            .when(both(Right, BACKUP))
            .then("logged in by backup code, 9 left")
            .records(&["backup-code-accepted"])
            .when(both(Right, BACKUP))
            .then("code.invalid");
        scenario
            .clone()
            .when(both(Right, APP))
            .when(both(Right, APP))
            .then("code.invalid")
            .records(&["code-replayed"]);
        let mut outdated = scenario.by("agent-1").when(request_reset).by("shop");
        outdated.outdated = true;
        outdated.when(both(Right, APP)).records(&[
            "password-rehashed",
            "totp-accepted",
            "reset-cancelled",
        ]);
    }
}

#[test]
fn where_passwords_do_not_wait_each_of_both_has_its_own_answer() {
    enabled_account()
        .when(both(Right, WRONG_APP))
        .then("code.invalid")
        .records(&["totp-rejected"]);
    enabled_account()
        .when(both(Vouched, WRONG_BACKUP))
        .then("code.invalid")
        .records(&["backup-code-rejected"]);
    for code in CODES {
        enabled_account()
            .when(both(Wrong, code))
            .then("credentials.invalid")
            .records(&["password-rejected"]);
        let steps = steps_of(&enabled_account(), both(Wrong, code));
        assert_eq!(
            steps,
            [Step::ComparePassword],
            "one hash, whatever the code"
        );
    }
    registered_account()
        .when(both_digits(Right))
        .then("factor.not_on")
        .records(&[]);
    unregistered()
        .when(both_digits(Wrong))
        .then("credentials.invalid");
}

/// Otherwise adding any code would be a way to guess passwords that nothing slows down.
#[test]
fn where_passwords_wait_a_wrong_pair_reveals_nothing_about_either_secret() {
    let suspended = enabled_account()
        .by("agent-1")
        .when(suspend_factor)
        .by("shop");
    let mut lost = enabled_account();
    lost.account.until_reset = true;
    for (open, scenario) in [
        (true, waiting(enabled_account())),
        (false, waiting(enabled_account()).wrong_codes(4)),
        (
            false,
            waiting(enabled_account().wrong_codes(10).later("+15m")),
        ),
        (false, waiting(suspended)),
        (false, waiting(lost)),
    ] {
        for password in [Right, Wrong] {
            for (nth, code) in CODES.into_iter().enumerate() {
                let is_right = password == Right && (open && nth == 0);
                let by_backup = password == Right && nth == 1;
                if is_right || by_backup && !scenario.account.until_reset {
                    continue;
                }
                let before = scenario.account.passwords.clone();
                let steps = steps_of(&scenario, both(password, code));
                assert_eq!(steps, [Step::ComparePassword, Step::CompareCode]);
                let refused = scenario.clone().when(both(password, code));
                let refused = refused.then("credentials.invalid");
                assert_eq!(refused.account.passwords, before, "no wait grows");
                assert!(
                    refused.account.version > scenario.account.version,
                    "a record"
                );
            }
        }
    }
}

#[test]
fn a_wrong_code_is_counted_where_its_password_was_right_and_nowhere_else() {
    let scenario = waiting(enabled_account());
    scenario
        .clone()
        .when(both(Right, WRONG_APP))
        .records(&["login-pair-rejected", "totp-rejected"])
        .where_account(|a| a.attempts.failed_at.len() == 1);
    scenario
        .clone()
        .when(both(Right, WRONG_BACKUP))
        .records(&["login-pair-rejected", "backup-code-rejected"]);
    let mut thief = scenario.clone();
    for _ in 0..3 {
        thief = thief.when(both(Right, WRONG_APP));
    }
    thief = thief.when(both(Right, WRONG_APP)).records(&[
        "login-pair-rejected",
        "totp-rejected",
        "attempts-throttled",
    ]);
    // The codes' own gate is closed now: the right pair does not pass and gets the same refusal.
    thief = thief
        .when(both(Right, APP))
        .then("credentials.invalid")
        .records(&["login-pair-rejected"]);
    thief
        .when(both(Right, BACKUP))
        .then("logged in by backup code, 9 left");
    let mut stranger = scenario;
    for _ in 0..200 {
        stranger = stranger.when(both(Wrong, WRONG_APP));
        stranger = stranger.when(both(Wrong, APP));
    }
    let policy = stranger.policy.clone();
    let gate = stranger.account.attempts.gate(stranger.now(), &policy);
    assert_eq!(
        (gate, stranger.account.attempts.failed_at.len()),
        (Gate::Open, 0)
    );
    stranger
        .when(both(Right, APP))
        .then("logged in by totp, 10 left");
}

#[test]
fn two_consecutive_codes_pass_a_wait_where_two_are_asked_for() {
    let scenario = waiting(enabled_account().wrong_codes(10).later("+15m"));
    let pair = with_code(start_login(Right), APP, Some(code_now(1)(&scenario)));
    scenario.when(pair).then("logged in by totp, 10 left");
}

#[test]
fn a_pair_passes_the_waits_beside_the_account_until_its_own_address_had_too_many() {
    let mut scenario = enabled_account();
    scenario.source_waits_s = Some(7);
    scenario
        .clone()
        .when(start_login(Right))
        .then("account.throttled for 7 s");
    let passed = scenario.clone().when(both(Right, APP));
    passed.then("logged in by totp, 10 left");
    scenario.pair_waits_s = Some(100);
    scenario
        .clone()
        .when(both(Right, APP))
        .then("account.throttled for 7 s")
        .records(&[]);
    scenario.source_waits_s = None;
    scenario
        .when(both(Right, APP))
        .then("logged in by totp, 10 left");
}

/// An unknown name has no account with a right password.
#[test]
fn a_pair_at_an_unknown_name_has_the_same_cost_and_refusal() {
    let mut scenario = unregistered();
    scenario.source_waits_s = Some(7);
    let steps = steps_of(&scenario, both_digits(Wrong));
    assert_eq!(steps, [Step::ComparePassword, Step::CompareCode]);
    scenario
        .when(both_digits(Wrong))
        .then("credentials.invalid")
        .records(&["unknown-name-refused"]);
}

/// Adds digits that do not depend on a secret.
fn both_digits(password: Password) -> impl FnOnce(&Scenario) -> Ask {
    with_code(
        start_login(password),
        |_| Code::parse("000000").expect("six digits"),
        None,
    )
}

fn steps_of(scenario: &Scenario, ask: impl FnOnce(&Scenario) -> Ask) -> Vec<Step> {
    let (command, password) = ask(scenario);
    let (evidence, steps) = scenario.gather_noting(&command, password);
    assert!(matches!(evidence.proof, ProofEvidence::Compared { .. }));
    steps
}
