//! A caller that chooses an odd reply subject. What nats-server loses by it, the service cannot
//! see: these tests hold that the service answers every request, and say what the broker loses.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::ConnectOptions;
use countersign::bus::{BusConfig, Connection, Identity};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::credentials::broker_with;
use crate::raw::Raw;
use crate::roles::Fixture;
use crate::service::{PATIENCE, Service, ask, body, header, register, registered, wall};

const REGISTER: &str = "countersign.v1.command.register-account";
const LOGIN: &str = "countersign.v1.command.start-login";
/// Reply subjects that no client library makes.
const ODD: [&str; 11] = [
    "countersign.v1.event.totp-accepted.ada",
    "$JS.API.STREAM.DELETE.COUNTERSIGN_EVENTS",
    "_INBOX.countersign.x",
    "_INBOX.alice.raw",
    "_INBOX.alice.>",
    "*",
    "a..b",
    ">",
    "_INBOX.>",
    "_INBOX.*.*",
    "*.login-gw.*",
];
/// Those of them that match the reply subjects of the gateway.
const MATCHING: [&str; 4] = ["*.login-gw.*", ">", "_INBOX.*.*", "_INBOX.>"];

/// Not a promise of the service but a fault of nats-server, in `known-holes.md`: once the answer to
/// a wildcard has passed, every request of the same account whose reply subject matches the
/// wildcard loses its reply. Once this fails, the broker is mended: then the hole goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_loses_replies_that_a_wildcard_of_the_same_account_matches() {
    let fixture = Fixture::start().await;
    let (service, gateway) = (
        fixture.user("countersign").await,
        fixture.user("login-gw").await,
    );
    let spare = "countersign.v1.command.spare";
    let mut requests = service.client.subscribe(spare).await.unwrap();
    service.round_trip().await;
    let mut lost = BTreeSet::new();
    for odd in ODD {
        let inbox = gateway.client.new_inbox();
        let mut replies = gateway.client.subscribe(inbox.clone()).await.unwrap();
        let kept = gateway
            .client
            .publish_with_reply(spare, inbox, "kept".into());
        kept.await.unwrap();
        let kept = requests.next().await.unwrap();
        let mut raw = Raw::connect(fixture.broker.port(), "login-gw");
        raw.write(format!("PUB {spare} {odd} 3\r\nodd\r\n").as_bytes());
        let asked = requests.next().await.unwrap();
        let order = (&*kept.payload, &*asked.payload);
        assert_eq!(order, (&b"kept"[..], &b"odd"[..]));
        for request in [asked, kept] {
            let reply_to = request.reply.unwrap();
            service
                .client
                .publish(reply_to, "answer".into())
                .await
                .unwrap();
            service.round_trip().await;
        }
        // The broker delivers in order, so nothing older is on the way after this.
        gateway.round_trip().await;
        if replies.next().now_or_never().is_none() {
            lost.insert(odd);
        }
    }
    assert_eq!(lost, MATCHING.into());
    fixture.service.stop().await;
}

/// The requests that arrived and the answers that left, of all endpoints.
fn counted(fixture: &Fixture) -> (u64, u64) {
    let counts: Vec<_> = fixture.traffic.counts().map(|(_, counts)| counts).collect();
    let received = counts.iter().map(|counts| counts.received).sum();
    (received, counts.iter().map(|counts| counts.answered).sum())
}

/// A-04: each request that arrives is answered once, wherever its reply goes; another account loses
/// no reply; and a caller whose reply was lost learns the outcome by the id of its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_whatever_its_reply_subject_is() {
    let fixture = Fixture::start().await;
    let gateway = fixture.user("login-gw").await.client;
    let agent = fixture.user("alice").await.client;
    registered(&gateway, "ada").await;
    let (before, _) = counted(&fixture);
    let mut raw = Raw::connect(fixture.broker.port(), "login-gw");
    let wrong = json!({"username": "ada", "password": "wrong but long enough"}).to_string();
    let mut sent = String::new();
    for odd in ODD.repeat(20) {
        sent += &format!("PUB {LOGIN} {odd} {}\r\n{wrong}\r\n", wrong.len());
    }
    let block = "NATS/1.0\r\nNats-Msg-Id: lost\r\n\r\n";
    let bob = String::from_utf8(register("bob")).unwrap();
    let (head, whole) = (block.len(), block.len() + bob.len());
    sent += &format!("HPUB {REGISTER} > {head} {whole}\r\n{block}{bob}\r\n");
    let flood = tokio::task::spawn_blocking(move || {
        raw.write(sent.as_bytes());
        raw.flush();
    });
    for _ in 0..50 {
        let card = ask(&agent, "query.login-status.ada", &[], b"").await;
        assert_eq!(body(&card)["account_id"], "ada");
    }
    flood.await.unwrap();
    let all = before + ODD.len() as u64 * 20 + 1 + 50;
    let answered = async {
        while counted(&fixture) != (all, all) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    assert!(answered.is_ok(), "{:?} of {all}", counted(&fixture));
    let id = [("Nats-Msg-Id", "lost")];
    let head = fixture.service.engine.readings().head;
    let again = ask(&gateway, "command.register-account", &id, bob.as_bytes()).await;
    assert_eq!(
        header(&again, "Countersign-Replayed"),
        Some("true"),
        "{again:?}"
    );
    assert_eq!(fixture.service.engine.readings().head, head, "decided once");
    let status = ask(&gateway, "query.login-status.ada", &[], b"").await;
    assert_eq!(body(&status)["account_id"], "ada");
    fixture.service.stop().await;
}

/// In dev identity, in one account, a caller's reply subject stands in the broker's refusal of a
/// second answer to it. It is no subject that the service needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reply_subject_is_not_taken_for_a_subject_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"
authorization { users: [
  { user: countersign, password: secret, permissions: {
      publish: { allow: ["countersign.v1.event.>", "countersign.v1.instance.>", "_INBOX.>"] }
      subscribe: { allow: ["countersign.v1.>", "$SRV.>", "_INBOX.>"] }
      allow_responses: { max: 1, expires: "90s" } } }
  { user: any, password: secret } ] }
"#;
    let broker = broker_with(folder.path(), config);
    let config = BusConfig {
        connection: Connection {
            servers: format!("nats://countersign:secret@127.0.0.1:{}", broker.port()),
            ..Connection::default()
        },
        identity: Identity::Dev,
        publishing: None,
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let any = ConnectOptions::with_user_and_password("any".into(), "secret".into());
    let client = any.connect(broker.url()).await.unwrap();
    let mut ready = service.ready.clone();
    ready.mark_unchanged();
    let log = service.engine.first_log_id().to_owned();
    let ours = format!("x.countersign.v1.instance.{log}");
    for odd in ["x.instance.y", "a.violation-for-subscription.b", &*ours] {
        for _ in 0..100 {
            let asked = "countersign.v1.query.errors";
            let sent = client.publish_with_reply(asked, odd.to_owned(), "".into());
            sent.await.unwrap();
        }
        // The broker's refusals come before these answers' requests, on the service's connection.
        for _ in 0..20 {
            ask(&client, "query.errors", &[], b"").await;
        }
    }
    assert!(!ready.has_changed().unwrap(), "it was not ready meanwhile");
    service.stop().await;
}
