//! One log, one instance: an instance that finds its log already served on the bus does not answer,
//! and of two that meet later one gives way.
//!
//! ```text
//!   subscribe countersign.v1.instance.<log> ─▶ ask there ─┬─ no responders ──▶ alone: answer requests
//!                                                         ├─ "serving" ──────▶ give way
//!                                                         ├─ "starting" ─────▶ the later one gives way
//!                                                         └─ silence ────────▶ ask again
//! ```
//!
//! The connection does not receive its own messages, so the broker reports at once if there is no
//! other subscriber. Each instance subscribes before it asks, and on the connection that its
//! requests come by. On one broker the later of two always finds the earlier one, and an instance
//! that is not found gets no requests either. Two instances that were separated, on brokers of a
//! cluster, find each other within a second of the separation's end. Then the one that began first
//! goes on.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::{Client, Request, RequestErrorKind, SubscribeError};
use countersign_schemas::time::Micros;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use super::endpoints::PREFIX;
use super::gate::Gate;
use super::router::is_answerable;

/// How long another instance may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The longest message of an instance, in bytes.
const WORD_BYTES_MAX: usize = 512;

/// What an instance reports about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// When the instance began.
    pub since: Micros,
    /// The instance's id.
    pub instance: String,
    /// Whether the instance takes requests; else it is still checking whether it may.
    pub serving: bool,
}

impl Word {
    /// Returns whether this instance goes before another in the same state.
    fn goes_before(&self, other: &Self) -> bool {
        (self.since, &self.instance) < (other.since, &other.instance)
    }
}

/// What was found of the same log on the bus.
#[derive(Debug)]
pub enum Met {
    /// There is no other instance.
    Alone,
    /// There is an instance that this one gives way to.
    Holder(Word),
    /// There is an instance that will give way to this one.
    Follower,
    /// There is a subscriber that does not answer: stopped, cut off, or on a machine that is gone.
    Silence,
}

/// This instance, as others of the same log see it.
pub struct Presence {
    subject: String,
    since: Micros,
    instance: String,
    gate: Gate,
    /// The instance that this one gives way to, for good.
    holder: OnceLock<Word>,
}

/// Keeps this instance visible to others until it is dropped.
pub struct Shown(AbortHandle);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Presence {
    /// Makes the presence of an instance that answers while the gate is open.
    pub fn new(log_id: &str, since: Micros, instance: String, gate: Gate) -> Self {
        let subject = format!("{PREFIX}.instance.{log_id}");
        Self {
            subject,
            since,
            instance,
            gate,
            holder: OnceLock::new(),
        }
    }

    fn word(&self) -> Word {
        Word {
            since: self.since,
            instance: self.instance.clone(),
            serving: self.gate.is_open(),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(&self.word()).expect("a time, a text and a flag")
    }

    /// Lets other instances find this one as long as the client lives.
    ///
    /// # Errors
    /// [`SubscribeError`] if the client has ended.
    pub async fn show(self: &Arc<Self>, client: &Client) -> Result<Shown, SubscribeError> {
        let mut asked = client.subscribe(self.subject.clone()).await?;
        let (presence, client) = (Arc::clone(self), client.clone());
        let answering = async move {
            while let Some(message) = asked.next().await {
                let Some(other) = word_of(&message.payload) else {
                    continue;
                };
                presence.weighs(&other);
                if let Some(reply_to) = message.reply.filter(is_answerable) {
                    let _ = client.publish(reply_to, presence.text().into()).await;
                }
            }
        };
        Ok(Shown(tokio::spawn(answering).abort_handle()))
    }

    /// Stops for good if another instance goes before this one; returns whether it does.
    fn weighs(&self, other: &Word) -> bool {
        let yields = self.yields_to(other);
        if yields {
            self.gate.lose();
            let _ = self.holder.set(other.clone());
        }
        yields
    }

    /// Returns whether this instance stops because of another one. An instance that takes requests
    /// goes before one that does not; of two equal ones, the one that began first.
    fn yields_to(&self, other: &Word) -> bool {
        let ours = self.word();
        if other.instance == ours.instance {
            return false;
        }
        match (ours.serving, other.serving) {
            (true, false) => false,
            (false, true) => true,
            (true, true) | (false, false) => other.goes_before(&ours),
        }
    }

    /// Looks for another instance of the same log.
    pub async fn look(&self, client: &Client) -> Met {
        if let Some(holder) = self.holder.get() {
            return Met::Holder(holder.clone());
        }
        let request = Request::new()
            .payload(self.text().into())
            .timeout(Some(ANSWER_MAX));
        match client.send_request(self.subject.clone(), request).await {
            Ok(message) => match word_of(&message.payload) {
                Some(other) if self.weighs(&other) => Met::Holder(other),
                Some(_) => Met::Follower,
                None => Met::Silence,
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Met::Alone,
            Err(_) => Met::Silence,
        }
    }
}

fn word_of(payload: &[u8]) -> Option<Word> {
    let payload = payload
        .get(..)
        .filter(|bytes| bytes.len() <= WORD_BYTES_MAX)?;
    serde_json::from_slice(payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(since: u64, instance: &str, serving: bool) -> Word {
        Word {
            since: Micros(since),
            instance: instance.into(),
            serving,
        }
    }

    fn starting(since: u64, instance: &str) -> Presence {
        Presence::new("log", Micros(since), instance.into(), Gate::default())
    }

    /// Whatever two instances know about each other, they never both go on, nor both stop.
    #[test]
    fn of_two_that_meet_exactly_one_gives_way() {
        for (a, b) in [
            ((1, "a"), (2, "b")),
            ((2, "a"), (1, "b")),
            ((1, "a"), (1, "b")),
        ] {
            let (first, second) = (starting(a.0, a.1), starting(b.0, b.1));
            let first_yields = first.yields_to(&second.word());
            assert_ne!(first_yields, second.yields_to(&first.word()), "{a:?} {b:?}");
        }
        let us = starting(1, "a");
        assert!(
            us.yields_to(&word(9, "b", true)),
            "the one that answers goes first"
        );
        assert!(
            !us.yields_to(&word(9, "a", true)),
            "no instance gives way to itself"
        );
    }

    #[test]
    fn what_is_no_word_of_an_instance_is_none() {
        assert_eq!(word_of(b"{}"), None);
        assert_eq!(word_of(&vec![b' '; WORD_BYTES_MAX + 1]), None);
        let us = word(7, "a", true);
        assert_eq!(
            word_of(serde_json::to_string(&us).unwrap_or_default().as_bytes()),
            Some(us)
        );
    }
}
