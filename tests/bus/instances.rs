//! Two instances of one log, from a copy of data and keyring: one serves.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_nats::{Client, RequestErrorKind};
use countersign::bus::{BusConfig, BusError, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use futures_util::StreamExt;
use tempfile::TempDir;

use crate::service::{
    PATIENCE, Service, ask, at, body, broker, connect, engine, opened, register, registered,
    server, wall,
};

fn config(broker: &Broker) -> BusConfig {
    BusConfig {
        connection: at(broker),
        identity: Identity::Dev,
        publishing: None,
        ..BusConfig::default()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if entry.is_dir() {
            copy(&entry, &to.join(name));
        } else {
            fs::copy(&entry, to.join(name)).unwrap();
        }
    }
}

/// An installation and a copy of it, none of them running.
fn two() -> (TempDir, TempDir) {
    let (original, twin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(engine(&original, wall()));
    copy(original.path(), twin.path());
    (original, twin)
}

fn begin(broker: &Broker, folder: TempDir) -> Service {
    let engine = opened(&folder, wall());
    Service::begin(config(broker), engine, folder)
}

fn is_another(ended: &Result<(), BusError>) -> bool {
    matches!(ended, Err(BusError::Another(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_started_beside_its_original_does_not_serve() {
    let broker = broker();
    let (original, twin) = two();
    let mut first = begin(&broker, original);
    first.is_ready(true).await;
    let client = connect(&broker).await;
    let mut second = begin(&broker, twin);
    let head_of_second = second.engine.readings().head;
    for at in 0..12 {
        registered(&client, &format!("ada-{at}")).await;
    }
    let ended = second.ended().await;
    assert!(is_another(&ended), "{ended:?}");
    let why = ended.unwrap_err().to_string();
    assert!(
        why.contains("stop it before") && why.contains("never start a copy beside"),
        "{why}"
    );
    assert!(!*second.ready.borrow());
    registered(&client, "eve").await;
    assert!(first.engine.readings().head >= head_of_second + 13);
    assert_eq!(second.engine.readings().head, head_of_second);
    assert!(*first.ready.borrow(), "the first goes on");
    first.stop().await;
}

/// Whether or not the two find each other at the start, exactly one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_start_at_once_one_serves() {
    let broker = broker();
    for _ in 0..5 {
        let (original, twin) = two();
        let (mut first, mut second) = (begin(&broker, original), begin(&broker, twin));
        let first_ended = tokio::select! {
            ended = first.ended() => { assert!(is_another(&ended), "{ended:?}"); true }
            ended = second.ended() => { assert!(is_another(&ended), "{ended:?}"); false }
        };
        let mut left = if first_ended { second } else { first };
        left.is_ready(true).await;
        let client = connect(&broker).await;
        registered(&client, "ada").await;
        left.stop().await;
    }
}

/// After a broker was away for both, neither of them is known as the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_meet_when_the_broker_returns_one_goes_on_with_everything_acknowledged() {
    let away = broker();
    let port = away.port();
    let (original, twin) = two();
    let mut first = begin(&away, original);
    first.is_ready(true).await;
    let second = begin(&away, twin);
    // It may have ended already; a new start finds the broker away.
    let (stopped, twin) = {
        let mut second = second;
        assert!(is_another(&second.ended().await));
        away.stop().unwrap();
        first.is_ready(false).await;
        second.into_parts()
    };
    drop(stopped);
    let engine = opened(&twin, wall());
    let config_of_second = BusConfig {
        connection: countersign::bus::Connection {
            servers: format!("nats://127.0.0.1:{port}"),
            ..Default::default()
        },
        identity: Identity::Dev,
        publishing: None,
        ..BusConfig::default()
    };
    let mut second = Service::begin(config_of_second, engine, twin);
    let options = BrokerOptions {
        port: Some(port),
        ..BrokerOptions::default()
    };
    let back = Broker::start(&server(), &options).unwrap();
    let client = connect(&back).await;
    let acknowledged = tokio::spawn(asking(client));
    let first_ended = tokio::select! {
        ended = first.ended() => { assert!(is_another(&ended), "{ended:?}"); true }
        ended = second.ended() => { assert!(is_another(&ended), "{ended:?}"); false }
    };
    let mut left = if first_ended { second } else { first };
    left.is_ready(true).await;
    let acknowledged = tokio::time::timeout(PATIENCE, acknowledged)
        .await
        .unwrap()
        .unwrap();
    assert!(!acknowledged.is_empty());
    for id in acknowledged {
        let client = connect(&back).await;
        let status = ask(&client, &format!("query.login-status.{id}"), &[], b"").await;
        assert_eq!(body(&status)["second_factor"], "off", "{id}");
    }
    left.stop().await;
}

/// Registers accounts until ten are acknowledged; returns these.
async fn asking(client: Client) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for at in 0.. {
        let id = format!("eve-{at}");
        let request = client.request(
            "countersign.v1.command.register-account",
            register(&id).into(),
        );
        match request.await {
            Ok(reply) if body(&reply)["account_id"] == id.as_str() => acknowledged.push(id),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), RequestErrorKind::NoResponders),
        }
        if acknowledged.len() == 10 {
            break;
        }
    }
    acknowledged
}

/// A process that was stopped, or a machine that is gone: it may return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_silent_instance_a_start_waits_and_does_not_serve() {
    let broker = broker();
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder, wall());
    let silent = connect(&broker).await;
    let subject = format!("countersign.v1.instance.{}", engine.first_log_id());
    let mut asked = silent.subscribe(subject).await.unwrap();
    silent.flush().await.unwrap();
    let mut service = Service::begin(config(&broker), engine, folder);
    for _ in 0..2 {
        let look = tokio::time::timeout(PATIENCE, asked.next()).await;
        assert!(look.unwrap().is_some());
        assert!(!*service.ready.borrow());
        let reply = silent
            .request("countersign.v1.query.errors", "".into())
            .await;
        assert_eq!(reply.unwrap_err().kind(), RequestErrorKind::NoResponders);
    }
    asked.unsubscribe().await.unwrap();
    service.is_ready(true).await;
    service.stop().await;
}

/// A client that may publish and listen there, and has no keyring, answers every question at once.
async fn foreign_client(
    broker: &Broker,
    log_id: &str,
) -> (Client, tokio::sync::mpsc::Receiver<()>) {
    let client = connect(broker).await;
    let subject = format!("countersign.v1.instance.{log_id}");
    let mut asked = client.subscribe(subject.clone()).await.unwrap();
    client.flush().await.unwrap();
    let (asked_once, heard) = tokio::sync::mpsc::channel(64);
    let answering = client.clone();
    let word = r#"{"since":"1970-01-01T00:00:00.000001Z","instance":"a","serving":true}"#;
    let tagged = format!(r#"{{"word":{word},"tag":"{}"}}"#, "00".repeat(16));
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            for text in [word.to_owned(), tagged.clone(), String::new()] {
                let publish = answering.publish(subject.clone(), text.clone().into());
                publish.await.unwrap();
                if let Some(reply) = message.reply.clone() {
                    answering.publish(reply, text.into()).await.unwrap();
                }
            }
            let _ = asked_once.try_send(());
        }
    });
    (client, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_foreign_client_stop_no_instance() {
    let broker = broker();
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder, wall());
    let log_id = engine.first_log_id();
    let mut service = Service::begin(config(&broker), engine, folder);
    service.is_ready(true).await;
    let (client, mut heard) = foreign_client(&broker, &log_id).await;
    for at in 0..3 {
        tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
        registered(&client, &format!("ada-{at}")).await;
    }
    assert!(*service.ready.borrow());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_that_answers_first_hides_no_instance() {
    let broker = broker();
    let (original, twin) = two();
    let mut first = begin(&broker, original);
    first.is_ready(true).await;
    let (client, _heard) = foreign_client(&broker, &first.engine.first_log_id()).await;
    let ended = begin(&broker, twin).ended().await;
    assert!(is_another(&ended), "{ended:?}");
    registered(&client, "ada").await;
    assert!(*first.ready.borrow());
    first.stop().await;
}

/// An instance must be allowed to look for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_look_for_another_instance_gets_an_error() {
    for (publish, subscribe) in [
        (r#"deny: ["countersign.v1.instance.>"]"#, r#"allow: [">"]"#),
        (r#"allow: [">"]"#, r#"deny: ["countersign.v1.instance.>"]"#),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        let text = format!(
            "authorization {{ users = [ {{ user: a, password: b, permissions: {{ publish: {{ {publish} }}, subscribe: {{ {subscribe} }} }} }} ] }}\nmax_payload: 1048576"
        );
        fs::write(&file, text).unwrap();
        let options = BrokerOptions {
            config: Some(file),
            ..BrokerOptions::default()
        };
        let broker = Broker::start(&server(), &options).unwrap();
        let mut config = config(&broker);
        config.connection.servers = format!("nats://a:b@127.0.0.1:{}", broker.port());
        let home = tempfile::tempdir().unwrap();
        let mut service = Service::begin(config, engine(&home, wall()), home);
        let ended = service.ended().await;
        assert!(matches!(ended, Err(BusError::NotPermitted(_))), "{ended:?}");
        assert!(
            ended
                .unwrap_err()
                .to_string()
                .contains("countersign.v1.instance.>")
        );
    }
}

/// Instances of two logs are two services, whatever they share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_another_log_does_not_count_as_a_second_one() {
    let broker = broker();
    let one = Service::start(config(&broker), wall()).await;
    let other = Service::start(config(&broker), wall()).await;
    assert_ne!(one.engine.first_log_id(), other.engine.first_log_id());
    one.stop().await;
    other.stop().await;
}

/// The instance leaves the bus before its files are free, or the next start would find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_stop_finds_no_other_instance() {
    let broker = broker();
    let folder = tempfile::tempdir().unwrap();
    drop(engine(&folder, wall()));
    let mut folder = folder;
    for _ in 0..3 {
        let mut service = begin(&broker, folder);
        service.is_ready(true).await;
        let (engine, kept) = service.stop().await;
        drop(Arc::try_unwrap(engine).ok());
        folder = kept;
    }
}
