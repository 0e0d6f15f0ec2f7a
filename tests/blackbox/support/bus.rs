//! A platform service on the bus: subjects, headers and bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Request, RequestErrorKind};
use serde_json::{Value, json};

use super::answer::Answer;
use super::site::PATIENCE;

/// Tries of a query while its view is behind; each try waits for half a second itself.
const ASKED_AGAIN_MAX: usize = 200;
/// Where an operator erases an account.
pub const ERASE: &str = "countersign.v1.admin.erase-account";

/// Command ids of this process; each is used once.
static IDS: AtomicU64 = AtomicU64::new(1);

/// A command id that was not used before.
pub fn fresh_id() -> String {
    format!(
        "id-{}-{}",
        std::process::id(),
        IDS.fetch_add(1, Ordering::Relaxed)
    )
}

/// A caller with its connection.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    caller: String,
    patience: Duration,
    /// Every reply with its subject, if replies are kept.
    heard: Option<Arc<Mutex<Vec<Heard>>>>,
}

/// A kept reply: its subject, its headers and its body.
#[derive(Debug, Clone)]
pub struct Heard {
    pub subject: String,
    pub text: String,
}

impl Bus {
    pub async fn connect(url: &str) -> Self {
        Self::with(async_nats::ConnectOptions::new(), url).await
    }

    /// Connects as a user of the broker.
    pub async fn connect_as(url: &str, user: &str, password: &str) -> Self {
        let options = async_nats::ConnectOptions::new();
        let options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
        Self::with(options.user_and_password(user.into(), password.into()), url).await
    }

    async fn with(options: async_nats::ConnectOptions, url: &str) -> Self {
        Self {
            client: options.connect(url).await.unwrap(),
            caller: "shop".into(),
            patience: PATIENCE,
            heard: None,
        }
    }

    /// The same connection, which keeps every reply from now on.
    pub fn keeping(&self) -> Self {
        Self {
            heard: Some(Arc::default()),
            ..self.clone()
        }
    }

    /// The kept replies.
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.as_ref().unwrap();
        heard.lock().unwrap().clone()
    }

    fn keep(&self, subject: &str, headers: Option<&HeaderMap>, payload: &[u8]) {
        if let Some(heard) = &self.heard {
            let body = String::from_utf8_lossy(payload);
            let heard_now = Heard {
                subject: subject.into(),
                text: format!("{headers:?} {body}"),
            };
            heard.lock().unwrap().push(heard_now);
        }
    }

    /// The same connection under another name.
    pub fn named(&self, caller: &str) -> Self {
        Self {
            caller: caller.into(),
            ..self.clone()
        }
    }

    /// The same connection with another time to wait for a reply.
    pub fn within(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Sends bytes; no reply in time, or no responder, is an error.
    pub async fn try_send(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<Answer, RequestErrorKind> {
        let mut map = HeaderMap::new();
        map.insert("Countersign-Caller", self.caller.as_str());
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let request = Request::new()
            .headers(map)
            .payload(payload.to_vec().into())
            .timeout(Some(self.patience));
        let message = self.client.send_request(subject.to_owned(), request).await;
        let message = message.map_err(|error| error.kind())?;
        self.keep(subject, message.headers.as_ref(), &message.payload);
        Ok(Answer::read(message.headers, &message.payload, payload))
    }

    pub async fn send(&self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Answer {
        match self.try_send(subject, headers, payload).await {
            Ok(answer) => answer,
            Err(error) => panic!("no reply on {subject}: {error:?}"),
        }
    }

    /// A command under a new id.
    pub async fn command(&self, name: &str, body: Value) -> Answer {
        self.command_as(name, &fresh_id(), body).await
    }

    /// A command under this id.
    pub async fn command_as(&self, name: &str, id: &str, body: Value) -> Answer {
        let answer = self.bytes_as(name, id, body.to_string().as_bytes()).await;
        assert_eq!(answer.header("Nats-Msg-Id"), Some(id));
        answer
    }

    /// A command under this id; `None` if no reply comes.
    pub async fn try_command_as(&self, name: &str, id: &str, body: &Value) -> Option<Answer> {
        let subject = format!("countersign.v1.command.{name}");
        let payload = body.to_string();
        let headers = [("Nats-Msg-Id", id)];
        let sent = self.try_send(&subject, &headers, payload.as_bytes()).await;
        sent.ok()
    }

    /// A command's bytes under this id.
    pub async fn bytes_as(&self, name: &str, id: &str, payload: &[u8]) -> Answer {
        let subject = format!("countersign.v1.command.{name}");
        let answer = self.send(&subject, &[("Nats-Msg-Id", id)], payload).await;
        if answer.word().is_none() {
            check_details(&answer.body);
        }
        answer
    }

    /// An operator erases an account under this id.
    pub async fn erase(&self, id: &str, body: Value) -> Answer {
        let body = body.to_string();
        self.send(ERASE, &[("Nats-Msg-Id", id)], body.as_bytes())
            .await
    }

    /// A query's reply.
    pub async fn query(&self, name: &str, body: Value) -> Answer {
        let subject = format!("countersign.v1.query.{name}");
        self.shown(&subject, &[], body.to_string().as_bytes()).await
    }

    /// The reply of a view. On a loaded machine the view can be behind for longer than a query
    /// waits; then the query is sent again, as the refusal says.
    async fn shown(&self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Answer {
        for _ in 0..ASKED_AGAIN_MAX {
            let answer = self.send(subject, headers, payload).await;
            if answer.word() != Some("projection.behind") {
                return answer;
            }
        }
        panic!("{subject} stays behind");
    }

    /// The JSON reply on any subject.
    pub async fn raw(&self, subject: &str) -> Value {
        let message = self.client.request(subject.to_owned(), "".into()).await;
        let message = message.unwrap();
        self.keep(subject, message.headers.as_ref(), &message.payload);
        serde_json::from_slice(&message.payload).unwrap()
    }

    /// Every event of one account up to this position; they fit one page.
    pub async fn timeline(&self, account: &str, until: u64) -> Vec<Value> {
        let until = until.to_string();
        let headers = [("Countersign-Min-Position", until.as_str())];
        let subject = format!("countersign.v1.query.audit-timeline.{account}");
        let page = self.shown(&subject, &headers, br#"{"limit":500}"#).await;
        assert_eq!(page.ok().get("next"), None);
        page.body["events"].as_array().unwrap().clone()
    }

    /// Every event, at least up to this position, in small pages; without the access records at the
    /// end that this reading has left.
    pub async fn history(&self, until: u64) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        let mut after = 0;
        let until = until.to_string();
        loop {
            let body = json!({"after": after, "limit": 7}).to_string();
            let headers = [("Countersign-Min-Position", until.as_str())];
            let subject = "countersign.v1.query.audit-page";
            let page = self.shown(subject, &headers, body.as_bytes()).await;
            events.extend(page.ok()["events"].as_array().unwrap().iter().cloned());
            match page.body.get("next") {
                Some(next) => after = next.as_u64().unwrap(),
                None => break,
            }
        }
        let is_trace = |event: &mut Value| event["data"]["query"] == "audit-page";
        while events.pop_if(is_trace).is_some() {}
        events
    }
}

fn check_details(body: &Value) {
    let details = body["details"].as_object().unwrap();
    assert_eq!(details.len(), 3, "{body}");
    assert!(details["position"].as_u64().unwrap() >= 1);
    assert!(details["version"].as_u64().unwrap() >= 1);
    assert!(details["at"].as_str().unwrap().ends_with('Z'));
}
