//! The service checks the stream's settings again while it runs.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use async_nats::Client;
use countersign::bus::{BusConfig, Identity, Publishing, Traffic};
use countersign::http::{self, Watched};
use countersign_schemas::admin::PublicationState;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::service::{PATIENCE, Service, at, broker, connect, registered, wall};

const STREAM: &str = "COUNTERSIGN_EVENTS";
const POLL: Duration = Duration::from_millis(5);

thread_local! {
    /// The log lines of one test; all its tasks run on its thread.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the log lines from now on. All threads share one subscriber: with one for each, both tests
/// can lose a line that they reach at the same time.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_writer(|| Lines).init();
    });
}

/// How many lines have both.
fn logged(level: &str, words: &str) -> usize {
    let text = LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap());
    let has = |line: &&str| line.contains(level) && line.contains(words);
    text.lines().filter(has).count()
}

async fn stream(client: &Client, verb: &str, body: &Value) -> Value {
    let subject = format!("$JS.API.STREAM.{verb}.{STREAM}");
    let answer = client.request(subject, body.to_string().into()).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
    answer
}

/// Gives the stream another setting.
async fn set(client: &Client, name: &str, value: i64) {
    let mut config = stream(client, "INFO", &json!({})).await["config"].take();
    config[name] = json!(value);
    stream(client, "UPDATE", &config).await;
}

fn all_is_published(state: &PublicationState) -> bool {
    state.lag == 0 && state.halted.is_none()
}

async fn messages(client: &Client) -> Value {
    stream(client, "INFO", &json!({})).await["state"]["messages"].take()
}

/// Waits until publication is as wanted.
async fn comes_to(service: &Service, what: &str, is_so: impl Fn(&PublicationState) -> bool) {
    let waiting = async {
        while !service
            .engine
            .readings()
            .publication
            .is_some_and(|state| is_so(&state))
        {
            tokio::time::sleep(POLL).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    came.unwrap_or_else(|_| panic!("not {what}: {:?}", service.engine.readings()));
}

/// The HTTP address of health and metrics.
async fn watched(service: &Service, traffic: &Traffic) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let watched = Watched {
        engine: Arc::clone(&service.engine),
        traffic: traffic.clone(),
        ready: service.ready.clone(),
    };
    tokio::spawn(http::serve(listener, watched));
    address
}

async fn page(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).await.unwrap();
    page
}

/// N-17, while it runs: publication halts and reports why, commands go on, and the due events are
/// published once the settings are right again.
#[tokio::test]
async fn settings_that_drift_while_it_runs_halt_publication_until_they_are_put_right() {
    listen();
    let broker = broker();
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        publishing: Some(Publishing {
            check_every: Duration::from_millis(20),
            ..Publishing::default()
        }),
        ..BusConfig::default()
    };
    let traffic = config.traffic.clone();
    let service = Service::start(config, wall()).await;
    let address = watched(&service, &traffic).await;
    let client = connect(&broker).await;
    registered(&client, "ada").await;
    comes_to(&service, "published", all_is_published).await;
    assert!(
        page(address, "/metrics")
            .await
            .contains("countersign_publication_halted 0\n")
    );
    let published = messages(&client).await;

    set(&client, "max_age", 86_400_000_000_000).await;
    comes_to(&service, "halted", |state| {
        let reason = state.halted.as_deref().unwrap_or_default();
        reason.contains("max_age is 86400000000000 and must be 0")
            && reason.contains("nats stream edit")
    })
    .await;
    // However often it checks again, it logs this once.
    let looks = format!("$JS.API.STREAM.INFO.{STREAM}");
    let mut looks = client.subscribe(looks).await.unwrap();
    for _ in 0..3 {
        let look = tokio::time::timeout(PATIENCE, looks.next()).await;
        assert!(look.unwrap().is_some());
    }
    looks.unsubscribe().await.unwrap();
    registered(&client, "eve").await;
    comes_to(&service, "behind", |state| state.lag == 2).await;
    assert_eq!(messages(&client).await, published);
    let metrics = page(address, "/metrics").await;
    assert!(metrics.contains("countersign_publication_halted 1\n"));
    assert!(metrics.contains("countersign_publication_lag_events 2\n"));
    // Logins do not need it.
    assert!(page(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(logged("ERROR", "max_age"), 1);
    assert_eq!(logged("INFO", "published again"), 0);

    set(&client, "max_age", 0).await;
    comes_to(&service, "published again", all_is_published).await;
    assert_eq!(
        messages(&client).await,
        json!(published.as_u64().unwrap() + 2)
    );
    assert!(
        page(address, "/metrics")
            .await
            .contains("countersign_publication_halted 0\n")
    );
    assert_eq!(logged("INFO", "published again"), 1);
    service.stop().await;
}

/// A refused batch is not skipped: it is sent again once the stream accepts it.
#[tokio::test]
async fn a_batch_that_the_stream_refuses_is_published_whole_once_it_is_accepted() {
    let broker = broker();
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let client = connect(&broker).await;
    registered(&client, "ada").await;
    comes_to(&service, "published", all_is_published).await;
    let published = messages(&client).await.as_u64().unwrap();
    // The settings are not checked for a minute: the refused batch itself halts publication.
    set(&client, "max_msg_size", 10).await;
    registered(&client, "eve").await;
    comes_to(&service, "halted", |state| state.halted.is_some()).await;
    registered(&client, "bob").await;
    comes_to(&service, "behind", |state| state.lag == 4).await;
    assert_eq!(messages(&client).await, json!(published));
    set(&client, "max_msg_size", -1).await;
    comes_to(&service, "published again", all_is_published).await;
    assert_eq!(messages(&client).await, json!(published + 4));
    service.stop().await;
}

/// Every setting of an existing stream that nats-server lets a client change.
#[tokio::test]
async fn every_setting_that_changes_under_a_running_publisher_is_noticed() {
    let broker = broker();
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        publishing: Some(Publishing {
            check_every: Duration::from_millis(20),
            ..Publishing::default()
        }),
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let client = connect(&broker).await;
    registered(&client, "ada").await;
    comes_to(&service, "published", all_is_published).await;
    let right = stream(&client, "INFO", &json!({})).await["config"].take();
    let day = 86_400_000_000_000_i64;
    for (name, value) in [
        ("max_age", json!(day)),
        ("max_msgs", json!(1_000_000)),
        ("max_bytes", json!(1_000_000_000)),
        ("max_msgs_per_subject", json!(1_000_000)),
        ("max_msg_size", json!(1_000_000)),
        ("discard", json!("old")),
        ("subjects", json!(["countersign.v1.event.>", "elsewhere.>"])),
        (
            "subjects",
            json!(["countersign.v1.event.account-registered.>"]),
        ),
        ("allow_direct", json!(false)),
        ("no_ack", json!(true)),
        (
            "subject_transform",
            json!({"src": "countersign.v1.event.>", "dest": "x.>"}),
        ),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value;
        stream(&client, "UPDATE", &wrong).await;
        comes_to(&service, name, |state| {
            let reason = state.halted.as_deref().unwrap_or_default();
            reason.contains(name) && reason.contains("nats stream edit")
        })
        .await;
        stream(&client, "UPDATE", &right).await;
        comes_to(&service, "published again", all_is_published).await;
    }
    service.stop().await;
}
