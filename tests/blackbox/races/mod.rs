//! Many at once, over the bus: one winner, and a used code stays used whatever is killed.
//!
//! Each round of a contest sends 32 commands at once that cannot all be right. Every fifth round
//! kills the service (SIGKILL) after some of the replies and starts it again. Then every submitter
//! sends the same command again under the same id, like a client that got no reply.
//!
//! ```text
//! cargo test --test blackbox races -- --nocapture
//! RACE_ROUNDS=1000 cargo test --test blackbox races -- --nocapture
//! ```
//! The harness is tested too: `mutant.rs` builds a service that forgets which steps are spent.

mod contests;
mod crowds;
mod mutant;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::JoinSet;

use super::support::Rig;
use super::support::answer::Answer;
use super::support::bus::{Bus, fresh_id};

/// Commands of one round.
const CROWD: usize = 32;
/// Rounds of each contest, unless `RACE_ROUNDS` is set.
const ROUNDS: usize = 50;
/// A side that has won none in this many times the rounds is taken never to win.
const ROUNDS_FACTOR_MAX: usize = 10;
/// In one of this many rounds the service is killed.
const KILLED_ONE_IN: usize = 5;
/// Tries before a command that finds the service overloaded is given up.
const TRIES_MAX: usize = 1_000;
/// No waits and no suspension: every one of the crowd is compared.
const PATIENT: &str = "[policy]\nkdf_memory_kib = 8\nkdf_passes = 1\n\
    code_failures_free = 99\ncode_failures_budget = 100\nsuspend_after = 100\n";

/// One command of the crowd.
#[derive(Clone)]
struct Entry {
    id: String,
    name: &'static str,
    body: Value,
}

/// The same command from this many submitters, each under its own id.
fn entries(name: &'static str, body: &Value, count: usize) -> Vec<Entry> {
    let entry = |_| Entry {
        id: fresh_id(),
        name,
        body: body.clone(),
    };
    (0..count).map(entry).collect()
}

fn rounds() -> usize {
    std::env::var("RACE_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"))
}

fn count(answers: &[Answer], word: Option<&str>) -> usize {
    answers
        .iter()
        .filter(|answer| answer.word() == word)
        .count()
}

/// How many commands were done; a secret that only the killed process could show is
/// `outcome.unseen`.
fn winners(answers: &[Answer]) -> usize {
    count(answers, None) + count(answers, Some("outcome.unseen"))
}

/// Sends the crowd of a round at once, with a kill in every fifth round; returns every submitter's
/// last reply, in the order of the entries. The first to send has the better chance, so the two
/// ends of the crowd take turns.
async fn decide(rig: &mut Rig, crowd: &[Entry], round: usize) -> Vec<Answer> {
    if (round / 2).is_multiple_of(2) {
        return decide_in_order(rig, crowd, round).await;
    }
    let turned: Vec<_> = crowd.iter().rev().cloned().collect();
    let mut answers = decide_in_order(rig, &turned, round).await;
    answers.reverse();
    answers
}

async fn decide_in_order(rig: &mut Rig, crowd: &[Entry], round: usize) -> Vec<Answer> {
    if round % KILLED_ONE_IN != KILLED_ONE_IN - 1 {
        let answers = send(&rig.bus, crowd).await;
        assert_eq!(count(&answers, Some("outcome.unseen")), 0);
        return answers;
    }
    let heard = send_and_kill(rig, crowd, round * 7 % CROWD).await;
    let answers = send(&rig.bus, crowd).await;
    for (before, now) in heard.iter().zip(&answers) {
        if let Some(before) = before {
            assert_stands(before, now);
        }
    }
    answers
}

async fn send(bus: &Bus, crowd: &[Entry]) -> Vec<Answer> {
    join_all(crowd.iter().map(|entry| insist(bus, entry))).await
}

/// Sends until the service is not too busy to decide.
async fn insist(bus: &Bus, entry: &Entry) -> Answer {
    for _ in 0..TRIES_MAX {
        let answer = bus.try_command_as(entry.name, &entry.id, &entry.body).await;
        let answer = answer.expect("the service replies");
        if answer.word() != Some("overloaded") {
            return answer;
        }
    }
    panic!("{} was overloaded {TRIES_MAX} times", entry.name);
}

/// Kills the service after this many replies; returns the replies so far.
async fn send_and_kill(
    rig: &mut Rig,
    crowd: &[Entry],
    answers_before: usize,
) -> Vec<Option<Answer>> {
    let mut sending = JoinSet::new();
    for (place, entry) in crowd.iter().cloned().enumerate() {
        let bus = rig.bus.clone();
        sending.spawn(async move {
            let answer = bus.try_command_as(entry.name, &entry.id, &entry.body).await;
            (place, answer)
        });
    }
    let mut heard = vec![None; crowd.len()];
    for _ in 0..answers_before {
        let (place, answer) = sending.join_next().await.unwrap().unwrap();
        heard[place] = answer;
    }
    rig.kill_and_restart();
    sending.abort_all();
    while let Some(ended) = sending.join_next().await {
        if let Ok((place, answer)) = ended {
            heard[place] = answer;
        }
    }
    heard
}

/// An outcome that was recorded before the kill is the same after it.
fn assert_stands(before: &Answer, now: &Answer) {
    match (before.word(), now.word()) {
        (None, Some("outcome.unseen")) => {}
        (None | Some("code.invalid"), word) => {
            assert_eq!(before.word(), word, "{} {}", before.text, now.text);
            assert_eq!(before.body, now.body);
            assert!(now.is_replayed(), "{}", now.text);
        }
        (Some(_), _) => {}
    }
}

/// None of these submitters got another word than these.
fn only(answers: &[Answer], words: &[&str]) -> Result<(), String> {
    let is_known = |answer: &Answer| match answer.word() {
        None | Some("outcome.unseen") => true,
        Some(word) => words.contains(&word),
    };
    match answers.iter().find(|answer| !is_known(answer)) {
        None => Ok(()),
        Some(other) => Err(other.text.clone()),
    }
}

fn holds(what: &str, is_so: bool) -> Result<(), String> {
    is_so
        .then_some(())
        .ok_or(format!("this does not hold: {what}"))
}
