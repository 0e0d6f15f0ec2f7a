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
//! Any user with permission to publish on the bus can send anything there, so only answers count.
//! Each answer is tagged with a key of the keyring over a number that the asking instance drew for
//! this question. Without the keyring an answer cannot be made, and an earlier answer does not fit
//! a later question. A question by itself changes nothing.
//!
//! The connection does not receive its own messages, so the broker reports at once if there is no
//! other subscriber. Each instance subscribes before it asks, and on the connection that its
//! requests come by. On one broker the later of two always finds the earlier one, and an instance
//! that is not found gets no requests either. Two instances that were separated, on brokers of a
//! cluster, find each other within a second of the separation's end. Then the one that began first
//! goes on.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::{Client, StatusCode, SubscribeError};
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::endpoints::PREFIX;
use super::gate::Gate;
use super::router::is_answerable;
use crate::crypto::derived::{FILE_TAG_BYTES, FileKey};
use crate::engine::Random;

/// How long another instance may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The longest message of an instance, in bytes.
const WORD_BYTES_MAX: usize = 512;
/// The length of the number that identifies a question, in bytes.
const QUESTION_BYTES: usize = 16;

type Question = [u8; QUESTION_BYTES];

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

/// The answer to a question.
#[derive(Serialize, Deserialize)]
struct Answer {
    word: Word,
    /// The tag in hexadecimal, over the question and the word.
    tag: String,
}

impl Word {
    fn tag(&self, key: &FileKey, question: &Question) -> [u8; FILE_TAG_BYTES] {
        let (since, instance) = (self.since.0.to_le_bytes(), self.instance.as_bytes());
        key.tag(&[question, &since, instance, &[u8::from(self.serving)]])
    }

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
    key: FileKey,
    random: Random,
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
    /// Makes the presence of an instance that answers while the gate is open. Every instance with
    /// the log's keyring has the same key.
    pub fn new(
        log_id: &str,
        since: Micros,
        instance: String,
        gate: Gate,
        key: FileKey,
        random: Random,
    ) -> Self {
        let subject = format!("{PREFIX}.instance.{log_id}");
        Self {
            subject,
            since,
            instance,
            gate,
            key,
            random,
            holder: OnceLock::new(),
        }
    }

    /// The subject on which instances of this log find each other.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    fn word(&self) -> Word {
        Word {
            since: self.since,
            instance: self.instance.clone(),
            serving: self.gate.is_open(),
        }
    }

    fn answer(&self, question: &Question) -> String {
        let word = self.word();
        let tag = HEXLOWER.encode(&word.tag(&self.key, question));
        serde_json::to_string(&Answer { word, tag }).expect("a time, texts and a flag")
    }

    /// Returns the word in an answer to this question; `None` if no instance of this log made it.
    fn proven(&self, payload: &[u8], question: &Question) -> Option<Word> {
        if payload.len() > WORD_BYTES_MAX {
            return None;
        }
        let Answer { word, tag } = serde_json::from_slice(payload).ok()?;
        let tag = HEXLOWER.decode(tag.as_bytes()).ok()?;
        bool::from(word.tag(&self.key, question).ct_eq(&tag)).then_some(word)
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
                let Ok(question) = Question::try_from(&*message.payload) else {
                    continue;
                };
                if let Some(reply_to) = message.reply.filter(is_answerable) {
                    let answer = presence.answer(&question);
                    let _ = client.publish(reply_to, answer.into()).await;
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
        let asked = timeout(ANSWER_MAX, self.ask(client)).await;
        asked.ok().flatten().unwrap_or(Met::Silence)
    }

    /// Asks, and waits for the first proven answer; `None` if the question cannot be sent.
    async fn ask(&self, client: &Client) -> Option<Met> {
        let mut question = [0; QUESTION_BYTES];
        if !(self.random)(&mut question) {
            return None;
        }
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.ok()?;
        let payload = question.to_vec().into();
        let sent = client.publish_with_reply(self.subject.clone(), inbox, payload);
        sent.await.ok()?;
        while let Some(message) = answers.next().await {
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Some(Met::Alone);
            }
            match self.proven(&message.payload, &question) {
                Some(other) if self.weighs(&other) => return Some(Met::Holder(other)),
                Some(other) if other.instance != self.instance => return Some(Met::Follower),
                Some(_) | None => {}
            }
        }
        None
    }
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
        let key = FileKey::new(&[7; 32]);
        let random: Random = |_| true;
        Presence::new(
            "log",
            Micros(since),
            instance.into(),
            Gate::default(),
            key,
            random,
        )
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
    fn an_answer_counts_for_its_question_by_who_has_the_keyring_and_as_it_was_given() {
        let (us, question) = (starting(1, "a"), [3; QUESTION_BYTES]);
        let answer = us.answer(&question);
        assert_eq!(us.proven(answer.as_bytes(), &question), Some(us.word()));
        assert_eq!(us.proven(answer.as_bytes(), &[4; QUESTION_BYTES]), None);
        let stranger = Presence {
            key: FileKey::new(&[8; 32]),
            ..starting(1, "a")
        };
        assert_eq!(
            us.proven(stranger.answer(&question).as_bytes(), &question),
            None
        );
        for (from, to) in [
            ("\"a\"", "\"b\""),
            ("false", "true"),
            ("000001Z", "000000Z"),
            ("\"tag\":\"", "\"tag\":\"00"),
        ] {
            let changed = answer.replacen(from, to, 1);
            assert_ne!(changed, answer, "{from}");
            assert_eq!(us.proven(changed.as_bytes(), &question), None, "{changed}");
        }
        let long = format!("{answer}{}", " ".repeat(WORD_BYTES_MAX));
        assert_eq!(us.proven(long.as_bytes(), &question), None);
        assert_eq!(us.proven(b"{}", &question), None);
    }
}
