//! The way out: one bounded channel of answers, one task that renders and publishes them.
//!
//! A slot of the channel is reserved before a request is handed on. So the channel's capacity is
//! the bound on requests in flight, and whoever answers never waits and is never turned away.

use std::sync::Arc;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderValue, Subject};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;
use tokio::sync::{mpsc, watch};

use super::gate::Gate;
use super::reply::{Echo, Rendered, Speaker, Told, render};
use super::shares::Share;
use super::stats::Stats;
use crate::crypto::stack;
use crate::engine::Engine;

/// Requests that may wait for their answer at the same time, unless configured otherwise.
pub const IN_FLIGHT_MAX: usize = 8_192;

const TOO_LARGE: &str = "the answer is larger than the broker lets pass: ask for a smaller page";

/// Who waits for an answer, and since when.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Where to.
    pub reply_to: Subject,
    /// Which endpoint was asked, by its place in the list.
    pub endpoint: usize,
    /// When the request arrived.
    pub received_at: Micros,
    /// What the reply repeats.
    pub echo: Echo,
}

/// An answer on its way out.
#[derive(Debug)]
pub struct Answer {
    /// Who waits for it.
    pub waiting: Waiting,
    /// What it is.
    pub told: Told,
    /// The caller's share of the way out, until the answer has left; none where it had no slot.
    pub share: Option<Share>,
}

/// The right and the duty to answer one request; dropped without an answer it tells
/// `outcome.unknown`, so that no request is ever left waiting.
#[derive(Debug)]
pub struct Ticket(Option<(mpsc::OwnedPermit<Answer>, Waiting, Share)>);

impl Ticket {
    /// Pairs a reserved slot with who waits and whose share it is of.
    pub fn new(slot: mpsc::OwnedPermit<Answer>, waiting: Waiting, share: Share) -> Self {
        Self(Some((slot, waiting, share)))
    }

    /// Answers; never waits.
    pub fn tell(mut self, told: Told) {
        self.send(told);
    }

    fn send(&mut self, told: Told) {
        if let Some((slot, waiting, share)) = self.0.take() {
            let share = Some(share);
            slot.send(Answer {
                waiting,
                told,
                share,
            });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Told::Refused(Refusal::new(ErrorCode::OutcomeUnknown)));
    }
}

/// Renders answers, publishes and counts them.
#[derive(Clone)]
pub struct Replier {
    /// For the time of day.
    pub engine: Arc<Engine>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
    /// The service's name as apps and code sheets show it.
    pub issuer: Arc<str>,
    /// The hexadecimal id of the log.
    pub log_id: Arc<str>,
    /// The client in use; a new one where the old one has ended.
    pub client: watch::Receiver<Client>,
    /// Whether this instance still answers for its log.
    pub gate: Gate,
}

impl Replier {
    /// Publishes every answer, unless another instance holds the log, until nobody is left who could send one.
    pub async fn run(mut self, mut answers: mpsc::Receiver<Answer>) {
        while let Some(answer) = answers.recv().await {
            self.gate.looked_at().await;
            // What nobody heard of, the caller asks of the instance that holds the log.
            if !self.gate.is_lost() {
                self.publish(answer).await;
            }
        }
    }

    fn rendered(&self, told: Told, echo: &Echo) -> Rendered {
        let speaker = Speaker {
            issuer: &self.issuer,
            log_id: &self.log_id,
            key: &|at| self.engine.assertion_key(at),
        };
        let bytes_max = self.client.borrow().max_payload();
        fitting(told, echo, &speaker, bytes_max)
    }

    /// Publishes one answer; waits while the broker takes no more.
    pub async fn publish(&mut self, answer: Answer) {
        let Answer {
            waiting,
            told,
            share: _share,
        } = answer;
        let rendered = stack::wiped(|| self.rendered(told, &waiting.echo));
        let took_us = self.engine.now().0.saturating_sub(waiting.received_at.0);
        if let Some(stats) = self.stats.get(waiting.endpoint) {
            stats.answered(rendered.refused, took_us);
        }
        loop {
            let client = self.client.borrow_and_update().clone();
            let (headers, body) = (rendered.headers.clone(), rendered.body.clone());
            match client
                .publish_with_headers(waiting.reply_to.clone(), headers, body)
                .await
            {
                Ok(()) => return,
                // The client has ended for good: its successor delivers, as the inbox is the same.
                Err(error) if error.kind() == PublishErrorKind::Send => {
                    if self.client.changed().await.is_err() {
                        tracing::warn!("a reply was not delivered: the connection has ended");
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!("a reply was not delivered: {error}");
                    return;
                }
            }
        }
    }
}

/// Renders an answer that the broker carries. What was done is never told as refused: its outcome
/// is to be asked for again, by its id.
fn fitting(told: Told, echo: &Echo, speaker: &Speaker, bytes_max: usize) -> Rendered {
    let is_done = matches!(&told, Told::Outcome(outcome, _) if outcome.result.is_ok());
    let rendered = render(told, echo, speaker);
    if wire_bytes(&rendered) <= bytes_max {
        return rendered;
    }
    let refusal = match is_done {
        true => Refusal::new(ErrorCode::OutcomeUnknown),
        false => Refusal::because(ErrorCode::RequestInvalid, TOO_LARGE),
    };
    render(Told::Refused(refusal), echo, speaker)
}

/// What an answer takes of the broker's `max_payload`, which counts headers too (NATS ADR-4).
fn wire_bytes(rendered: &Rendered) -> usize {
    let mut bytes = "NATS/1.0\r\n\r\n".len() + rendered.body.len();
    for (name, values) in rendered.headers.iter() {
        let name: &str = name.as_ref();
        let line = |value: &HeaderValue| name.len() + value.as_str().len() + ": \r\n".len();
        bytes += values.iter().map(line).sum::<usize>();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use countersign_schemas::ids::AccountId;

    use super::*;
    use crate::account::Reply;
    use crate::bus::shares::Shares;
    use crate::engine::{Done, Outcome};

    fn waiting() -> Waiting {
        Waiting {
            reply_to: "inbox".into(),
            endpoint: 0,
            received_at: Micros(0),
            echo: Echo::default(),
        }
    }

    fn share() -> Share {
        let caller = (countersign_schemas::record::Role::Platform, "shop".into());
        Arc::new(Shares::default()).take(caller, 1).unwrap()
    }

    #[test]
    fn what_was_done_is_not_answered_as_refused_where_its_answer_is_too_large() {
        let speaker = Speaker {
            issuer: "test",
            log_id: "log",
            key: &|_| panic!("nothing is asserted"),
        };
        let done = |result| {
            let replayed = false;
            Told::Outcome(Outcome { result, replayed }, "shop".into())
        };
        let registered = || Done {
            reply: Reply::AccountRegistered {
                account_id: AccountId::parse("ada").unwrap(),
            },
            details: countersign_schemas::reply::Details {
                position: 1,
                version: 1,
                at: Micros(0),
            },
            decided_at: Micros(0),
        };
        let refused = |told, max| fitting(told, &Echo::default(), &speaker, max).refused;
        let unknown = Some(ErrorCode::OutcomeUnknown);
        assert_eq!(refused(done(Ok(registered())), usize::MAX), None);
        assert_eq!(refused(done(Ok(registered())), 20), unknown);
        let invalid = Some(ErrorCode::RequestInvalid);
        let was_refused = done(Err(Refusal::new(ErrorCode::CodeInvalid)));
        assert_eq!(refused(was_refused, 20), invalid);
        assert_eq!(refused(Told::Answer("a page".into()), 10), invalid);
    }

    #[tokio::test]
    async fn a_ticket_that_is_lost_still_answers() {
        let (sender, mut answers) = mpsc::channel(1);
        let slot = sender.try_reserve_owned().unwrap();
        drop(Ticket::new(slot, waiting(), share()));
        let told = answers.recv().await.unwrap().told;
        assert!(matches!(told, Told::Refused(r) if r.code == ErrorCode::OutcomeUnknown));
        assert!(
            answers.recv().await.is_none(),
            "once, and nobody is left to answer"
        );
    }

    #[tokio::test]
    async fn a_request_in_flight_holds_its_slot_until_its_answer_is_taken() {
        let (sender, mut answers) = mpsc::channel(1);
        let slot = sender.clone().try_reserve_owned().unwrap();
        let ticket = Ticket::new(slot, waiting(), share());
        assert!(sender.clone().try_reserve_owned().is_err());
        ticket.tell(Told::Refused(Refusal::new(ErrorCode::CodeInvalid)));
        assert!(sender.clone().try_reserve_owned().is_err());
        answers.recv().await.unwrap();
        assert!(sender.try_reserve_owned().is_ok());
    }
}
