//! The five contests. Each has a fresh account a round, one winner, and a history without a flaw.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CROWD, PATIENT, ROUNDS_FACTOR_MAX, decide, entries, holds, only, rounds, winners};
use crate::support::Rig;
use crate::support::answer::Answer;
use crate::support::model;
use crate::support::person::Person;

/// Plays every round of a contest, and goes on until each side has won one; each round returns the
/// side that won.
async fn play(
    sides: &[&'static str],
    contest: impl AsyncFn(&mut Rig, usize) -> Result<&'static str, String>,
) {
    let mut rig = Rig::start(PATIENT).await;
    let mut won: BTreeMap<_, usize> = sides.iter().map(|side| (*side, 0)).collect();
    let mut round = 0;
    while round < rounds() || won.values().any(|times| *times == 0) {
        assert!(
            round < rounds() * ROUNDS_FACTOR_MAX,
            "one side never won, so there was no race: {won:?}"
        );
        let side = contest(&mut rig, round).await;
        let side = side.unwrap_or_else(|flaw| panic!("round {round}: {flaw}"));
        *won.get_mut(side).expect("it is one of the sides") += 1;
        round += 1;
    }
    println!("{round} rounds of {CROWD}, won by {won:?}");
}

fn one_winner(answers: &[Answer]) -> Result<(), String> {
    match winners(answers) {
        1 => Ok(()),
        several => Err(format!("{several} commands were done with one code")),
    }
}

fn events(life: &[Value], person: &Person, kind: &str) -> usize {
    model::count(life, &person.account, kind)
}

pub(super) async fn one_app_code(rig: &mut Rig, round: usize) -> Result<&'static str, String> {
    let mut person = Person::with_2fa(&rig.bus, &format!("app-{round}")).await;
    let code = person.phone().lasting();
    let crowd = entries("verify-login", &person.vouching(&code), CROWD);
    let answers = decide(rig, &crowd, round).await;
    one_winner(&answers)?;
    only(&answers, &["code.invalid"])?;
    let life = person.life().await;
    let (accepted, replayed) = (
        events(&life, &person, "totp-accepted"),
        events(&life, &person, "code-replayed"),
    );
    holds("each has one event", (accepted, replayed) == (1, CROWD - 1))?;
    person.vouched(&code).await.refused("code.invalid");
    Ok("a login")
}

pub(super) async fn one_backup_code(rig: &mut Rig, round: usize) -> Result<&'static str, String> {
    let person = Person::with_2fa(&rig.bus, &format!("backup-{round}")).await;
    let code = &person.codes[round % 10];
    let crowd = entries("verify-login", &person.vouching(code), CROWD);
    let answers = decide(rig, &crowd, round).await;
    one_winner(&answers)?;
    only(&answers, &["code.invalid"])?;
    let life = person.life().await;
    let (accepted, rejected) = (
        events(&life, &person, "backup-code-accepted"),
        events(&life, &person, "backup-code-rejected"),
    );
    holds("each has one event", (accepted, rejected) == (1, CROWD - 1))?;
    person.vouched(code).await.refused("code.invalid");
    Ok("a login")
}

/// A confirmation and new enrolments: the first one voids the others.
async fn confirm_or_enable(rig: &mut Rig, round: usize) -> Result<&'static str, String> {
    let mut person = Person::register(&rig.bus, &format!("new-{round}")).await;
    person.enable().await;
    let code = person.phone().next();
    let confirming = [CROWD - 1, CROWD / 2, 1][round % 3];
    let mut crowd = entries("confirm-code", &person.confirming(&code), confirming);
    crowd.extend(entries("enable-2fa", &person.proven(), CROWD - confirming));
    let answers = decide(rig, &crowd, round).await;
    let (confirms, enables) = answers.split_at(confirming);
    only(confirms, &["factor.not_pending"])?;
    only(enables, &["factor.already_on"])?;
    let (confirmed, enabled) = (winners(confirms), winners(enables));
    let one_side = match confirmed {
        0 => enabled == enables.len(),
        _ => (confirmed, enabled) == (1, 0),
    };
    holds("one side won", one_side)?;
    let state = if confirmed == 1 { "on" } else { "pending" };
    assert_eq!(person.status().await["second_factor"], state);
    let life = person.life().await;
    let on = events(&life, &person, "two-factor-enabled");
    let started = events(&life, &person, "enrolment-started");
    holds(
        "each has one event",
        (on, started) == (confirmed, 1 + enabled),
    )?;
    if confirmed == 1 {
        person.vouched(&code).await.refused("code.invalid");
        return Ok("a confirmation");
    }
    Ok("the enrolments")
}

/// Half of the rounds bring the login's own code as the proof of disabling.
async fn login_or_disable(rig: &mut Rig, round: usize) -> Result<&'static str, String> {
    let mut person = Person::with_2fa(&rig.bus, &format!("off-{round}")).await;
    let code = person.phone().lasting();
    let with_code = round.is_multiple_of(2);
    let proof = if with_code {
        person.proven_with(&code)
    } else {
        person.proven()
    };
    let mut crowd = entries("verify-login", &person.vouching(&code), CROWD / 2);
    crowd.extend(entries("disable-2fa", &proof, CROWD / 2));
    let answers = decide(rig, &crowd, round).await;
    let (logins, disables) = answers.split_at(CROWD / 2);
    only(logins, &["code.invalid", "factor.not_on"])?;
    only(disables, &["code.invalid", "factor.not_on"])?;
    let (logged_in, disabled) = (winners(logins), winners(disables));
    let life = person.life().await;
    let accepted = events(&life, &person, "totp-accepted");
    let off = events(&life, &person, "two-factor-disabled");
    holds("each has one event", off == disabled)?;
    if with_code {
        one_winner(&answers)?;
        holds("the code was accepted once", accepted == 1)?;
    } else {
        holds("it was disabled once", disabled == 1)?;
        holds("one login at most", logged_in <= 1 && accepted == logged_in)?;
    }
    let refused = match disabled {
        0 => "code.invalid",
        _ => "factor.not_on",
    };
    person.vouched(&code).await.refused(refused);
    Ok(match (logged_in, disabled) {
        (0, _) => "disabling",
        (_, 0) => "a login",
        (..) => "a login, then disabling",
    })
}

/// Half of the rounds bring the login's own code as the proof of regenerating.
async fn login_or_regenerate(rig: &mut Rig, round: usize) -> Result<&'static str, String> {
    let person = Person::with_2fa(&rig.bus, &format!("set-{round}")).await;
    let code = &person.codes[round % 10];
    let with_code = round.is_multiple_of(2);
    let (proof, renewing) = if with_code {
        (person.proven_with(code), CROWD / 2)
    } else {
        (person.proven(), 2)
    };
    let mut crowd = entries("regenerate-backup-codes", &proof, renewing);
    crowd.extend(entries(
        "verify-login",
        &person.vouching(code),
        CROWD - renewing,
    ));
    let answers = decide(rig, &crowd, round).await;
    let (renewals, logins) = answers.split_at(renewing);
    only(&answers, &["code.invalid"])?;
    let (renewed, logged_in) = (winners(renewals), winners(logins));
    let life = person.life().await;
    let accepted = events(&life, &person, "backup-code-accepted");
    let issued = events(&life, &person, "backup-codes-issued");
    holds("each has one event", issued == 1 + renewed)?;
    if with_code {
        one_winner(&answers)?;
        holds("the code was accepted once", accepted == 1)?;
    } else {
        holds("every new set was made", renewed == renewing)?;
        holds("one login at most", logged_in <= 1 && accepted == logged_in)?;
    }
    person.vouched(code).await.refused("code.invalid");
    Ok(match (logged_in, renewed) {
        (0, _) => "a new set",
        (_, 0) => "a login",
        (..) => "a login, then a new set",
    })
}

/// D-01: one code in 32 logins at once, killed in between, is one login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_32_logins_with_one_app_code_one_succeeds() {
    play(&["a login"], one_app_code).await;
}

/// X-02 (on one node), R-03.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_32_logins_with_one_backup_code_one_succeeds() {
    play(&["a login"], one_backup_code).await;
}

/// the state follows the winner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_races_new_enrolments_and_the_state_follows_the_winner() {
    play(&["a confirmation", "the enrolments"], confirm_or_enable).await;
}

/// X-04, C-15: one code, one effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_races_disabling_with_one_code_and_none_comes_after_its_end() {
    play(
        &["a login", "a login, then disabling", "disabling"],
        login_or_disable,
    )
    .await;
}

/// the old code works once before the new set or never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_races_a_new_set_with_one_code_and_none_comes_after_its_end() {
    play(
        &["a login", "a login, then a new set", "a new set"],
        login_or_regenerate,
    )
    .await;
}
