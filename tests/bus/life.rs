//! The service's life: overload, stopping, and a broker or a client that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, RequestErrorKind};
use countersign::bus::headers::{ERROR, MSG_ID};
use countersign::bus::{BusConfig, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign_schemas::ids::AccountId;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::gate::Gate;
use crate::service::{
    PATIENCE, Service, ask, at, body, broker, connect, dev, header, paced, refused, register,
    server, wall,
};

/// A request that was lost with the connection is sent again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Requests that are sent at once, and how many of eight one caller may have in flight: it leaves
/// half as much room as it takes.
const REQUESTS: usize = 100;
const TAKEN: usize = 6;

/// The request that a requester repeats.
#[derive(Clone, Copy)]
enum Asking {
    /// Accounts that are registered: a hash, a commit, a success. The pool has room for 64.
    Accounts,
    /// Cancelling enrolments that never began: only the writer is involved, and it appends nothing.
    Nothing,
}

/// The results of one requester's requests.
#[derive(Default)]
struct Tally {
    registered: Vec<String>,
    turned_away: usize,
}

/// Sends requests one after the other until there is no responder.
async fn ask_until_no_responder(
    client: Client,
    name: String,
    asking: Asking,
    answers: Arc<AtomicUsize>,
) -> Tally {
    let mut tally = Tally::default();
    loop {
        let id = format!("{name}-{}", tally.registered.len());
        let (subject, request) = match asking {
            Asking::Accounts => ("register-account", register(&id)),
            Asking::Nothing => ("cancel-enrolment", cancel(&id)),
        };
        let subject = format!("countersign.v1.command.{subject}");
        match client.request(subject, request.into()).await {
            Ok(reply) => {
                answers.fetch_add(1, Ordering::Relaxed);
                if header(&reply, ERROR).is_none() {
                    assert!(body(&reply)["details"]["position"].is_u64());
                    tally.registered.push(id);
                    continue;
                }
                match (asking, refused(&reply).as_str()) {
                    (_, "503 draining") | (Asking::Nothing, "404 account.not_found") => {}
                    _ => panic!("{reply:?}"),
                }
            }
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    RequestErrorKind::NoResponders,
                    "a request was lost"
                );
                tally.turned_away += 1;
                return tally;
            }
        }
    }
}

fn cancel(id: &str) -> Vec<u8> {
    let body = json!({"account_id": id, "authenticator_id": Uuid::nil().to_string()});
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_loses_no_request() {
    const IN_FLIGHT: usize = 500;
    const REGISTERING: usize = 40;
    let broker = broker();
    let service = Service::start(
        BusConfig {
            connection: at(&broker),
            identity: Identity::Dev,
            ..BusConfig::default()
        },
        paced(Duration::from_micros(200)),
    )
    .await;
    let client = connect(&broker).await;
    let answers = Arc::new(AtomicUsize::new(0));
    let requesters = (0..IN_FLIGHT).map(|at| {
        let asking = if at < REGISTERING {
            Asking::Accounts
        } else {
            Asking::Nothing
        };
        let answers = Arc::clone(&answers);
        let asking = ask_until_no_responder(client.clone(), format!("a{at}"), asking, answers);
        tokio::spawn(asking)
    });
    let requesters: Vec<_> = requesters.collect();
    // Every requester has about two replies and sends again.
    while answers.load(Ordering::Relaxed) < 2 * IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    let (engine, _folder) = service.stop().await;
    let mut registered = 0;
    for tally in join_all(requesters).await {
        let tally = tally.unwrap();
        assert_eq!(tally.turned_away, 1);
        for id in &tally.registered {
            let id = AccountId::parse(id).unwrap();
            engine.queries().login_status(&id, None).unwrap();
        }
        registered += tally.registered.len();
    }
    assert!(
        registered > 0,
        "some got the reply that they are registered"
    );
    let late = client
        .request("countersign.v1.query.errors", "".into())
        .await;
    assert_eq!(late.unwrap_err().kind(), RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_request_past_the_bound_of_requests_in_flight_is_refused() {
    let broker = broker();
    let gate = Arc::new(Gate::default());
    gate.open();
    let service = Service::start(
        BusConfig {
            connection: at(&broker),
            identity: Identity::Dev,
            in_flight_max: 8,
            ..BusConfig::default()
        },
        gate.clock("writer"),
    )
    .await;
    let client = connect(&broker).await;
    // Nothing is decided before every request without room was refused.
    gate.close();
    let (shed_one, mut shed) = mpsc::channel(REQUESTS);
    let asking = join_all((0..REQUESTS).map(async |at| {
        let id = format!("a{at}");
        let pairs = [(MSG_ID, id.as_str())];
        let reply = ask(&client, "command.register-account", &pairs, &register(&id)).await;
        assert_eq!(header(&reply, MSG_ID), Some(id.as_str()));
        if header(&reply, ERROR).is_some() {
            shed_one.send(()).await.unwrap();
        }
        reply
    }));
    let releasing = async {
        for _ in 0..REQUESTS - TAKEN {
            tokio::time::timeout(PATIENCE, shed.recv()).await.unwrap();
        }
        gate.open();
    };
    let (replies, ()) = tokio::join!(asking, releasing);
    let (done, shed): (Vec<_>, Vec<_>) = replies.iter().partition(|r| header(r, ERROR).is_none());
    assert_eq!(done.len(), TAKEN);
    for reply in shed {
        assert_eq!(refused(reply), "503 overloaded");
    }
    let page = ask(
        &client,
        "query.audit-page",
        &[],
        br#"{"types":["account-registered"]}"#,
    )
    .await;
    let recorded = body(&page)["events"].as_array().unwrap().len();
    assert_eq!(
        recorded,
        done.len(),
        "nothing was appended for those turned away"
    );
    service.stop().await;
}

/// Sends until there is a reply: requests that reach a connection in its last moment are lost, as
/// with any connection that breaks.
async fn sends_until_a_reply(broker: &Broker) {
    let options = ConnectOptions::new().request_timeout(Some(ASK_AGAIN_AFTER));
    let client = options.connect(broker.url()).await.unwrap();
    let errors = async {
        loop {
            let reply = client
                .request("countersign.v1.query.errors", "".into())
                .await;
            if let Ok(reply) = reply {
                return body(&reply);
            }
        }
    };
    let errors = tokio::time::timeout(PATIENCE, errors).await.unwrap();
    assert!(errors["errors"].is_array());
}

#[tokio::test]
async fn the_service_waits_for_a_broker_that_goes_away() {
    let broker = broker();
    let port = broker.port();
    let (mut service, client) = dev(&broker).await;
    drop(client);
    broker.stop().unwrap();
    service.is_ready(false).await;
    let options = BrokerOptions {
        port: Some(port),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    service.is_ready(true).await;
    sends_until_a_reply(&broker).await;
    service.stop().await;
}

#[tokio::test]
async fn a_service_stops_while_its_broker_is_away() {
    let broker = broker();
    let (mut service, _client) = dev(&broker).await;
    broker.stop().unwrap();
    service.is_ready(false).await;
    service.stop().await;
}

#[tokio::test]
async fn a_service_that_was_started_before_its_broker_waits_for_it() {
    let first = broker();
    let (port, connection) = (first.port(), at(&first));
    first.stop().unwrap();
    let config = BusConfig {
        connection,
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let starting = tokio::spawn(Service::start(config, wall()));
    let options = BrokerOptions {
        port: Some(port),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    let service = starting.await.unwrap();
    sends_until_a_reply(&broker).await;
    service.stop().await;
}
