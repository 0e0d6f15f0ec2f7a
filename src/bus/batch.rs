//! One atomic batch of JetStream (NATS ADR-50): all of its messages are stored or none, and only
//! after the expected sequence, so that one of two competing publishers is refused.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use countersign_schemas::published::PublishedEvent;
use tokio::time::timeout;

use super::jetstream::{Failure, answer_of};
use super::stream::End;
use super::stream_error::StreamError;

/// How long the broker may take for a batch, sending included.
const BATCH_MAX: Duration = Duration::from_secs(5);

/// Publishes events after the stream's end, and returns the sequence of the last one.
///
/// The events are durable in the stream when this returns. `id` must be used for no other batch.
///
/// # Errors
/// [`StreamError::Away`] if it is unknown whether the stream took the events,
/// [`StreamError::NotTaken`] if it took none, or not as they were sent: in both cases read the
/// stream's end again.
pub async fn publish(
    client: &Client,
    end: &End,
    id: &str,
    events: &[PublishedEvent],
) -> Result<u64, StreamError> {
    let sending = send(client, end, id, events);
    let answer = timeout(BATCH_MAX, sending)
        .await
        .map_err(|_| StreamError::Away(format!("no acknowledgement within {BATCH_MAX:?}")))??;
    let not_taken = |why: String| StreamError::NotTaken(why);
    let ack = answer_of(&answer).map_err(|failure| match failure {
        Failure::Api { text, .. } => not_taken(text),
        Failure::Silent(why) => StreamError::Away(why),
    })?;
    let last = end.sequence + events.len() as u64;
    if ack["duplicate"].as_bool() == Some(true) {
        return Err(not_taken(
            "the server treats a message as a duplicate".into(),
        ));
    }
    match (ack["stream"].as_str(), ack["seq"].as_u64()) {
        (Some(stream), Some(sequence)) if stream == end.stream && sequence == last => Ok(last),
        (stream, sequence) => Err(not_taken(format!(
            "sequence {sequence:?} of {stream:?} was acknowledged instead of {last} of {}",
            end.stream
        ))),
    }
}

/// Sends every message; the server answers only the last one.
async fn send(
    client: &Client,
    end: &End,
    id: &str,
    events: &[PublishedEvent],
) -> Result<Bytes, StreamError> {
    let (last, before) = events.split_last().expect("a batch has an event");
    for (at, event) in before.iter().enumerate() {
        let mut headers = headers(end, at, event);
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
        client
            .publish_with_headers(event.subject(), headers, body(event))
            .await
            .map_err(|error| StreamError::Away(error.to_string()))?;
    }
    let mut headers = headers(end, before.len(), last);
    if !before.is_empty() {
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", events.len().to_string());
        headers.insert("Nats-Batch-Commit", "1");
    }
    let answer = client
        .request_with_headers(last.subject(), headers, body(last))
        .await
        .map_err(|error| Failure::from(error.kind()).about("", &end.stream))?;
    Ok(answer.payload)
}

fn headers(end: &End, at: usize, event: &PublishedEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in event.headers(&end.log_id) {
        headers.insert(name, value);
    }
    if at == 0 {
        headers.insert("Nats-Expected-Stream", end.stream.as_str());
        headers.insert("Nats-Expected-Last-Sequence", end.sequence.to_string());
    }
    headers
}

fn body(event: &PublishedEvent) -> Bytes {
    serde_json::to_vec(event)
        .expect("an event has string keys only")
        .into()
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
