//! The stream of published events: its settings, its log and its end.

use async_nats::Client;
use countersign_schemas::published::{EVENT_PREFIX, source};
use serde_json::{Value, json};

use super::jetstream::{Info, Stream, StreamEvent};
use super::stream_error::StreamError;
use crate::engine::{Feed, PublishedEpoch, StartError};

/// The stream of the first epoch; the name of a later one adds the epoch's number.
const STREAM: &str = "COUNTERSIGN_EVENTS";
/// How long JetStream remembers message ids, in nanoseconds: 2 minutes.
const DUPLICATE_WINDOW_NS: u64 = 120_000_000_000;

/// The end of the newest epoch's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The stream's name.
    pub stream: String,
    /// The hexadecimal id of the log's epoch.
    pub log_id: String,
    /// The sequence of the last message; the one before the first if the stream is empty.
    pub sequence: u64,
    /// The position of the last published event.
    pub position: u64,
}

/// Returns the name of an epoch's stream.
pub fn stream_name(epoch: usize) -> String {
    match epoch {
        1 => STREAM.into(),
        later => format!("{STREAM}_{later}"),
    }
}

/// Creates or checks the newest epoch's stream, reads its end and checks that it is this log's.
///
/// # Errors
/// Every [`StreamError`] but [`StreamError::NotTaken`]. If the stream has events that the log has
/// lost, that is recorded durably before the error is returned.
pub async fn open(client: &Client, feed: &Feed, replicas: usize) -> Result<End, StreamError> {
    let epochs = feed.epochs();
    let (newest, earlier) = epochs.split_last().expect("a log has an epoch");
    let stream = Stream::new(client.clone(), stream_name(newest.number));
    let info = match stream.info().await? {
        Some(info) => info,
        None => {
            release(client, earlier).await?;
            stream.create(&settings(&stream.name, replicas)).await?
        }
    };
    check(&stream.name, &info.config, replicas)?;
    let position = if info.is_empty() {
        where_it_went_on(client, newest, earlier).await?
    } else {
        let stored = stream.event(info.last).await?;
        belongs_to(&stream.name, &stored, std::slice::from_ref(newest))?;
        agree(&stream, &info, stored, feed).await?
    };
    Ok(End {
        stream: stream.name,
        log_id: newest.log_id.clone(),
        sequence: info.last,
        position,
    })
}

/// Returns the settings that a stream is created with. [`check`] demands all of them except the
/// number of replicas, which may be higher.
pub fn settings(name: &str, replicas: usize) -> Value {
    json!({
        "name": name,
        "description": "What became of accounts and their second factor; see docs/reference/events-published.md",
        "subjects": [format!("{EVENT_PREFIX}.>")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": 0,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "num_replicas": replicas,
        "duplicate_window": DUPLICATE_WINDOW_NS,
        "deny_delete": true,
        "deny_purge": true,
        "allow_direct": true,
        "allow_atomic": true,
    })
}

/// Settings that an operator may choose; every other one that is not in [`settings`] is drift.
const FREE: &[&str] = &[
    "description",
    "placement",
    "compression",
    "metadata",
    "duplicate_window",
    "consumer_limits",
    "max_consumers",
    "mirror_direct",
    "first_seq",
    "republish",
];

/// Refuses a stream that could lose, change or reorder events.
fn check(name: &str, found: &Value, replicas: usize) -> Result<(), StreamError> {
    if !found.is_object() {
        return Err(StreamError::Away("the answer has no settings".into()));
    }
    match drift(name, found, replicas) {
        None => Ok(()),
        Some(drift) => Err(StreamError::Drifted {
            stream: name.into(),
            drift,
        }),
    }
}

/// Returns which of a stream's settings differ from what they must be; `None` if none does.
pub fn drift(name: &str, found: &Value, replicas: usize) -> Option<String> {
    let wanted = settings(name, replicas);
    let (wanted, found) = (wanted.as_object()?, found.as_object()?);
    let mut drift = Vec::new();
    for (key, value) in wanted
        .iter()
        .filter(|(key, _)| !FREE.contains(&key.as_str()))
    {
        let has = found.get(key).unwrap_or(&Value::Null);
        let is_right = match key.as_str() {
            "num_replicas" => has.as_u64().is_some_and(|has| has >= replicas as u64),
            _ => has == value,
        };
        if !is_right {
            drift.push(format!("{key} is {has} and must be {value}"));
        }
    }
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty() && text != "default",
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => object.values().any(|member| !member.is_null()),
    };
    for (key, has) in found {
        if !wanted.contains_key(key) && !FREE.contains(&key.as_str()) && is_set(has) {
            drift.push(format!("{key} is {has} and must not be set"));
        }
    }
    (!drift.is_empty()).then(|| drift.join(", "))
}

/// Takes the events' subjects from the stream of the previous epoch, which keeps its messages: two
/// streams cannot have the same subjects.
async fn release(client: &Client, earlier: &[PublishedEpoch]) -> Result<(), StreamError> {
    let Some(before) = earlier.last() else {
        return Ok(());
    };
    let stream = Stream::new(client.clone(), stream_name(before.number));
    let Some(info) = stream.info().await? else {
        return Ok(());
    };
    let own = json!([stream.name]);
    if info.config["subjects"] == own {
        return Ok(());
    }
    if !info.is_empty() {
        belongs_to(&stream.name, &stream.event(info.last).await?, earlier)?;
    }
    let mut config = info.config;
    config["subjects"] = own;
    stream.update(&config).await.map(drop)
}

/// Returns the last position that an earlier epoch's stream has and the log still has, 0 if there
/// is none: every later event must be published.
async fn where_it_went_on(
    client: &Client,
    newest: &PublishedEpoch,
    earlier: &[PublishedEpoch],
) -> Result<u64, StreamError> {
    let kept = |epoch: &PublishedEpoch| epoch.lost_from.map_or(u64::MAX, |lost| lost - 1);
    let mut kept_through = kept(newest);
    for epoch in earlier.iter().rev() {
        let stream = Stream::new(client.clone(), stream_name(epoch.number));
        match stream.info().await? {
            Some(info) if !info.is_empty() => {
                let stored = stream.event(info.last).await?;
                belongs_to(&stream.name, &stored, std::slice::from_ref(epoch))?;
                return Ok(stored.event.position.min(kept_through));
            }
            Some(_) | None => kept_through = kept_through.min(kept(epoch)),
        }
    }
    Ok(0)
}

fn belongs_to(
    stream: &str,
    stored: &StreamEvent,
    epochs: &[PublishedEpoch],
) -> Result<(), StreamError> {
    if epochs
        .iter()
        .any(|epoch| source(&epoch.log_id) == stored.source)
    {
        Ok(())
    } else {
        Err(StreamError::Foreign {
            stream: stream.into(),
            found: format!("its last event is of {}", stored.source),
        })
    }
}

/// Returns the position of the stream's last event, if the log has that event.
///
/// # Errors
/// [`StreamError::KnowsMore`] with the first event that the log does not have.
async fn agree(
    stream: &Stream,
    info: &Info,
    last: StreamEvent,
    feed: &Feed,
) -> Result<u64, StreamError> {
    let has = |event| {
        let feed = feed.clone();
        blocking(move || feed.has(&event).map_err(StreamError::Log))
    };
    if has(last.event.clone()).await? {
        return Ok(last.event.position);
    }
    let (mut low, mut high) = (info.first.max(1), info.last);
    let mut missing = last.event.position;
    while low < high {
        let middle = low + (high - low) / 2;
        let stored = stream.event(middle).await?;
        let position = stored.event.position;
        if has(stored.event).await? {
            low = middle + 1;
        } else {
            (high, missing) = (middle, position);
        }
    }
    let published = last.event.position;
    let lost_from = missing.min(feed.head() + 1);
    let feed = feed.clone();
    blocking(move || {
        feed.bear_witness(last.event, lost_from)
            .map_err(|error| StreamError::Log(error.to_string()))
    })
    .await?;
    Err(Box::new(StartError::StreamKnowsMore {
        published,
        lost_from,
    })
    .into())
}

/// Runs work that reads or writes the disk on a thread of its own, away from the tasks that answer.
///
/// # Errors
/// The work's own error, or [`StreamError::Log`] if it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, StreamError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StreamError::Log(error.to_string()))?
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
