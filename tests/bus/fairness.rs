//! A caller that keeps threads busy does not make another caller wait. A gate in the clock holds
//! the threads, so no result rests on durations.

use std::sync::Arc;

use async_nats::Client;
use countersign::bus::headers::{CALLER, DEADLINE, ERROR, MIN_POSITION, MSG_ID};
use countersign::bus::{BusConfig, Identity};
use countersign::dev::broker::Broker;
use tokio::task::JoinSet;

use crate::gate::Gate;
use crate::service::{Service, ask, at, body, broker, connect, header, refused, registered};

/// No test lasts this long; a query with a deadline reads the clock on its thread.
const FAR: &str = "2999-01-01T00:00:00Z";

/// A service in dev mode; the gate holds its threads of this name.
async fn held(broker: &Broker, thread: &'static str) -> (Service, Client, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let config = BusConfig {
        connection: at(broker),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let service = Service::start(config, gate.clock(thread)).await;
    let client = connect(broker).await;
    registered(&client, "ada").await;
    (service, client, gate)
}

type Replies = JoinSet<Option<String>>;

/// Sends the same request many times; returns the words of the refusals, `None` for a success.
fn send(
    client: &Client,
    times: usize,
    caller: &str,
    subject: &str,
    query: &'static str,
) -> Replies {
    (0..times)
        .map(|n| {
            let (client, caller) = (client.clone(), caller.to_owned());
            let (subject, id) = (subject.to_owned(), format!("{caller}-{n}"));
            async move {
                let pairs = [(CALLER, &*caller), (DEADLINE, FAR), (MSG_ID, &*id)];
                let reply = ask(&client, &subject, &pairs, query.as_bytes()).await;
                header(&reply, ERROR).map(Into::into)
            }
        })
        .collect()
}

const EXPORT: &str = r#"{"format":"jsonl","through":4}"#;

/// A-19.
/// C9, S-09: exports of one auditor, and support agents, login checks and operators beside them.
#[tokio::test]
async fn one_auditors_exports_hold_up_neither_agents_nor_login_checks_nor_operators() {
    let broker = broker();
    let (service, client, gate) = held(&broker, "query-audit").await;
    let exports = send(&client, 300, "eve", "query.audit-export", EXPORT);
    gate.holds(1).await;
    let find = r#"{"username":"ada"}"#;
    for (subject, query) in [
        ("query.login-status.ada", ""),
        ("query.find-account", find),
        ("query.account-card.ada", ""),
        ("query.reset-queue", ""),
        ("admin.key-list", ""),
        ("admin.view-list", ""),
        ("admin.log-stats", ""),
        (
            "admin.view-rebuild",
            r#"{"view":"reset-queue","reason":"test"}"#,
        ),
    ] {
        let replies = send(&client, 1, "alice", subject, query).join_all().await;
        assert_eq!(replies, [None], "{subject}");
    }
    // A second auditor gets the second thread, and is not shed because of the first one's flood.
    let other = send(&client, 4, "grace", "query.audit-export", EXPORT);
    gate.holds(2).await;
    gate.open();
    assert_eq!(other.join_all().await, vec![None; 4]);
    let replies = exports.join_all().await;
    let answered = replies.iter().filter(|replies| replies.is_none()).count();
    // If all arrive before a thread takes one, the one at work was among the 64 that may wait.
    assert!(matches!(answered, 64 | 65), "{answered}");
    assert!(replies.iter().flatten().all(|word| word == "overloaded"));
    service.stop().await;
}

#[tokio::test]
async fn an_operators_acts_hold_up_no_login_check_and_no_operators_query() {
    let broker = broker();
    let (service, client, gate) = held(&broker, "query-act").await;
    let rebuild = r#"{"view":"reset-queue","reason":"test"}"#;
    let acts = send(&client, 20, "eve", "admin.view-rebuild", rebuild);
    gate.holds(2).await;
    for subject in [
        "query.login-status.ada",
        "query.account-card.ada",
        "admin.log-stats",
        "query.audit-page",
    ] {
        let replies = send(&client, 1, "eve", subject, "").join_all().await;
        assert_eq!(replies, [None], "{subject}");
    }
    let other = send(&client, 1, "grace", "admin.view-rebuild", rebuild);
    gate.holds(3).await;
    gate.open();
    assert_eq!(other.join_all().await, [None]);
    let replies = acts.join_all().await;
    let overloaded = |replies: &&Option<String>| replies.as_deref() == Some("overloaded");
    // Two at work and four waiting; if all arrive before a thread takes one, four in all.
    let shed = replies.iter().filter(overloaded).count();
    assert!((14..=16).contains(&shed), "{shed}");
    service.stop().await;
}

/// A query may wait for a position that never comes; a query for an existing position does not wait
/// for it.
#[tokio::test]
async fn a_position_that_is_never_reached_holds_up_only_the_query_that_names_it() {
    let broker = broker();
    let (service, client, gate) = held(&broker, "query-wait").await;
    let ahead = |caller: &str| {
        let (client, caller) = (client.clone(), caller.to_owned());
        async move {
            let pairs = [
                (CALLER, &*caller),
                (DEADLINE, FAR),
                (MIN_POSITION, "1000000"),
            ];
            refused(&ask(&client, "query.login-status.ada", &pairs, b"").await)
        }
    };
    let flood: JoinSet<_> = (0..300).map(|_| ahead("eve")).collect();
    gate.holds(2).await;
    let reached = [(CALLER, "eve"), (DEADLINE, FAR), (MIN_POSITION, "4")];
    body(&ask(&client, "query.login-status.ada", &reached, b"").await);
    let others: JoinSet<_> = ["bob", "grace", "heidi"].map(ahead).into_iter().collect();
    gate.holds(5).await;
    gate.open();
    let others = others.join_all().await;
    assert_eq!(others, ["503 projection.behind"; 3]);
    let replies = flood.join_all().await;
    let waited = replies
        .iter()
        .filter(|replies| *replies == "503 projection.behind");
    assert_eq!(waited.count(), 10, "two at work and eight waiting");
    service.stop().await;
}

/// S-09: the requests of one caller in flight leave room for the next caller.
#[tokio::test]
async fn a_caller_that_waits_for_all_it_can_leaves_room_for_the_next() {
    let broker = broker();
    let gate = Arc::new(Gate::default());
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        in_flight_max: 30,
        ..BusConfig::default()
    };
    let service = Service::start(config, gate.clock("query")).await;
    let client = connect(&broker).await;
    registered(&client, "ada").await;
    let flood = send(&client, 300, "eve", "query.login-status.ada", "");
    gate.holds(2).await;
    let others = send(&client, 4, "alice", "query.login-status.ada", "");
    // Refused at once, but after the service took every earlier request of this subscription.
    let replies = send(&client, 1, "bob", "query.login-status.ada", r#"{"x":1}"#);
    assert_eq!(replies.join_all().await, [Some("request.invalid".into())]);
    for subject in ["query.errors", "query.schema.errors-response"] {
        let replies = send(&client, 1, "eve", subject, "").join_all().await;
        assert_ne!(replies[0].as_deref(), Some("overloaded"), "{subject}");
    }
    gate.open();
    assert_eq!(others.join_all().await, vec![None; 4]);
    let replies = flood.join_all().await;
    let answered = replies.iter().filter(|replies| replies.is_none()).count();
    assert!((20..30).contains(&answered), "two thirds of 30: {answered}");
    service.stop().await;
}
