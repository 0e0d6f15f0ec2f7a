//! A siege: one installation that is killed again and again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::crash_point::POINTS;
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign_schemas::time::Micros;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fixture::{End, Fixture, Service};
use crate::history::History;
use crate::lane::Lane;
use crate::rng::Rng;
use crate::tally::Tally;
use crate::wire::{Ack, Answer, Sent, Wire};

const LANES: u64 = 6;
/// How long the service works before it is killed, at most; random up to this.
const LOAD_MS_MAX: u64 = 120;
/// The longest time to reach an armed point; no run comes near it.
const POINT_MS_MAX: u64 = 120_000;
/// A wait with less time left is not tried.
const WAIT_LEFT_MIN_S: u64 = 30;

pub struct Siege {
    fixture: Fixture,
    broker: Broker,
    rng: Rng,
    runtime: Runtime,
    lanes: Vec<Lane>,
    history: History,
    kept: Vec<Ack>,
    pub tally: Tally,
}

impl Siege {
    pub fn new(seed: u64) -> Self {
        let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))
            .expect("tests need a broker");
        let broker = Broker::start(&server, &BrokerOptions::default()).unwrap();
        let mut rng = Rng(seed);
        let lanes = (0..LANES).map(|lane| Lane::new(format!("u{lane}"), rng.next()));
        Self {
            fixture: Fixture::new(broker.url()),
            broker,
            lanes: lanes.collect(),
            rng,
            runtime: Runtime::new().unwrap(),
            history: History::default(),
            kept: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Runs cycles, each of which panics at the first broken promise; then checks every promise
    /// and every account once more.
    pub fn run(&mut self, cycles: u64) {
        for _ in 0..cycles {
            self.cycle();
        }
        let service = self.start();
        for ack in &self.kept {
            self.history.check(ack).unwrap();
        }
        let (wire, _alive) = self.wire();
        let accounts: Vec<_> = self.history.accounts().cloned().collect();
        self.check_statuses(&wire, &accounts);
        drop(service);
        self.tally.events = self.history.head;
    }

    fn cycle(&mut self) {
        // Every second cycle ends at a point, each point in turn.
        let (armed, number) = (self.tally.cycles.is_multiple_of(2), self.tally.cycles / 2);
        let point = POINTS[usize::try_from(number).unwrap() % POINTS.len()];
        let armed = armed.then_some(point);
        let turn = armed.map_or(0, |point| self.turn(point));
        match self.fixture.start(armed.map(|point| (point, turn))) {
            None => *self.tally.points.entry(armed.unwrap()).or_default() += 1,
            Some(service) => self.load_and_end(service, armed),
        }
        self.tally.cycles += 1;
        let service = self.start();
        let (wire, _alive) = self.wire();
        self.hold_to_promises(&wire);
        drop(service);
    }

    /// Points that few commands reach come the first time.
    fn turn(&mut self, point: &str) -> u64 {
        match point {
            "before-append" | "before-log" | "after-commit" | "before-reply" => {
                1 + self.rng.below(30)
            }
            "after-reply" => 1 + self.rng.below(60),
            "data-keys-written" | "data-keys-committed" => 1 + self.rng.below(3),
            "views-unwritten" | "views-written" => 1 + self.rng.below(20),
            _ => 1,
        }
    }

    fn load_and_end(&mut self, service: Service, armed: Option<&'static str>) {
        let (wire, dead) = self.wire();
        let working: Vec<_> = self
            .lanes
            .drain(..)
            .map(|lane| self.runtime.spawn(lane.work(wire.clone())))
            .collect();
        // Views and index are flushed, and the head is signed, at a clean stop.
        let gently =
            armed.is_some_and(|point| point.ends_with("flushed") || point.ends_with("unsigned"));
        let at_most = match armed {
            None => self.rng.below(LOAD_MS_MAX),
            Some(_) if gently => self.rng.below(LOAD_MS_MAX),
            Some(_) => POINT_MS_MAX,
        };
        let end = service.end_within(Duration::from_millis(at_most), gently);
        dead.send_replace(true);
        for lane in working {
            self.lanes.push(self.runtime.block_on(lane).unwrap());
        }
        match (end, armed) {
            (End::AtPoint, Some(point)) => *self.tally.points.entry(point).or_default() += 1,
            (End::AtPoint, None) => panic!("it aborted by itself"),
            (End::Killed | End::Stopped, _) => {}
        }
    }

    fn start(&mut self) -> Service {
        let service = self.fixture.start(None).expect("nothing is armed");
        self.tally.longest_start = self.tally.longest_start.max(service.started_in);
        service
    }

    fn wire(&self) -> (Wire, watch::Sender<bool>) {
        let (sender, dead) = watch::channel(false);
        let client = self
            .runtime
            .block_on(async_nats::connect(self.broker.url()))
            .unwrap();
        (Wire { client, dead }, sender)
    }

    /// Reads the history to its end. The login view knows the end before the trail does, and
    /// reading adds access records, so the end is where no more events come.
    fn read_on(&mut self, wire: &Wire) {
        loop {
            let body = json!({"after": self.history.head, "limit": 500});
            let page = self.runtime.block_on(wire.query("audit-page", body));
            let events = page["events"].as_array().unwrap();
            for event in events {
                self.history.push(event).unwrap();
            }
            if events.is_empty() && self.history.head >= self.shown_position(wire) {
                return;
            }
        }
    }

    fn shown_position(&self, wire: &Wire) -> u64 {
        let Some(account) = self.history.accounts().next() else {
            return 0;
        };
        let name = format!("login-status.{account}");
        let status = self.runtime.block_on(wire.query(&name, json!({})));
        status["position"].as_u64().unwrap()
    }

    fn hold_to_promises(&mut self, wire: &Wire) {
        self.read_on(wire);
        let acks: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.acks.drain(..))
            .collect();
        for ack in &acks {
            self.history.check(ack).unwrap();
            self.tally.count(ack);
        }
        self.repeat(wire, &acks);
        self.kept.extend(acks);
        let lanes = std::mem::take(&mut self.lanes);
        let settled = lanes.into_iter().map(|mut lane| {
            let wire = wire.clone();
            self.runtime.spawn(async move {
                lane.settle(&wire).await;
                lane.replay_codes(&wire).await.unwrap();
                lane
            })
        });
        let settled: Vec<_> = settled.collect();
        for lane in settled {
            self.lanes.push(self.runtime.block_on(lane).unwrap());
        }
        self.read_on(wire);
        self.throttled_users_still_wait(wire);
        self.read_on(wire);
        let late: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.acks.drain(..))
            .collect();
        for ack in &late {
            self.history.check(ack).unwrap();
        }
        self.kept.extend(late);
        self.no_event_is_without_a_command();
        let accounts: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| lane.user.account.clone())
            .collect();
        self.check_statuses(wire, &accounts);
    }

    /// A wait outlives the process that set it, in the account and not only in the view.
    fn throttled_users_still_wait(&mut self, wire: &Wire) {
        for lane in &mut self.lanes {
            // A wait that is nearly over might end on the way.
            let soon = later(WAIT_LEFT_MIN_S);
            if self.history.is_throttled(&lane.user.account, &soon) {
                let sent = lane.user.replay("000000");
                let ack = self
                    .runtime
                    .block_on(wire.command(&sent))
                    .expect("it lives");
                assert_eq!(ack.answer.code(), Some("account.throttled"), "{ack:?}");
                lane.acks.push(ack);
                self.tally.waits += 1;
            }
        }
    }

    /// Sends every recorded command again: the same outcome, and no second effect.
    fn repeat(&mut self, wire: &Wire, acks: &[Ack]) {
        let head = self.history.head;
        // One after the other within an account, which has few slots for slow proofs.
        let mut by_account: BTreeMap<String, Vec<Ack>> = BTreeMap::new();
        for ack in acks.iter().filter(|ack| self.history.has(&ack.sent.id)) {
            by_account
                .entry(ack.sent.account().into())
                .or_default()
                .push(ack.clone());
        }
        let repeats: Vec<_> = by_account
            .into_values()
            .map(|acks| {
                let wire = wire.clone();
                self.runtime.spawn(async move {
                    for ack in acks {
                        let again = wire.command(&ack.sent).await.expect("the service lives");
                        check_repeat(&ack, &again);
                    }
                })
            })
            .collect();
        for repeat in repeats {
            self.runtime.block_on(repeat).unwrap();
        }
        self.read_on(wire);
        assert_eq!(
            self.history.head, head,
            "a repeated command had a second effect"
        );
    }

    fn no_event_is_without_a_command(&self) {
        let known: std::collections::HashSet<_> =
            self.kept.iter().map(|ack| ack.sent.id.as_str()).collect();
        let ghost = self
            .history
            .commands()
            .find(|id| !known.contains(id.as_str()) && !self.history.is_own(id));
        assert_eq!(ghost, None, "an event that no command explains");
    }

    fn check_statuses(&self, wire: &Wire, accounts: &[String]) {
        let known = accounts
            .iter()
            .filter(|account| self.history.accounts().any(|a| a == *account));
        for account in known {
            let from = now();
            let name = format!("login-status.{account}");
            let status = self.runtime.block_on(wire.query(&name, json!({})));
            self.history.check_status(&status, &from, &now()).unwrap();
        }
    }

    /// Lets a liar reply to one command when it is sent, kills the service before it can append,
    /// and returns whether the harness found this.
    pub fn finds_out_a_lie(&mut self) -> bool {
        let armed = ("before-append", 1);
        let service = self.fixture.start(Some(armed));
        let service = service.expect("no command, no append");
        let (wire, _alive) = self.wire();
        let name = format!("lie-{}", self.rng.next());
        let sent = Sent {
            id: format!("{name}-0"),
            name: "register-account",
            body: json!({"username": name, "password": "correct horse"}),
        };
        let lie = Ack {
            sent: sent.clone(),
            answer: Answer::Done(json!({"details": Value::Null})),
            replayed: false,
        };
        let honest = self.runtime.spawn(async move { wire.command(&sent).await });
        // Without points, as in a release build, only an immediate kill comes before the append.
        let at_most = if cfg!(debug_assertions) {
            POINT_MS_MAX
        } else {
            0
        };
        service.end_within(Duration::from_millis(at_most), false);
        honest.abort();
        let service = self.start();
        let (wire, _alive) = self.wire();
        self.read_on(&wire);
        drop(service);
        self.history
            .check(&lie)
            .is_err_and(|why| why.starts_with("lost"))
    }
}

/// Checks that a repeat has the first outcome; a reply with secrets is never shown again.
fn check_repeat(first: &Ack, again: &Ack) {
    let was_secret = match &first.answer {
        Answer::Done(reply) => is_secret(reply),
        Answer::Refused(code) => code == "outcome.unseen",
    };
    let same = if was_secret {
        again.answer.code() == Some("outcome.unseen")
    } else {
        again.replayed && again.answer == first.answer
    };
    assert!(same, "{first:?} {again:?}");
}

/// Whether a reply showed a secret that no other reply may show.
fn is_secret(reply: &Value) -> bool {
    ["secret", "backup_codes", "challenge_id"]
        .iter()
        .any(|field| !reply[*field].is_null())
}

fn now() -> String {
    later(0)
}

fn later(seconds: u64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Micros(u64::try_from(since.as_micros()).unwrap());
    now.plus_s(seconds).to_string()
}
