//! The stream's settings are looked at again while the service runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use countersign::bus::{BusConfig, Identity, Publishing, Traffic};
use countersign::http::{self, Watched};
use countersign_schemas::admin::PublicationState;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

use crate::service::{PATIENCE, Service, at, broker, connect, registered, wall};

const STREAM: &str = "COUNTERSIGN_EVENTS";
const POLL: Duration = Duration::from_millis(5);

/// The log lines of one test's thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// How many lines have both.
    fn count(&self, level: &str, words: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let has = |line: &&str| line.contains(level) && line.contains(words);
        text.lines().filter(has).count()
    }
}

async fn stream(client: &Client, verb: &str, body: &Value) -> Value {
    let subject = format!("$JS.API.STREAM.{verb}.{STREAM}");
    let answer = client.request(subject, body.to_string().into()).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
    answer
}

/// Gives the stream another limit of age.
async fn set_max_age(client: &Client, seconds: u64) {
    let mut config = stream(client, "INFO", &json!({})).await["config"].take();
    config["max_age"] = json!(seconds * 1_000_000_000);
    stream(client, "UPDATE", &config).await;
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

/// Where the pages that operators watch are answered.
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

/// N-17, while it runs: publication halts and says why, commands go on, and what is due is
/// published once the settings are right again.
#[tokio::test]
async fn settings_that_drift_while_it_runs_halt_publication_until_they_are_put_right() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .finish();
    let _lines = tracing::subscriber::set_default(subscriber);
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
    let all_is_told = |state: &PublicationState| state.lag == 0 && state.halted.is_none();
    comes_to(&service, "published", all_is_told).await;
    assert!(
        page(address, "/metrics")
            .await
            .contains("countersign_publication_halted 0\n")
    );
    let told = messages(&client).await;

    set_max_age(&client, 86_400).await;
    comes_to(&service, "halted", |state| {
        let reason = state.halted.as_deref().unwrap_or_default();
        reason.contains("max_age is 86400000000000 and must be 0")
            && reason.contains("nats stream edit")
    })
    .await;
    // However often it looks again, it says so once.
    let looks = format!("$JS.API.STREAM.INFO.{STREAM}");
    let mut looks = client.subscribe(looks).await.unwrap();
    for _ in 0..3 {
        let look = tokio::time::timeout(PATIENCE, looks.next()).await;
        assert!(look.unwrap().is_some());
    }
    looks.unsubscribe().await.unwrap();
    registered(&client, "eve").await;
    comes_to(&service, "behind", |state| state.lag == 2).await;
    assert_eq!(messages(&client).await, told);
    let metrics = page(address, "/metrics").await;
    assert!(metrics.contains("countersign_publication_halted 1\n"));
    assert!(metrics.contains("countersign_publication_lag_events 2\n"));
    // Logins do not need it.
    assert!(page(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(lines.count("ERROR", "max_age"), 1);
    assert_eq!(lines.count("INFO", "published again"), 0);

    set_max_age(&client, 0).await;
    comes_to(&service, "published again", all_is_told).await;
    assert_eq!(messages(&client).await, json!(told.as_u64().unwrap() + 2));
    assert!(
        page(address, "/metrics")
            .await
            .contains("countersign_publication_halted 0\n")
    );
    assert_eq!(lines.count("INFO", "published again"), 1);
    service.stop().await;
}
