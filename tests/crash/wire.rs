//! Commands as they were sent, and their replies; both are kept before they are used.

use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::patience::PATIENCE;

/// One command, kept so that it can be sent again under the same id.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: String,
    pub name: &'static str,
    pub body: Value,
}

impl Sent {
    /// The account; its id is before the turn in every command id.
    pub fn account(&self) -> &str {
        self.id.rsplit_once('-').map_or("", |(account, _)| account)
    }
}

/// The reply to a command or query.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A success, as its JSON body.
    Done(Value),
    /// A refusal, as its code.
    Refused(String),
}

/// A command together with its reply: the service's promise.
#[derive(Clone, Debug)]
pub struct Ack {
    pub sent: Sent,
    pub answer: Answer,
    pub replayed: bool,
}

impl Answer {
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Done(_) => None,
            Self::Refused(code) => Some(code),
        }
    }
}

/// A connection, and whether the service behind it is known to be dead.
#[derive(Clone)]
pub struct Wire {
    pub client: Client,
    pub dead: watch::Receiver<bool>,
}

impl Wire {
    /// Sends a command; `None` when the service died without a reply, so that the outcome is
    /// unknown.
    pub async fn command(&self, sent: &Sent) -> Option<Ack> {
        let subject = format!("countersign.v1.command.{}", sent.name);
        let body = serde_json::to_vec(&sent.body).unwrap();
        let (answer, replayed) = self.request(subject, body.into(), Some(&sent.id)).await?;
        Some(Ack {
            sent: sent.clone(),
            answer,
            replayed,
        })
    }

    /// Sends a query to a live service.
    pub async fn query(&self, name: &str, body: Value) -> Value {
        let subject = format!("countersign.v1.query.{name}");
        let body = serde_json::to_vec(&body).unwrap();
        match self.request(subject, body.into(), None).await {
            Some((Answer::Done(value), _)) => value,
            other => panic!("{name}: {other:?}"),
        }
    }

    async fn request(
        &self,
        subject: String,
        body: Bytes,
        id: Option<&str>,
    ) -> Option<(Answer, bool)> {
        let mut headers = HeaderMap::new();
        headers.insert("Countersign-Caller", "crash");
        if let Some(id) = id {
            headers.insert("Nats-Msg-Id", id);
        }
        let request = Request::new()
            .headers(headers)
            .payload(body)
            .timeout(Some(PATIENCE));
        let mut dead = self.dead.clone();
        let message = tokio::select! {
            biased;
            reply = self.client.send_request(subject, request) => match reply {
                Ok(message) => message,
                Err(error) => {
                    use async_nats::client::RequestErrorKind::NoResponders;
                    assert_eq!(error.kind(), NoResponders, "{error}");
                    return None;
                }
            },
            _ = dead.wait_for(|dead| *dead) => return None,
        };
        let headers = message.headers.unwrap_or_default();
        let replayed = headers.get("Countersign-Replayed").is_some();
        let answer = match headers.get("Countersign-Error") {
            Some(code) => Answer::Refused(code.as_str().into()),
            None => Answer::Done(serde_json::from_slice(&message.payload).unwrap()),
        };
        Some((answer, replayed))
    }
}
