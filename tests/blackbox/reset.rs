//! The support reset with the real binary: two agents at their shells, and the owner's veto.

use serde_json::{Value, json};

use super::cli::Shell;
use super::support::bus::{Bus, fresh_id};
use super::support::person::Person;
use super::support::{CHEAP, Rig};

/// Sends a support agent's command, and returns the word if it is refused.
pub(super) async fn support(bus: &Bus, name: &str, body: Value) -> Result<Value, String> {
    let subject = format!("countersign.v1.support.{name}");
    let headers = [("Nats-Msg-Id", &*fresh_id())];
    let answer = bus
        .send(&subject, &headers, body.to_string().as_bytes())
        .await;
    match answer.word() {
        Some(word) => Err(word.to_owned()),
        None => Ok(answer.body),
    }
}

/// RS-01, RS-05, RS-07, RS-08, R-18, over a kill of the process in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rs05_a_reset_is_requested_approved_by_another_agent_and_cancelled_by_its_owner() {
    let mut rig = Rig::start(CHEAP).await;
    let (alice, bob) = (rig.bus.named("alice"), rig.bus.named("bob"));
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let request =
        json!({"account_id": "ada", "reason": "lost both", "ticket": "T-1", "lost": "both"});
    let opened = support(&alice, "request-reset", request.clone())
        .await
        .unwrap();
    assert_eq!(opened["state"], "waiting-approval");
    let case = json!({"case_id": opened["case_id"], "reason": "as agreed"});
    let own = support(&alice, "approve-reset", case.clone()).await;
    assert_eq!(own.unwrap_err(), "approval.self");
    let second = support(&bob, "request-reset", request.clone()).await;
    assert_eq!(second.unwrap_err(), "reset.open");
    rig.kill_and_restart();
    let approved = support(&bob, "approve-reset", case.clone()).await.unwrap();
    assert_eq!(approved["state"], "cooling-off");
    let early = support(&alice, "execute-reset", case.clone()).await;
    assert_eq!(early.unwrap_err(), "reset.cooling_off");
    let code = ada.codes[0].clone();
    ada.log_in(&code).await.ok();
    let closed = support(&alice, "execute-reset", case.clone()).await;
    assert_eq!(closed.unwrap_err(), "reset.closed");
    support(&alice, "request-reset", request).await.unwrap();
    let objected = rig
        .bus
        .command("cancel-reset", json!({"account_id": "ada"}))
        .await;
    assert_eq!(objected.ok()["state"], "cancelled");
    let twice = rig
        .bus
        .command("cancel-reset", json!({"account_id": "ada"}))
        .await;
    twice.refused("reset.none");
    let query = json!({"state": "cancelled"});
    let queue = rig.bus.query("reset-queue", query).await;
    assert_eq!(queue.ok()["cases"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_at_their_shells_see_what_will_change_and_type_the_account_back() {
    let rig = Rig::start(CHEAP).await;
    Person::with_2fa(&rig.bus, "ada").await;
    let (alice, bob) = (Shell::of(&rig, "alice"), Shell::of(&rig, "bob"));
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    let request = words("support reset request ada --reason lost --ticket T-1 --lost app");
    for typed in ["", "eve\n"] {
        let asked = alice.plain(&request, typed);
        assert_eq!(asked.code, 2, "{}", asked.stderr);
        assert!(asked.stderr.contains("Another agent must approve it"));
        assert!(asked.stderr.contains("nothing was sent"));
    }
    let nothing = alice.plain(&words("support reset list"), "");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, "no cases\n"));
    let asked = alice.plain(&request, "ada\n");
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let queue = alice.json(&words("support reset list"), "").json();
    let case = queue["cases"][0]["case_id"].as_str().unwrap().to_owned();
    assert!(asked.stdout.contains(&case));
    let table = bob.plain(&words("support reset list --state waiting-approval"), "");
    for shown in [
        "CASE",
        "AGE",
        &case,
        "ada",
        "alice",
        "T-1",
        "lost",
        "open until",
    ] {
        assert!(table.stdout.contains(shown), "{}", table.stdout);
    }
    let step = |verb, more: &[&'static str]| {
        let mut all = vec!["support", "reset", verb, &case, "--reason", "checked"];
        all.extend(more);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |shell: &Shell, words: &[String], json: bool, typed: &str| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if json {
            shell.json(&words, typed)
        } else {
            shell.plain(&words, typed)
        }
    };
    run(&alice, &step("approve", &["--yes"]), true, "").refused(3, "approval.self");
    let asked = run(&bob, &step("approve", &[]), false, "ada\n");
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert!(asked.stderr.contains("requested by alice") && asked.stderr.contains("Reason: lost"));
    assert!(
        asked.stdout.contains("may be executed after"),
        "{}",
        asked.stdout
    );
    run(&bob, &step("execute", &["--yes"]), true, "").refused(3, "reset.cooling_off");
    let card = bob.plain(&words("support account show ada"), "");
    for shown in ["a… (3 characters)", "10 unused of set 1", "cooling-off"] {
        assert!(card.stdout.contains(shown), "{}", card.stdout);
    }
    let found = bob.json(&words("support account find ADA"), "").json();
    assert_eq!(found["account_id"], "ada");
    let suspend = words("support factor suspend ada --reason stolen --ticket T-2 --yes");
    assert_eq!(bob.json(&suspend, "").json()["state"], "suspended");
    let vetoed = alice.json(&words("factor cancel-reset ada"), "").json();
    assert_eq!(vetoed["state"], "cancelled");
    run(&bob, &step("cancel", &["--yes"]), true, "").refused(3, "reset.closed");
    let unknown = words("support reset approve unknown-case --reason r --yes");
    alice.json(&unknown, "").refused(3, "case.not_found");
    let without = alice.plain(&words("support reset approve x --yes"), "");
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("--reason"), "{}", without.stderr);
}
