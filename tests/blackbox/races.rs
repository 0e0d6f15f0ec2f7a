//! Many at once, over the bus: one winner, and a used code stays used whatever is killed.

use futures_util::future::{join, join_all};
use serde_json::Value;
use tokio::task::JoinSet;

use super::support::answer::Answer;
use super::support::bus::Bus;
use super::support::person::Person;
use super::support::{CHEAP, Rig, model};

/// Submitters of one code.
const CROWD: usize = 32;
/// Rounds of each race.
const ROUNDS: usize = 6;
/// No waits and no suspension: every one of the crowd is compared.
const PATIENT: &str = "[policy]\nkdf_memory_kib = 8\nkdf_passes = 1\n\
    code_failures_free = 99\ncode_failures_budget = 100\nsuspend_after = 100\n";

fn count(answers: &[Answer], word: Option<&str>) -> usize {
    answers
        .iter()
        .filter(|answer| answer.word() == word)
        .count()
}

async fn crowd(bus: &Bus, body: &Value) -> Vec<Answer> {
    join_all((0..CROWD).map(|_| bus.command("verify-login", body.clone()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_32_logins_with_one_app_code_one_succeeds() {
    let rig = Rig::start(PATIENT).await;
    for round in 0..ROUNDS {
        let name = format!("user-{round}");
        let mut person = Person::with_2fa(&rig.bus, &name).await;
        let code = person.phone().lasting();
        let answers = crowd(&rig.bus, &person.vouching(&code)).await;
        assert_eq!(count(&answers, None), 1);
        assert_eq!(count(&answers, Some("code.invalid")), CROWD - 1);
        let head = person.start_login().await.position();
        let events = rig.bus.history(head).await;
        model::check(&events, &name);
        assert_eq!(model::count(&events, &name, "totp-accepted"), 1);
        assert_eq!(model::count(&events, &name, "code-replayed"), CROWD - 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_32_logins_with_one_backup_code_one_succeeds() {
    let rig = Rig::start(CHEAP).await;
    let person = Person::with_2fa(&rig.bus, "ada").await;
    for code in &person.codes[..ROUNDS] {
        let answers = crowd(&rig.bus, &person.vouching(code)).await;
        assert_eq!(count(&answers, None), 1);
        let refused = count(&answers, Some("code.invalid"));
        assert_eq!(refused + count(&answers, Some("overloaded")), CROWD - 1);
    }
    let head = person.start_login().await.position();
    let events = rig.bus.history(head).await;
    model::check(&events, "ada");
    assert_eq!(model::count(&events, "ada", "backup-code-accepted"), ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_challenges_answered_with_one_code_one_login_completes() {
    let rig = Rig::start(PATIENT).await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let mut challenges = Vec::new();
    for _ in 0..8 {
        challenges.push(ada.challenge().await);
    }
    let code = ada.phone().lasting();
    let answers = join_all(challenges.iter().map(|id| ada.verify(id, &code))).await;
    assert_eq!(count(&answers, None), 1);
    // A challenge is spent by a success only: the others wait for another code.
    let next = ada.codes[0].clone();
    let answers = join_all(challenges.iter().map(|id| ada.verify(id, &next))).await;
    assert_eq!(count(&answers, None), 1);
    assert_eq!(count(&answers, Some("challenge.expired")), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_races_new_enrolments_and_the_state_follows_the_winner() {
    let rig = Rig::start(CHEAP).await;
    for round in 0..ROUNDS {
        let name = format!("user-{round}");
        let mut person = Person::register(&rig.bus, &name).await;
        person.enable().await;
        let code = person.phone().next();
        let confirm = rig.bus.command("confirm-code", person.confirming(&code));
        let enable = || rig.bus.command("enable-2fa", person.proven());
        let (confirmed, (one, two)) = match round % 2 {
            0 => join(confirm, join(enable(), enable())).await,
            _ => {
                let (enabled, confirmed) = join(join(enable(), enable()), confirm).await;
                (confirmed, enabled)
            }
        };
        let is_on = confirmed.word().is_none();
        if !is_on {
            confirmed.refused("factor.not_pending");
        }
        for enabled in [&one, &two] {
            assert!(
                matches!(enabled.word(), None | Some("factor.already_on")),
                "{}",
                enabled.text
            );
        }
        let state = person.status().await["second_factor"].clone();
        assert_eq!(state, if is_on { "on" } else { "pending" });
        let head = person.start_login().await.position();
        model::check(&rig.bus.history(head).await, &name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_races_disabling_and_regenerating_and_none_comes_after_its_end() {
    let rig = Rig::start(PATIENT).await;
    for round in 0..ROUNDS {
        let name = format!("user-{round}");
        let mut person = Person::with_2fa(&rig.bus, &name).await;
        let old = person.codes[0].clone();
        let renew = rig.bus.command("regenerate-backup-codes", person.proven());
        let (login, renewed) = match round % 2 {
            0 => join(person.vouched(&old), renew).await,
            _ => {
                let (renewed, login) = join(renew, person.vouched(&old)).await;
                (login, renewed)
            }
        };
        let won = login.word().is_none();
        assert!(
            won || login.word() == Some("code.invalid"),
            "{}",
            login.text
        );
        assert_eq!(renewed.ok()["superseded_unused"], if won { 9 } else { 10 });
        person.vouched(&old).await.refused("code.invalid");
        let code = person.phone().lasting();
        let disable = rig.bus.command("disable-2fa", person.proven());
        let logins = join_all((0..4).map(|_| person.vouched(&code)));
        let (disabled, logins) = join(disable, logins).await;
        disabled.ok();
        assert!(count(&logins, None) <= 1);
        for login in logins.iter().filter(|login| login.word().is_some()) {
            assert!(matches!(
                login.word(),
                Some("code.invalid" | "factor.not_on")
            ));
        }
        person.vouched(&code).await.refused("factor.not_on");
        let head = person.start_login().await.position();
        model::check(&rig.bus.history(head).await, &name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_registrations_of_one_name_have_one_winner() {
    let rig = Rig::start(CHEAP).await;
    for round in 0..ROUNDS {
        let register = |id: usize| {
            let body = serde_json::json!({"account_id": format!("{round}-{id}"),
                "username": format!("Name-{round}"), "password": "8 bytes."});
            rig.bus.command("register-account", body)
        };
        let answers = join_all((0..8).map(register)).await;
        assert_eq!(count(&answers, None), 1);
        assert_eq!(count(&answers, Some("account.exists")), 7);
    }
}

/// Sends to a crowd, kills the service after so many answers, and returns those that had come.
async fn crowd_and_kill(rig: &mut Rig, body: &Value, answers_before: usize) -> Vec<Answer> {
    let mut sending = JoinSet::new();
    for _ in 0..CROWD {
        let (bus, body) = (rig.bus.clone(), body.clone());
        sending.spawn(async move { bus.command("verify-login", body).await });
    }
    let mut answers = Vec::new();
    while answers.len() < answers_before {
        answers.push(sending.join_next().await.unwrap().unwrap());
    }
    rig.kill_and_restart();
    sending.abort_all();
    while let Some(ended) = sending.join_next().await {
        answers.extend(ended.ok());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_was_accepted_before_sigkill_is_refused_after_it() {
    let mut rig = Rig::start(PATIENT).await;
    for round in 0..ROUNDS {
        let name = format!("user-{round}");
        let mut person = Person::with_2fa(&rig.bus, &name).await;
        for code in [person.phone().lasting(), person.codes[round].clone()] {
            let body = person.vouching(&code);
            let before = crowd_and_kill(&mut rig, &body, round).await;
            let after = crowd(&rig.bus, &body).await;
            let accepted = count(&before, None) + count(&after, None);
            assert!(accepted <= 1, "{accepted} logins with one code");
            person.vouched(&code).await.refused("code.invalid");
        }
        let head = person.start_login().await.position();
        let events = rig.bus.history(head).await;
        model::has_no_gap(&events);
        model::check(&events, &name);
        for kind in ["totp-accepted", "backup-code-accepted"] {
            assert_eq!(model::count(&events, &name, kind), 1, "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_races_a_new_set_under_load_is_decided_and_never_a_version_conflict() {
    let rig = Rig::start(PATIENT).await;
    let mut person = Person::with_2fa(&rig.bus, "ada").await;
    let bystander = Person::register(&rig.bus, "bystander").await;
    let mut load = JoinSet::new();
    for _ in 0..CROWD {
        let (bus, body) = (rig.bus.clone(), bystander.vouching("123456"));
        load.spawn(async move {
            loop {
                bus.command("verify-login", body.clone()).await;
            }
        });
    }
    for round in 0..4 * ROUNDS {
        let old = person.codes[0].clone();
        let renew = rig.bus.command("regenerate-backup-codes", person.proven());
        let logins = join(person.vouched(&old), person.vouched(&old));
        let (renewed, logins) = match round % 2 {
            0 => join(renew, logins).await,
            _ => {
                let (logins, renewed) = join(logins, renew).await;
                (renewed, logins)
            }
        };
        for login in [&logins.0, &logins.1] {
            let told = [None, Some("code.invalid"), Some("overloaded")];
            assert!(told.contains(&login.word()), "{}", login.text);
        }
        person.keep(&renewed);
    }
    load.shutdown().await;
    let head = person.start_login().await.position();
    model::check(&rig.bus.history(head).await, "ada");
}
