//! More crowds: many challenges, one name, a busy writer.

use futures_util::future::{join, join_all};
use tokio::task::JoinSet;

use super::{CROWD, PATIENT, count};
use crate::support::person::Person;
use crate::support::{CHEAP, Rig, model};

/// Rounds of each.
const ROUNDS: usize = 6;

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
    // Only a success spends a challenge: the others wait for another code.
    let next = ada.codes[0].clone();
    let answers = join_all(challenges.iter().map(|id| ada.verify(id, &next))).await;
    assert_eq!(count(&answers, None), 1);
    assert_eq!(count(&answers, Some("challenge.expired")), 1);
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
            let allowed = [None, Some("code.invalid"), Some("overloaded")];
            assert!(allowed.contains(&login.word()), "{}", login.text);
        }
        person.keep(&renewed);
    }
    load.shutdown().await;
    let head = person.start_login().await.position();
    model::check(&rig.bus.history(head).await, "ada");
}
