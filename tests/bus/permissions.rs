//! A broker that takes a permission away while the service runs.

use std::fs;

use countersign::bus::{BusConfig, Connection, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign_schemas::secret::SecretText;
use rustix::process::{Pid, Signal, kill_process};

use crate::service::{Service, server, wall};

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
async fn a_subscription_that_is_taken_away_ends_readiness_until_it_is_given_back() {
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
