//! Ten thousand commands, each sent five times, out of order, over a SIGKILL: one effect each, and
//! every reply equals the first one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::support::answer::Answer;
use super::support::bus::Bus;
use super::support::person::{PASSWORD, Person};
use super::support::stream::Stream;
use super::support::{CHEAP, Rig};

const COMMANDS: usize = 10_000;
const SENDS: usize = 5;
/// Users who spend every backup code that they have.
const SPENDERS: usize = 40;
/// Requests in flight at the same time, more than may wait for a hash.
const IN_FLIGHT: usize = 100;
/// After this time a reply never comes: the service was killed.
const LOST_AFTER: Duration = Duration::from_secs(10);
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

struct Command {
    id: String,
    name: &'static str,
    body: Value,
}

/// The requests, in an order from a seed: every command five times.
fn shuffled() -> Vec<usize> {
    let mut order: Vec<_> = (0..COMMANDS * SENDS).map(|at| at % COMMANDS).collect();
    let mut state = SEED;
    for at in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(at, (state % (at as u64 + 1)) as usize);
    }
    order
}

/// Commands that spend backup codes, and commands that make accounts.
async fn commands(bus: &Bus) -> Vec<Command> {
    let mut commands = Vec::new();
    for number in 0..SPENDERS {
        let person = Person::with_2fa(bus, &format!("spender-{number}")).await;
        commands.extend(person.codes.iter().map(|code| Command {
            id: String::new(),
            name: "verify-login",
            body: person.vouching(code),
        }));
    }
    for number in commands.len()..COMMANDS {
        let name = format!("user-{number}");
        commands.push(Command {
            id: String::new(),
            name: "register-account",
            body: json!({"account_id": name, "username": name, "password": PASSWORD}),
        });
    }
    for (number, command) in commands.iter_mut().enumerate() {
        command.id = format!("c-{number}");
    }
    commands
}

/// The replies to each command, by its place in the list.
type Answers = Arc<Mutex<HashMap<usize, Vec<Answer>>>>;

/// Sends one command until the reply is something other than `overloaded` or no responders.
async fn send(bus: &Bus, command: &Command) -> Answer {
    loop {
        let answer = bus
            .try_command_as(command.name, &command.id, &command.body)
            .await;
        match answer {
            Some(answer) if answer.word() != Some("overloaded") => return answer,
            Some(_) | None => tokio::task::yield_now().await,
        }
    }
}

/// N-02, N-04, N-05, N-07, N-10, X-10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_ten_thousand_commands_sent_five_times_over_a_sigkill_have_one_effect_each() {
    let mut rig = Rig::start(CHEAP).await;
    let bus = rig.bus.within(LOST_AFTER);
    let commands = Arc::new(commands(&bus).await);
    let order = Arc::new(shuffled());
    let (next, answers) = (Arc::new(AtomicUsize::new(0)), Answers::default());
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (commands, order) = (Arc::clone(&commands), Arc::clone(&order));
        let (next, answers, bus) = (Arc::clone(&next), Arc::clone(&answers), bus.clone());
        sending.spawn(async move {
            while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = send(&bus, &commands[*at]).await;
                answers.lock().await.entry(*at).or_default().push(answer);
            }
        });
    }
    super::support::site::eventually("half of them are sent", || {
        next.load(Ordering::Relaxed) > order.len() / 2
    });
    rig.kill_and_restart();
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
    let answers = answers.lock().await;
    assert_eq!(answers.len(), COMMANDS);
    for (at, answers) in answers.iter() {
        let first = &answers[0];
        assert_eq!(answers.len(), SENDS);
        assert!(
            first.word().is_none(),
            "{} {}",
            commands[*at].id,
            first.text
        );
        assert!(answers.iter().all(|answer| answer.body == first.body));
        let original = answers.iter().filter(|answer| !answer.is_replayed());
        // The first reply may have been lost with the process.
        assert!(original.count() <= 1);
    }
    has_one_effect_each(&rig, &commands).await;
}

/// The stream has every command's events once.
async fn has_one_effect_each(rig: &Rig, commands: &[Command]) {
    let head = Person::register(&rig.bus, "last")
        .await
        .start_login()
        .await
        .position();
    let stream = Stream::at(&rig.broker.url(), "COUNTERSIGN_EVENTS").await;
    let url = rig.broker.url();
    super::support::site::eventually_async("the last registration is published", async || {
        let stream = Stream::at(&url, "COUNTERSIGN_EVENTS").await;
        stream.ends_at(head).await
    })
    .await;
    let mut kinds: HashMap<String, Vec<String>> = HashMap::new();
    for event in stream.read().await {
        let text = |name: &str| event.body[name].as_str().unwrap().to_owned();
        kinds
            .entry(text("command_id"))
            .or_default()
            .push(text("type"));
    }
    for command in commands {
        let expected: &[&str] = match command.name {
            "verify-login" => &["backup-code-accepted"],
            _ => &["account-registered", "password-set"],
        };
        assert_eq!(kinds[&command.id], expected, "{}", command.id);
    }
}
