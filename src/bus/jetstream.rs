//! The few calls of JetStream that publication needs, as requests and JSON.

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Message};
use countersign_schemas::published::{EVENT_PREFIX, PublishedEvent, SOURCE};
use serde_json::{Value, json};

use super::stream_error::StreamError;

/// JetStream's number for a stream that does not exist.
const NOT_FOUND: u64 = 10_059;
/// JetStream's numbers for being off, for the server or for the account.
const NOT_ENABLED: [u64; 2] = [10_076, 10_039];

/// One stream of the service's account.
#[derive(Clone, Debug)]
pub struct Stream {
    client: Client,
    /// The stream's name.
    pub name: String,
}

/// A stream's configuration and range.
#[derive(Clone, Debug)]
pub struct Info {
    /// The stream's configuration.
    pub config: Value,
    /// The sequence of the first message.
    pub first: u64,
    /// The sequence of the last message; `first` minus one if the stream is empty.
    pub last: u64,
}

impl Info {
    /// Returns whether the stream is empty; it may begin at any sequence.
    pub fn is_empty(&self) -> bool {
        self.last == 0 || self.last < self.first
    }
}

/// A message of a stream: an event and its log.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// The value of `ce-source`, which names the log.
    pub source: String,
    /// The event.
    pub event: PublishedEvent,
}

impl Stream {
    /// Makes a handle to the stream of this name, which may not exist.
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Returns the stream's state; `None` if the stream does not exist.
    ///
    /// # Errors
    /// [`StreamError::Away`] if JetStream does not answer, [`StreamError::Refused`] if it refuses.
    pub async fn info(&self) -> Result<Option<Info>, StreamError> {
        match self.call("STREAM.INFO", &json!({})).await {
            Ok(answer) => info(&answer).map(Some),
            Err(Failure::Api { number, .. }) if number == NOT_FOUND => Ok(None),
            Err(failure) => Err(failure.about("to describe", &self.name)),
        }
    }

    /// Creates the stream.
    ///
    /// # Errors
    /// The same as [`Stream::info`].
    pub async fn create(&self, config: &Value) -> Result<Info, StreamError> {
        let answer = self.call("STREAM.CREATE", config).await;
        info(&answer.map_err(|failure| failure.about("to make", &self.name))?)
    }

    /// Gives the stream another configuration.
    ///
    /// # Errors
    /// The same as [`Stream::info`].
    pub async fn update(&self, config: &Value) -> Result<Info, StreamError> {
        let answer = self.call("STREAM.UPDATE", config).await;
        info(&answer.map_err(|failure| failure.about("to change", &self.name))?)
    }

    /// Returns the event at a sequence.
    ///
    /// # Errors
    /// [`StreamError::Away`] if it cannot be read now, [`StreamError::Foreign`] if it is not a
    /// published event.
    pub async fn event(&self, sequence: u64) -> Result<StreamEvent, StreamError> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.name);
        let body = json!({"seq": sequence}).to_string();
        let answer = self.client.request(subject, body.into()).await;
        let message = answer.map_err(|error| Failure::from(error.kind()).about("", &self.name))?;
        if let Some(fault) = message.fault {
            let what = format!("message {sequence} of {}: {fault:?}", self.name);
            return Err(StreamError::Away(what));
        }
        if let Some(status) = message.status {
            let what = format!("message {sequence} of {}: status {status}", self.name);
            return Err(StreamError::Away(what));
        }
        stored(&message).ok_or_else(|| StreamError::Foreign {
            stream: self.name.clone(),
            found: format!("message {sequence} is not a published event"),
        })
    }

    async fn call(&self, verb: &str, body: &Value) -> Result<Value, Failure> {
        let subject = format!("$JS.API.{verb}.{}", self.name);
        let answer = self.client.request(subject, body.to_string().into()).await;
        let answer = answer.map_err(|error| Failure::from(error.kind()))?;
        answer_of(&answer.payload)
    }
}

/// Reads an answer of JetStream.
///
/// # Errors
/// [`Failure::Api`] for the error in the answer, and [`Failure::Silent`] if the answer is not JSON.
pub fn answer_of(payload: &[u8]) -> Result<Value, Failure> {
    let answer: Value = serde_json::from_slice(payload)
        .map_err(|_| Failure::Silent("the answer is not JSON".into()))?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(Failure::Api {
            status: error["code"].as_u64().unwrap_or(500),
            number: error["err_code"].as_u64().unwrap_or(0),
            text: error["description"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

/// Why JetStream did not do what it was asked to do.
#[derive(Debug)]
pub enum Failure {
    /// JetStream refused.
    Api {
        /// The status: 4xx for a fault of the request, 5xx for a fault of the server.
        status: u64,
        /// JetStream's own number of the error.
        number: u64,
        /// JetStream's sentence about the error.
        text: String,
    },
    /// There was no answer, or no readable one.
    Silent(String),
}

impl From<RequestErrorKind> for Failure {
    fn from(kind: RequestErrorKind) -> Self {
        Self::Silent(match kind {
            RequestErrorKind::NoResponders => {
                "JetStream is off, for the server or for the service's account".into()
            }
            RequestErrorKind::TimedOut => {
                "no answer in time, or the service's user is not allowed to ask".into()
            }
            other => other.to_string(),
        })
    }
}

impl Failure {
    /// Returns what the failure means for publication; `asked` is what JetStream was asked to do to
    /// the stream.
    pub fn about(self, asked: &str, stream: &str) -> StreamError {
        match self {
            Self::Silent(why) => StreamError::Away(why),
            Self::Api {
                status,
                number,
                text,
            } if status >= 500 || NOT_ENABLED.contains(&number) => StreamError::Away(text),
            Self::Api { text, .. } => StreamError::Refused {
                what: format!("{asked} the stream {stream}"),
                reason: text,
            },
        }
    }
}

fn info(answer: &Value) -> Result<Info, StreamError> {
    let number = |name: &str| answer["state"][name].as_u64();
    match (number("first_seq"), number("last_seq")) {
        (Some(first), Some(last)) => Ok(Info {
            config: answer["config"].clone(),
            first,
            last,
        }),
        _ => Err(StreamError::Away("the answer has no state".into())),
    }
}

fn stored(message: &Message) -> Option<StreamEvent> {
    let header = |headers: &HeaderMap, name: &str| headers.get(name).map(ToString::to_string);
    let headers = message.headers.as_ref()?;
    let subject = header(headers, "Nats-Subject")?;
    let stored = StreamEvent {
        source: header(headers, SOURCE)?,
        event: serde_json::from_slice(&message.payload).ok()?,
    };
    let is_whole = subject.starts_with(EVENT_PREFIX) && subject == stored.event.subject();
    is_whole.then_some(stored)
}
