//! A broker that removes a permission while the service runs, and one that returns with other
//! settings.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign::bus::{BusConfig, Connection, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign_schemas::secret::SecretText;
use rustix::process::{Pid, Signal, kill_process};

use crate::credentials::OPEN;
use crate::service::{PATIENCE, Service, ask, at, connect, refused, server, wall};

/// A configuration in which the service may subscribe to these subjects.
fn config(subjects: &str) -> String {
    format!(
        "authorization {{ users = [ {{ user: countersign, password: secret, permissions: {{ \
         publish: \">\", subscribe: [{subjects}] }} }} ] }}"
    )
}

const ALL: &str = r#""countersign.v1.>", "$SRV.>", "_INBOX.countersign.>""#;
const NONE: &str = r#""$SRV.>", "_INBOX.countersign.>""#;

/// Makes the broker read its configuration again.
fn reload(broker: &Broker) {
    let pid = Pid::from_raw(i32::try_from(broker.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_subscription_ends_readiness_until_it_is_allowed_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    fs::write(&file, config(ALL)).unwrap();
    let options = BrokerOptions {
        config: Some(file.clone()),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    let connection = Connection {
        servers: broker.url(),
        user: Some("countersign".into()),
        password: Some(SecretText::new("secret".into())),
        ..Connection::default()
    };
    let config_of_service = BusConfig {
        connection,
        identity: Identity::Dev,
        publishing: None,
        ..BusConfig::default()
    };
    let mut service = Service::start(config_of_service, wall()).await;
    fs::write(&file, config(NONE)).unwrap();
    reload(&broker);
    service.is_ready(false).await;
    fs::write(&file, config(ALL)).unwrap();
    reload(&broker);
    service.is_ready(true).await;
    service.stop().await;
}

/// A-05: after a reconnect too, the service is ready only on a broker that verified identity
/// accepts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a05_the_service_is_not_ready_on_a_broker_that_returns_with_larger_messages() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    let start = |more: &str, port| {
        fs::write(&file, format!("{OPEN}\n{more}")).unwrap();
        let options = BrokerOptions {
            config: Some(file.clone()),
            port,
            ..BrokerOptions::default()
        };
        Broker::start(&server(), &options).unwrap()
    };
    let right = start("max_payload: 1048576", None);
    let port = right.port();
    let config = BusConfig {
        connection: at(&right),
        publishing: None,
        ..BusConfig::default()
    };
    let mut service = Service::start(config, wall()).await;
    let mut ready = service.ready.clone();
    let on_the_right_one = Arc::new(AtomicBool::new(false));
    let is_right = Arc::clone(&on_the_right_one);
    let changes = tokio::spawn(async move {
        let mut changes = Vec::new();
        while changes.len() < 2 {
            ready.changed().await.unwrap();
            let now = *ready.borrow_and_update();
            changes.push((now, is_right.load(Ordering::SeqCst)));
        }
        changes
    });
    right.stop().unwrap();
    service.is_ready(false).await;
    let wrong = start("max_payload: 2097152", Some(port));
    // Once it replies, it is connected.
    let client = connect(&wrong).await;
    let answered = async {
        loop {
            let asked = client.request("countersign.v1.query.errors", "".into());
            if let Ok(reply) = asked.await {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert_eq!(refused(&reply), "503 overloaded");
    assert!(!*service.ready.borrow());
    on_the_right_one.store(true, Ordering::SeqCst);
    wrong.stop().unwrap();
    let again = start("max_payload: 1048576", Some(port));
    service.is_ready(true).await;
    assert_eq!(changes.await.unwrap(), [(false, false), (true, true)]);
    let client = connect(&again).await;
    let reply = ask(&client, "query.errors", &[], b"").await;
    assert_eq!(refused(&reply), "401 actor.unverified");
    service.stop().await;
}
