//! A service on a broker, and the requests of tests.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Message};
use countersign::account::Policy;
use countersign::bus::headers::{ERROR, SERVICE_ERROR, SERVICE_ERROR_CODE};
use countersign::bus::{BusConfig, BusError, Connection, Identity, serve};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{Server, find_or_fetch, tools_folder};
use countersign::engine::{Clock, Engine, EngineOptions, init, wall_clock};
use countersign::log::LogOptions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use crate::patience::PATIENCE;
pub const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub fn server() -> Server {
    find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))
        .expect("tests need a broker")
}

pub fn broker() -> Broker {
    Broker::start(&server(), &BrokerOptions::default()).unwrap()
}

/// The service on a broker; every test has its own.
pub struct Service {
    pub stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), BusError>>,
    pub ready: watch::Receiver<bool>,
    /// The engine behind it; it still answers queries after the service has stopped.
    pub engine: Arc<Engine>,
    folder: TempDir,
}

impl Service {
    /// Starts it with this clock and waits until it is ready.
    pub async fn start(config: BusConfig, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder, clock);
        let mut service = Self::begin(config, engine, folder);
        service.is_ready(true).await;
        service
    }

    /// Starts it on an engine and does not wait.
    pub fn begin(config: BusConfig, engine: Arc<Engine>, folder: TempDir) -> Self {
        let (ready, is_ready) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(Arc::clone(&engine), config, ready, async move {
            let _ = stopped.await;
        }));
        Self {
            stop,
            served,
            ready: is_ready,
            engine,
            folder,
        }
    }

    /// The result, once it has ended by itself.
    pub async fn ended(&mut self) -> Result<(), BusError> {
        let served = tokio::time::timeout(PATIENCE, &mut self.served).await;
        served.unwrap().unwrap()
    }

    pub async fn is_ready(&mut self, value: bool) {
        let ready = self.ready.wait_for(|ready| *ready == value);
        tokio::time::timeout(PATIENCE, ready)
            .await
            .unwrap()
            .unwrap();
    }

    /// The rest of a service that has ended.
    pub fn into_parts(self) -> (Arc<Engine>, TempDir) {
        (self.engine, self.folder)
    }

    /// Stops it; the returned engine still answers queries as long as the folder exists.
    pub async fn stop(self) -> (Arc<Engine>, TempDir) {
        self.stop.send(()).unwrap();
        let served = tokio::time::timeout(PATIENCE, self.served).await;
        served.unwrap().unwrap().unwrap();
        (self.engine, self.folder)
    }
}

/// A new engine in a folder, with cheap hashes.
pub fn engine(folder: &TempDir, clock: Clock) -> Arc<Engine> {
    let (data, keyring) = (folder.path().join("data"), folder.path().join("keyring"));
    init(&data, &keyring, wall_clock(), LogOptions::default()).unwrap();
    opened(folder, clock)
}

/// The engine on the existing files of a folder.
pub fn opened(folder: &TempDir, clock: Clock) -> Arc<Engine> {
    let (data, keyring) = (folder.path().join("data"), folder.path().join("keyring"));
    let options = EngineOptions {
        policy: Policy {
            kdf_memory_kib: 8,
            ..Policy::default()
        },
        monotonic: Arc::clone(&clock),
        clock,
        ..EngineOptions::new(data, keyring)
    };
    Arc::new(Engine::start(options).unwrap())
}

/// The time of this machine.
pub fn wall() -> Clock {
    Arc::new(wall_clock)
}

/// A clock that makes the writer slow: each reading of the time takes a while.
pub fn paced(pace: Duration) -> Clock {
    Arc::new(move || {
        if is_writer() {
            std::thread::sleep(pace);
        }
        wall_clock()
    })
}

/// A clock that is an hour ahead for the writer, as if every command had waited an hour for it.
pub fn an_hour_in_the_queue() -> Clock {
    Arc::new(|| {
        let waited_s = if is_writer() { 3_600 } else { 0 };
        wall_clock().plus_s(waited_s)
    })
}

fn is_writer() -> bool {
    std::thread::current().name() == Some("writer")
}

pub fn at(broker: &Broker) -> Connection {
    Connection {
        servers: broker.url(),
        ..Connection::default()
    }
}

pub async fn connect(broker: &Broker) -> Client {
    let options = ConnectOptions::new().request_timeout(Some(PATIENCE));
    options.connect(broker.url()).await.unwrap()
}

/// A service in dev mode, and a client beside it.
pub async fn dev(broker: &Broker) -> (Service, Client) {
    let config = BusConfig {
        connection: at(broker),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    (service, connect(broker).await)
}

pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, *value);
    }
    headers
}

pub async fn ask(client: &Client, subject: &str, pairs: &[(&str, &str)], body: &[u8]) -> Message {
    let subject = format!("countersign.v1.{subject}");
    client
        .request_with_headers(subject, headers(pairs), body.to_vec().into())
        .await
        .unwrap()
}

pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(|value| value.as_str())
}

pub fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

/// The word of a refusal, after checking every place that must show the refusal.
pub fn refused(message: &Message) -> String {
    let problem = body(message);
    let word = header(message, ERROR).unwrap();
    let status = header(message, SERVICE_ERROR_CODE).unwrap();
    assert_eq!(problem["code"], word);
    assert_eq!(problem["type"], format!("urn:countersign:error:{word}"));
    assert_eq!(problem["status"].to_string(), status);
    assert_eq!(problem["title"], header(message, SERVICE_ERROR).unwrap());
    format!("{status} {word}")
}

pub fn register(id: &str) -> Vec<u8> {
    let body = json!({"account_id": id, "username": id, "password": "correct horse"});
    body.to_string().into_bytes()
}

/// Registers an account with its id as its username.
pub async fn registered(client: &Client, id: &str) {
    let reply = ask(client, "command.register-account", &[], &register(id)).await;
    assert_eq!(body(&reply)["account_id"], id);
}
