//! The service knows the broker's `max_payload` before it decides anything, and checks it again
//! while it runs.

use std::fs;

use countersign::bus::{BusConfig, BusError, ConnectionError, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::credentials::OPEN;
use crate::service::{
    PATIENCE, Service, ask, at, connect, engine, refused, registered, server, wall,
};

struct Changing {
    folder: tempfile::TempDir,
}

impl Changing {
    fn start(text: &str, port: Option<u16>) -> (Self, Broker) {
        let folder = tempfile::tempdir().unwrap();
        let changing = Self { folder };
        changing.write(text);
        let options = BrokerOptions {
            config: Some(changing.folder.path().join("nats.conf")),
            port,
            ..BrokerOptions::default()
        };
        (changing, Broker::start(&server(), &options).unwrap())
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("nats.conf"), text).unwrap();
    }

    /// Makes the broker read another configuration.
    fn reload(&self, broker: &Broker, text: &str) {
        self.write(text);
        let pid = Pid::from_raw(i32::try_from(broker.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }
}

fn config(broker: &Broker, identity: Identity) -> BusConfig {
    BusConfig {
        connection: at(broker),
        identity,
        publishing: None,
        greeting_every: std::time::Duration::from_millis(20),
        ..BusConfig::default()
    }
}

const ROOMY: &str = "max_payload: 1048576";
const SMALL: &str = "max_payload: 8192";

#[tokio::test]
async fn the_service_does_not_start_on_a_broker_that_cannot_carry_the_largest_reply() {
    let (_changing, broker) = Changing::start(SMALL, None);
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::begin(
        config(&broker, Identity::Dev),
        engine(&folder, wall()),
        folder,
    );
    let ended = service.ended().await;
    let too_small = ConnectionError::PayloadTooSmall { bytes: 8_192 };
    let expected = too_small.to_string();
    assert!(matches!(&ended, Err(BusError::Connection(_))), "{ended:?}");
    assert_eq!(ended.unwrap_err().to_string(), expected);
    assert!(!*service.ready.borrow());
}

/// Once, `enable-2fa` was recorded, but its reply was a refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decided_on_a_broker_that_returns_too_small_for_the_reply() {
    let (_one, right) = Changing::start(ROOMY, None);
    let port = right.port();
    let mut service = Service::start(config(&right, Identity::Dev), wall()).await;
    registered(&connect(&right).await, "ada").await;
    right.stop().unwrap();
    service.is_ready(false).await;
    let (_two, small) = Changing::start(SMALL, Some(port));
    let client = connect(&small).await;
    let head = service.engine.readings().head;
    let body = json!({"account_id": "ada", "proof": {"password": "correct horse"}}).to_string();
    let answered = async {
        loop {
            let subject = "countersign.v1.command.enable-2fa";
            if let Ok(reply) = client.request(subject, body.clone().into()).await {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert_eq!(refused(&reply), "503 overloaded");
    assert_eq!(service.engine.readings().head, head);
    assert!(!*service.ready.borrow());
    small.stop().unwrap();
    let (_three, again) = Changing::start(ROOMY, Some(port));
    service.is_ready(true).await;
    let client = connect(&again).await;
    let reply = ask(&client, "command.enable-2fa", &[], body.as_bytes()).await;
    assert!(reply.payload.len() > 8_192, "{}", reply.payload.len());
    service.stop().await;
}

/// nats-server does not notify its clients of the changes of a reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_breaks_a_requirement_ends_readiness_until_it_is_undone() {
    let right = format!("{OPEN}\n{ROOMY}");
    let (changing, broker) = Changing::start(&right, None);
    let mut service = Service::start(config(&broker, Identity::default()), wall()).await;
    let unproven = "no_auth_user: any\nauthorization { users: [ { user: any, password: any } ] }";
    for wrong in [
        format!("{OPEN}\n{SMALL}"),
        format!("{OPEN}\nmax_payload: 2097152"),
        format!("{unproven}\n{ROOMY}"),
    ] {
        println!("reloading {wrong}");
        changing.reload(&broker, &wrong);
        service.is_ready(false).await;
        println!("and back");
        changing.reload(&broker, &right);
        service.is_ready(true).await;
    }
    service.stop().await;
}

/// The service connected while the broker was wrong, so the greeting of its own connection stays
/// wrong when a reload corrects the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_corrects_a_broker_that_was_wrong_when_the_service_reconnected() {
    let (_one, right) = Changing::start(ROOMY, None);
    let port = right.port();
    let mut service = Service::start(config(&right, Identity::Dev), wall()).await;
    right.stop().unwrap();
    service.is_ready(false).await;
    let (changing, small) = Changing::start(SMALL, Some(port));
    let client = connect(&small).await;
    let answered = async {
        loop {
            if let Ok(reply) = client
                .request("countersign.v1.query.errors", "".into())
                .await
            {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(PATIENCE, answered).await.unwrap();
    assert_eq!(
        refused(&reply),
        "503 overloaded",
        "it is back, and not ready"
    );
    changing.reload(&small, ROOMY);
    service.is_ready(true).await;
    service.stop().await;
}
