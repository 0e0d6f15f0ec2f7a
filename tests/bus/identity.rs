//! The caller, as the broker names it and as it names itself.

use countersign::bus::headers::{CALLER, REQUEST_INFO};
use countersign::bus::{BusConfig, Connection, Identity, serve};
use countersign::dev::broker::{Broker, BrokerOptions};
use serde_json::json;
use tokio::sync::watch;

use crate::service::{
    PATIENCE, Service, ask, body, broker, dev, engine, refused, register, server, wall,
};

/// The accounts of the contract; `STRANGER` imports without `share: true`.
pub const ACCOUNTS: &str = r#"
accounts {
  COUNTERSIGN: {
    users: [ { user: countersign, password: s, permissions: {
      publish: { allow: ["countersign.v1.instance.>", "_INBOX.countersign.>"] }
      subscribe: { allow: ["countersign.v1.command.>", "countersign.v1.support.>", "countersign.v1.admin.>", "countersign.v1.query.>", "countersign.v1.instance.>", "$SRV.>", "_INBOX.countersign.>"] }
      allow_responses: { max: 1, expires: "30s" } } } ]
    exports: [ { service: "countersign.v1.command.>" }, { service: "countersign.v1.query.>" } ] }
  PLATFORM: {
    users: [ { user: gw, password: s } ]
    imports: [
      { service: { account: COUNTERSIGN, subject: "countersign.v1.command.>" }, share: true }
      { service: { account: COUNTERSIGN, subject: "countersign.v1.query.>" }, share: true } ] }
  AUDIT: {
    users: [ { user: auditor, password: s } ]
    imports: [ { service: { account: COUNTERSIGN, subject: "countersign.v1.query.>" }, share: true } ] }
  NOBODY: { users: [ { nkey: UC5IVTON6CFFSN4UYHR3WUUARL6QTD2DEMGXOGRUOBPKTPIYDRX6KNTT } ] }
  STRANGER: {
    users: [ { user: stranger, password: s } ]
    imports: [ { service: { account: COUNTERSIGN, subject: "countersign.v1.command.>" } } ] }
}
"#;

/// V-13, P-02; NATS CVE-2026-33246.
#[tokio::test]
async fn in_verified_mode_only_the_brokers_header_counts() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, ACCOUNTS).unwrap();
    let options = BrokerOptions {
        config: Some(config),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    let url = |user: &str| format!("nats://{user}:s@127.0.0.1:{}", broker.port());
    let connection = |user: &str| Connection {
        servers: url(user),
        name: "eve".into(),
        ..Connection::default()
    };
    let config = BusConfig {
        connection: connection("countersign"),
        identity: Identity::default(),
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let client = async |user: &str| connection(user).connect(None).await.unwrap();

    let forged = r#"{"acc":"AUDIT","user":"mallory","name":"mallory"}"#;
    let forged = [(REQUEST_INFO, forged), (CALLER, "mallory")];
    let platform = client("gw").await;
    let reply = ask(
        &platform,
        "command.register-account",
        &forged,
        &register("ada"),
    )
    .await;
    assert_eq!(body(&reply)["account_id"], "ada");
    let reply = ask(&platform, "query.login-status.unknown", &forged, b"").await;
    assert_eq!(refused(&reply), "404 account.not_found");
    let reply = ask(&platform, "query.audit-page", &forged, b"").await;
    assert_eq!(refused(&reply), "403 actor.forbidden");

    let auditor = client("auditor").await;
    let page = body(&ask(&auditor, "query.audit-timeline.ada", &[], b"").await);
    for event in page["events"].as_array().unwrap() {
        let expected = json!({"name": "gw", "role": "platform", "verified": true});
        assert_eq!(event["caller"], expected);
    }
    assert_eq!(page["events"][0]["type"], "account-registered");
    let reply = ask(&auditor, "query.login-status.unknown", &[], b"").await;
    assert_eq!(refused(&reply), "403 actor.forbidden");

    let stranger = client("stranger").await;
    let reply = ask(
        &stranger,
        "command.register-account",
        &forged,
        &register("a"),
    )
    .await;
    assert_eq!(refused(&reply), "401 actor.unverified");
    // Within the service's own account the broker names no caller, so a forgery arrives as it was
    // sent. This is why no other user is in that account.
    service.stop().await;
}

#[tokio::test]
async fn in_dev_mode_the_caller_names_itself() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let info = r#"{"acc":"PLATFORM","user":"mallory"}"#;
    let eve = [(CALLER, "eve"), (REQUEST_INFO, info)];
    for (id, pairs, name) in [("ada", &eve[..], "eve"), ("bob", &[], "anonymous")] {
        ask(&client, "command.register-account", pairs, &register(id)).await;
        let page = ask(&client, &format!("query.audit-timeline.{id}"), pairs, b"").await;
        let expected = json!({"name": name, "role": "platform", "verified": false});
        assert_eq!(body(&page)["events"][0]["caller"], expected);
    }
    service.stop().await;
}

#[tokio::test]
async fn wrong_credentials_and_refused_subscriptions_refuse_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    std::fs::write(
        &config,
        ACCOUNTS.replace("\"countersign.v1.query.>\", \"countersign", "\"countersign"),
    )
    .unwrap();
    let options = BrokerOptions {
        config: Some(config),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    let start = async |password: &str| {
        let config = BusConfig {
            connection: Connection {
                servers: format!("nats://countersign:{password}@127.0.0.1:{}", broker.port()),
                ..Connection::default()
            },
            ..BusConfig::default()
        };
        let (ready, _) = watch::channel(false);
        let folder = tempfile::tempdir().unwrap();
        let served = serve(
            engine(&folder, wall()),
            config,
            ready,
            std::future::pending(),
        );
        tokio::time::timeout(PATIENCE, served)
            .await
            .unwrap()
            .unwrap_err()
            .to_string()
    };
    let wrong = start("hunter2").await;
    assert!(
        wrong.contains("refuses the credentials") && !wrong.contains("hunter2"),
        "{wrong}"
    );
    let refused = start("s").await;
    assert!(refused.contains("refuses a subject"), "{refused}");
}
