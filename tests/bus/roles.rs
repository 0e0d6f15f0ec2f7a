//! The rights of each role, with exactly the shipped broker configuration.

use std::collections::BTreeSet;
use std::path::Path;

use async_nats::{Client, Event, ServerError};
use countersign::bus::headers::{CALLER, REQUEST_INFO};
use countersign::bus::{BusConfig, Connection, Endpoint, Identity, Traffic, all_endpoints};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign_schemas::record::Role;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::service::{PATIENCE, Service, ask, body, refused, register, server, wall};

pub const USERS: [(&str, &str); 7] = [
    ("countersign", "CS_SERVICE_PASSWORD"),
    ("login-gw", "CS_PLATFORM_PASSWORD"),
    ("alice", "CS_ALICE_PASSWORD"),
    ("bob", "CS_BOB_PASSWORD"),
    ("operator", "CS_OPERATOR_PASSWORD"),
    ("auditor", "CS_AUDIT_PASSWORD"),
    ("sys", "CS_SYS_PASSWORD"),
];
/// The users, with their roles.
const CALLERS: [(&str, Role); 5] = [
    ("login-gw", Role::Platform),
    ("alice", Role::Support),
    ("bob", Role::Support),
    ("operator", Role::Operator),
    ("auditor", Role::Audit),
];
/// Subjects other than the endpoints, and who may publish to them.
const BESIDE: [(&str, &[&str]); 14] = [
    ("countersign.v1.event.totp-accepted.ada", &["countersign"]),
    ("$JS.API.STREAM.INFO.COUNTERSIGN_EVENTS", &["countersign"]),
    ("$JS.API.DIRECT.GET.COUNTERSIGN_EVENTS", &["countersign"]),
    ("$JS.API.STREAM.DELETE.COUNTERSIGN_EVENTS", &[]),
    ("$JS.API.STREAM.PURGE.COUNTERSIGN_EVENTS", &[]),
    ("$JS.API.STREAM.MSG.DELETE.COUNTERSIGN_EVENTS", &[]),
    ("$JS.API.CONSUMER.CREATE.COUNTERSIGN_EVENTS", &[]),
    (
        "JS.countersign.API.STREAM.INFO.COUNTERSIGN_EVENTS",
        &["auditor"],
    ),
    (
        "JS.countersign.API.DIRECT.GET.COUNTERSIGN_EVENTS",
        &["auditor"],
    ),
    ("$SYS.REQ.SERVER.PING", &[]),
    ("_INBOX.login-gw.guess", &[]),
    ("countersign.v1.command.start-login", &["login-gw"]),
    (
        "$SRV.PING",
        &["login-gw", "alice", "bob", "operator", "auditor"],
    ),
    ("anything.else", &[]),
];

/// The shipped broker with the service behind it, and one account.
pub struct Fixture {
    pub broker: Broker,
    pub service: Service,
    /// The service's counters.
    pub traffic: Traffic,
}

impl Fixture {
    pub async fn start() -> Self {
        let options = BrokerOptions {
            config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats.conf")),
            environment: USERS.map(|(_, name)| (name.into(), "secret".into())).into(),
            ..BrokerOptions::default()
        };
        let broker = Broker::start(&server(), &options).unwrap();
        let config = BusConfig {
            connection: connection(&broker, "countersign"),
            identity: Identity::default(),
            ..BusConfig::default()
        };
        let traffic = config.traffic.clone();
        let service = Service::start(config, wall()).await;
        Self {
            broker,
            service,
            traffic,
        }
    }

    pub async fn user(&self, name: &str) -> User {
        let (sender, events) = mpsc::channel(4_096);
        let client = connection(&self.broker, name).connect(Some(sender)).await;
        User {
            name: name.into(),
            client: client.unwrap(),
            events,
        }
    }
}

fn connection(broker: &Broker, user: &str) -> Connection {
    Connection {
        servers: format!("nats://{user}:secret@127.0.0.1:{}", broker.port()),
        timeout: PATIENCE,
        ..Connection::default()
    }
}

/// A user of the broker, and the broker's refusals.
pub struct User {
    name: String,
    pub client: Client,
    events: mpsc::Receiver<Event>,
}

impl User {
    /// Waits until the broker has read all that was sent before.
    pub async fn round_trip(&self) {
        let there_and_back = async {
            if CALLERS.iter().any(|(name, _)| *name == self.name) {
                let answer = self.client.request("$SRV.PING.countersign", "".into());
                return answer.await.is_ok();
            }
            // These send nothing to the service, and may publish to their own inbox.
            let inbox = self.client.new_inbox();
            let mut own = self.client.subscribe(inbox.clone()).await.unwrap();
            self.client.publish(inbox, "".into()).await.unwrap();
            own.next().await.is_some()
        };
        let back = tokio::time::timeout(PATIENCE, there_and_back).await;
        assert!(back.unwrap(), "{} hears nothing", self.name);
    }

    /// The subjects that the broker has refused since the last call.
    fn violations(&mut self) -> BTreeSet<String> {
        let mut refused = BTreeSet::new();
        while let Ok(event) = self.events.try_recv() {
            if let Event::ServerError(ServerError::Other(text)) = event {
                let subject = text.split('"').nth(1);
                refused.insert(subject.unwrap_or(&text).to_owned());
            }
        }
        refused
    }

    /// Which of these subjects the broker lets it publish to.
    async fn may_publish(&mut self, subjects: &[String]) -> BTreeSet<String> {
        self.violations();
        for subject in subjects {
            let inbox = self.client.new_inbox();
            let sent = self
                .client
                .publish_with_reply(subject.clone(), inbox, "{}".into());
            sent.await.unwrap();
        }
        self.round_trip().await;
        let refused = self.violations();
        let may = |subject: &&String| !refused.contains(*subject);
        subjects.iter().filter(may).cloned().collect()
    }

    /// Whether the broker lets it subscribe.
    async fn may_subscribe(&mut self, subject: &str, queue: Option<&str>) -> bool {
        self.violations();
        let subject = subject.to_owned();
        let subscriber = match queue {
            Some(queue) => self.client.queue_subscribe(subject, queue.into()).await,
            None => self.client.subscribe(subject).await,
        };
        self.round_trip().await;
        drop(subscriber);
        self.violations().is_empty()
    }
}

/// The subject of an endpoint for one account, with this user if the subject names one.
fn subject(endpoint: &Endpoint, user: &str) -> String {
    let token = if endpoint.names_user() { user } else { "ada" };
    endpoint.subject().replace('*', token)
}

/// Whether the broker lets a role through: commands only its own, an auditor every query.
fn lets_through(endpoint: &Endpoint, role: Role) -> bool {
    let is_query = endpoint.kind() == "query";
    endpoint.roles().contains(&role) || (is_query && role == Role::Audit)
}

/// P-01 and S-03: every pair of a user and a subject.
#[tokio::test]
async fn p01_every_role_reaches_its_own_subjects_and_no_other() {
    let fixture = Fixture::start().await;
    let endpoints = all_endpoints();
    for (name, role) in CALLERS {
        let mut user = fixture.user(name).await;
        for (named, _) in CALLERS {
            let subjects: Vec<_> = endpoints.iter().map(|e| subject(e, named)).collect();
            let may = user.may_publish(&subjects).await;
            for (endpoint, subject) in endpoints.iter().zip(&subjects) {
                let is_own = named == name || !endpoint.names_user();
                let expected = is_own && lets_through(endpoint, role);
                assert_eq!(may.contains(subject), expected, "{name} {subject}");
            }
        }
        let without = endpoints.iter().filter_map(Endpoint::subject_without_user);
        let without: Vec<_> = without.collect();
        assert_eq!(user.may_publish(&without).await, BTreeSet::new(), "{name}");
    }
    let beside = BESIDE.map(|(subject, _)| subject.to_owned());
    for (name, _) in USERS {
        let may = fixture.user(name).await.may_publish(&beside).await;
        for (subject, users) in BESIDE {
            let expected = users.contains(&name) || name == "sys";
            assert_eq!(may.contains(subject), expected, "{name} {subject}");
        }
    }
    fixture.service.stop().await;
}

/// P-12: the service refuses a query to a role without it, even where the broker lets it through.
#[tokio::test]
async fn p12_the_service_checks_the_role_where_the_broker_does_not() {
    let fixture = Fixture::start().await;
    let gateway = fixture.user("login-gw").await.client;
    let made = ask(&gateway, "command.register-account", &[], &register("ada")).await;
    assert_eq!(body(&made)["account_id"], "ada");
    for (name, role) in CALLERS {
        let client = fixture.user(name).await.client;
        let asked = all_endpoints();
        for endpoint in asked
            .iter()
            .filter(|e| e.kind() == "query" && lets_through(e, role))
        {
            let subject = subject(endpoint, name);
            let subject = subject.strip_prefix("countersign.v1.").unwrap();
            let reply = ask(&client, subject, &[], b"").await;
            let is_refused = reply.headers.is_some() && body(&reply)["code"] == "actor.forbidden";
            assert_eq!(
                is_refused,
                !endpoint.roles().contains(&role),
                "{name} {subject}"
            );
        }
    }
    fixture.service.stop().await;
}

/// P-02, P-07 and NATS CVE-2026-33246: a caller's own name for itself changes nothing.
#[tokio::test]
async fn p02_forged_identities_are_without_effect() {
    let fixture = Fixture::start().await;
    let forged = r#"{"acc":"OPERATOR","user":"root","name":"root"}"#;
    let headers = [(REQUEST_INFO, forged), (CALLER, "root")];
    let gateway = fixture.user("login-gw").await.client;
    let made = ask(
        &gateway,
        "command.register-account",
        &headers,
        &register("ada"),
    )
    .await;
    assert_eq!(body(&made)["account_id"], "ada");
    let auditor = fixture.user("auditor").await.client;
    let forged = r#"{"acc":"PLATFORM","user":"login-gw"}"#;
    let headers = [(REQUEST_INFO, forged), (CALLER, "login-gw")];
    let reply = ask(&auditor, "query.login-status.ada", &headers, b"").await;
    assert_eq!(refused(&reply), "403 actor.forbidden");
    let page = body(&ask(&auditor, "query.audit-timeline.ada", &[], b"").await);
    let event = &page["events"][0];
    let expected = json!({"name": "login-gw", "role": "platform", "verified": true});
    assert_eq!(event["caller"], expected);
    // Within the service's own account the broker names no caller, so no user may send requests
    // there.
    let mut inside = fixture.user("countersign").await;
    let asked = ["countersign.v1.query.login-status.ada".to_owned()];
    assert!(inside.may_publish(&asked).await.is_empty());
    fixture.service.stop().await;
}

/// P-03, P-04: no user reads another's replies or takes another's requests.
#[tokio::test]
async fn p03_inboxes_are_private_and_requests_are_the_services() {
    let fixture = Fixture::start().await;
    let own = |name: &str| format!("_INBOX.{name}.>");
    for (name, role) in CALLERS {
        let mut user = fixture.user(name).await;
        assert!(user.may_subscribe(&own(name), None).await, "{name}");
        for foreign in [
            "_INBOX.>",
            ">",
            "*.>",
            "_INBOX.*.>",
            "$JS.>",
            "$SYS.>",
            "_R_.>",
        ] {
            assert!(!user.may_subscribe(foreign, None).await, "{name} {foreign}");
        }
        for (other, _) in USERS.iter().filter(|(other, _)| *other != name) {
            assert!(
                !user.may_subscribe(&own(other), None).await,
                "{name} {other}"
            );
        }
        for kind in ["command", "support", "admin", "query"] {
            let all = format!("countersign.v1.{kind}.>");
            assert!(!user.may_subscribe(&all, None).await, "{name} {all}");
            let joined = user.may_subscribe(&all, Some("countersign")).await;
            assert!(!joined, "{name} joins the queue group of {all}");
        }
        let may_hear = user.may_subscribe("countersign.v1.event.>", None).await;
        assert_eq!(
            may_hear,
            matches!(role, Role::Platform | Role::Audit),
            "{name}"
        );
    }
    let mut service = fixture.user("countersign").await;
    assert!(!service.may_subscribe("_INBOX.>", None).await);
    assert!(!service.may_subscribe(&own("login-gw"), None).await);
    fixture.service.stop().await;
}

/// P-05, P-06: the service replies once, to the reply subject of the request, and nowhere else.
#[tokio::test]
async fn p05_the_service_replies_once_to_the_caller_and_to_no_other() {
    let fixture = Fixture::start().await;
    let mut service = fixture.user("countersign").await;
    let spare = "countersign.v1.command.spare";
    let mut requests = service.client.subscribe(spare).await.unwrap();
    let gateway = fixture.user("login-gw").await;
    let inbox = gateway.client.new_inbox();
    let mut replies = gateway.client.subscribe(inbox.clone()).await.unwrap();
    service.round_trip().await;
    service.violations();
    let asked = gateway
        .client
        .publish_with_reply(spare, inbox.clone(), "".into());
    asked.await.unwrap();
    let request = tokio::time::timeout(PATIENCE, requests.next())
        .await
        .unwrap()
        .unwrap();
    let reply_to = request.reply.unwrap();
    for text in ["first", "second"] {
        service
            .client
            .publish(reply_to.clone(), text.into())
            .await
            .unwrap();
    }
    service
        .client
        .publish(inbox, "uninvited".into())
        .await
        .unwrap();
    service.round_trip().await;
    assert_eq!(service.violations().len(), 2);
    let first = tokio::time::timeout(PATIENCE, replies.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.payload, "first");
    gateway.round_trip().await;
    let more = replies.next().now_or_never();
    assert!(more.is_none(), "{more:?}");
    fixture.service.stop().await;
}

/// An auditor reads the whole stream, with the calls that `nats sub --stream --all --direct` uses.
#[tokio::test]
async fn an_auditor_reads_the_published_stream_and_a_platform_hears_it_live() {
    let fixture = Fixture::start().await;
    let gateway = fixture.user("login-gw").await.client;
    let mut live = gateway.subscribe("countersign.v1.event.>").await.unwrap();
    gateway.flush().await.unwrap();
    ask(&gateway, "command.register-account", &[], &register("ada")).await;
    loop {
        let event = tokio::time::timeout(PATIENCE, live.next())
            .await
            .unwrap()
            .unwrap();
        if event.subject.as_str() == "countersign.v1.event.password-set.ada" {
            break;
        }
    }
    let auditor = fixture.user("auditor").await.client;
    let info = "JS.countersign.API.STREAM.INFO.COUNTERSIGN_EVENTS";
    // A live subscriber hears all five messages of a batch before the stream has taken it.
    let mut last = 0;
    while last < 5 {
        let info = auditor.request(info, "".into()).await.unwrap();
        last = body(&info)["state"]["last_seq"].as_u64().unwrap();
    }
    let inbox = auditor.new_inbox();
    let mut messages = auditor.subscribe(inbox.clone()).await.unwrap();
    let get = "JS.countersign.API.DIRECT.GET.COUNTERSIGN_EVENTS";
    let batch = json!({"seq": 1, "batch": 100}).to_string();
    auditor
        .publish_with_reply(get, inbox, batch.into())
        .await
        .unwrap();
    let mut kinds = Vec::new();
    for _ in 0..last {
        let message = tokio::time::timeout(PATIENCE, messages.next())
            .await
            .unwrap()
            .unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.first().map(String::as_str), Some("epoch-started"));
    assert_eq!(kinds.last().map(String::as_str), Some("password-set"));
    fixture.service.stop().await;
}
