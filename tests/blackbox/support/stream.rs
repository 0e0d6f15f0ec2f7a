//! The published stream, as an auditor reads it: over JetStream's own calls.

use async_nats::Client;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::site::{PATIENCE, eventually_async};

/// The event types that are not published (docs/reference/events-published.md).
const UNPUBLISHED: [&str; 9] = [
    "login-started",
    "attempts-suppressed",
    "password-rehashed",
    "keys-rotated",
    "data-keys-rewrapped",
    "subject-viewed",
    "audit-exported",
    "look-ups-counted",
    "agent-acts-refused",
];
/// The messages of one call.
const BATCH: usize = 500;

/// A published event and its place in the stream.
#[derive(Clone, Debug)]
pub struct Published {
    pub sequence: u64,
    pub subject: String,
    pub headers: async_nats::HeaderMap,
    pub body: Value,
}

impl Published {
    pub fn position(&self) -> u64 {
        self.body["position"].as_u64().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

/// A stream of the broker at this address.
pub struct Stream {
    client: Client,
    name: String,
}

impl Stream {
    pub async fn at(url: &str, name: &str) -> Self {
        let options = async_nats::ConnectOptions::new().request_timeout(Some(PATIENCE));
        Self {
            client: options.connect(url).await.unwrap(),
            name: name.into(),
        }
    }

    /// JetStream's reply to a call about it; `None` without a reply.
    pub async fn call(&self, verb: &str, body: Value) -> Option<Value> {
        let subject = format!("$JS.API.STREAM.{verb}.{}", self.name);
        let answer = self.client.request(subject, body.to_string().into()).await;
        Some(serde_json::from_slice(&answer.ok()?.payload).unwrap())
    }

    /// Its last sequence; 0 if it does not exist.
    pub async fn last(&self) -> u64 {
        let info = self.call("INFO", json!({})).await.unwrap_or_default();
        info["state"]["last_seq"].as_u64().unwrap_or(0)
    }

    /// Whether its last event is the one at this position.
    pub async fn ends_at(&self, position: u64) -> bool {
        let last = self.last().await;
        last > 0 && self.page(last).await[0].position() == position
    }

    /// Its configuration with one setting changed.
    pub async fn changed(&self, key: &str, value: Value) -> Value {
        let mut config = self.call("INFO", json!({})).await.unwrap()["config"].take();
        config[key] = value;
        self.call("UPDATE", config).await.unwrap()
    }

    /// Every event in it.
    pub async fn read(&self) -> Vec<Published> {
        let mut read = Vec::new();
        let last = self.last().await;
        while (read.len() as u64) < last {
            read.extend(self.page(read.len() as u64 + 1).await);
        }
        read
    }

    async fn page(&self, from: u64) -> Vec<Published> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let subject = format!("$JS.API.DIRECT.GET.{}", self.name);
        let body = json!({"seq": from, "batch": BATCH}).to_string();
        let asked = self.client.publish_with_reply(subject, inbox, body.into());
        asked.await.unwrap();
        let mut page = Vec::new();
        loop {
            let message = tokio::time::timeout(PATIENCE, answers.next()).await;
            let message = message.unwrap().unwrap();
            let headers = message.headers.unwrap();
            if let Some(status) = message.status {
                assert_eq!(status.as_u16(), 204, "{headers:?}");
                return page;
            }
            page.push(Published {
                sequence: headers
                    .get("Nats-Sequence")
                    .unwrap()
                    .as_str()
                    .parse()
                    .unwrap(),
                subject: headers.get("Nats-Subject").unwrap().to_string(),
                body: serde_json::from_slice(&message.payload).unwrap(),
                headers,
            });
        }
    }

    /// Waits until it has the last published event of a history, and compares it with the history.
    pub async fn comes_to_hold(&self, history: &[Value]) -> Vec<Published> {
        let due = published(history);
        eventually_async("everything is published", async || {
            self.last().await >= due.len() as u64
        })
        .await;
        let stream = self.read().await;
        check(&stream, &due);
        stream
    }
}

/// The events of a history that are published.
fn published(history: &[Value]) -> Vec<&Value> {
    let is_published = |event: &&Value| !UNPUBLISHED.contains(&event["type"].as_str().unwrap());
    history.iter().filter(is_published).collect()
}

/// Compares the stream with the log: each event once, in order, without sealed fields.
fn check(stream: &[Published], due: &[&Value]) {
    let positions: Vec<_> = stream.iter().map(Published::position).collect();
    let expected: Vec<_> = due
        .iter()
        .map(|e| e["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, expected);
    for (at, (published, event)) in stream.iter().zip(due).enumerate() {
        assert_eq!(published.sequence, at as u64 + 1);
        check_message(published, event);
    }
    let mut rest = stream;
    while let Some(first) = rest.first() {
        let size = first.body["group"]["size"].as_u64().unwrap() as usize;
        for (index, event) in rest[..size].iter().enumerate() {
            assert_eq!(event.body["group"], json!({"index": index, "size": size}));
            assert_eq!(event.body["command_id"], first.body["command_id"]);
        }
        rest = &rest[size..];
    }
}

fn check_message(published: &Published, event: &Value) {
    let mut body = published.body.clone();
    body.as_object_mut().unwrap().remove("group").unwrap();
    body.as_object_mut().unwrap().remove("notice");
    let mut event = event.clone();
    for sealed in ["source", "on_behalf_of"] {
        event.as_object_mut().unwrap().remove(sealed);
    }
    assert_eq!(body, event);
    let (kind, position) = (event["type"].as_str().unwrap(), published.position());
    let subject = match event["account_id"].as_str() {
        Some(account) => {
            let of = format!("account/{account}");
            assert_eq!(published.header("ce-subject"), Some(of.as_str()));
            format!("countersign.v1.event.{kind}.{account}")
        }
        None => format!("countersign.v1.event.{kind}"),
    };
    assert_eq!(published.subject, subject);
    let source = published.header("ce-source").unwrap();
    let log_id = source.strip_prefix("urn:countersign:").unwrap();
    for (name, value) in [
        ("Nats-Msg-Id", format!("{log_id}-{position}")),
        ("ce-specversion", "1.0".into()),
        ("ce-id", position.to_string()),
        ("ce-type", format!("dev.countersign.{kind}.v1")),
        ("ce-time", event["at"].as_str().unwrap().into()),
        ("ce-sequence", format!("{position:020}")),
    ] {
        assert_eq!(published.header(name), Some(value.as_str()));
    }
    let trace = published.header("traceparent").map(|parent| &parent[3..35]);
    assert_eq!(trace, event["trace_id"].as_str());
}
