//! Who may ask what, with exactly the broker configuration that is shipped.

use std::path::Path;
use std::time::Duration;

use countersign::bus::{BusConfig, Connection, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};

use crate::service::{Service, ask, body, refused, register, server, wall};

pub const USERS: [(&str, &str); 7] = [
    ("countersign", "CS_SERVICE_PASSWORD"),
    ("login-gw", "CS_PLATFORM_PASSWORD"),
    ("alice", "CS_ALICE_PASSWORD"),
    ("bob", "CS_BOB_PASSWORD"),
    ("operator", "CS_OPERATOR_PASSWORD"),
    ("auditor", "CS_AUDIT_PASSWORD"),
    ("sys", "CS_SYS_PASSWORD"),
];

/// Each subject, and who reaches it.
const REACH: [(&str, &[&str]); 14] = [
    ("command.start-login", &["login-gw"]),
    ("command.cancel-reset", &["login-gw"]),
    ("support.clear-attempts", &["alice", "bob"]),
    ("support.cancel-reset", &["alice", "bob"]),
    ("query.reset-queue", &["alice", "bob"]),
    ("query.account-card.ada", &["alice", "bob"]),
    ("admin.erase-account", &["operator"]),
    ("admin.log-stats", &["operator"]),
    ("query.audit-page", &["auditor"]),
    ("query.account-at.ada", &["auditor"]),
    ("query.audit-export", &["auditor"]),
    ("query.checkpoint", &["operator", "auditor"]),
    ("query.login-status.ada", &["login-gw", "alice", "bob"]),
    (
        "query.errors",
        &["login-gw", "alice", "bob", "operator", "auditor"],
    ),
];

#[tokio::test]
async fn every_role_reaches_its_own_subjects_and_no_other() {
    let options = BrokerOptions {
        config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats.conf")),
        environment: USERS.map(|(_, name)| (name.into(), "secret".into())).into(),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server(), &options).unwrap();
    let connection = |user: &str| Connection {
        servers: format!("nats://{user}:secret@127.0.0.1:{}", broker.port()),
        timeout: Duration::from_millis(500),
        ..Connection::default()
    };
    let config = BusConfig {
        connection: connection("countersign"),
        identity: Identity::default(),
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let gateway = connection("login-gw").connect(None).await.unwrap();
    let made = ask(&gateway, "command.register-account", &[], &register("ada")).await;
    assert_eq!(body(&made)["account_id"], "ada");
    for user in ["login-gw", "alice", "bob", "operator", "auditor"] {
        let client = connection(user).connect(None).await.unwrap();
        for (subject, reach) in REACH {
            let subject = format!("countersign.v1.{subject}");
            let answered = client.request(subject.clone(), "{}".into()).await.is_ok();
            // An auditor reaches every query; the service refuses those of other roles.
            let expected =
                reach.contains(&user) || (user == "auditor" && subject.contains(".query."));
            assert_eq!(answered, expected, "{user} {subject}");
        }
    }
    let operator = connection("operator").connect(None).await.unwrap();
    let reply = ask(&operator, "query.checkpoint", &[], b"").await;
    let checkpoint = body(&reply);
    let size = checkpoint["note"].as_str().unwrap().lines().nth(1);
    assert_eq!(size, Some(checkpoint["size"].to_string().as_str()));
    let auditor = connection("auditor").connect(None).await.unwrap();
    let reply = ask(&auditor, "query.login-status.ada", &[], b"").await;
    assert_eq!(refused(&reply), "403 actor.forbidden");
    service.stop().await;
}
