//! The way out: one bounded channel of answers, and one task that renders and publishes them.
//!
//! A slot of the channel is reserved before a request is handed on. So the channel's capacity
//! bounds the requests in flight, and sending an answer never waits and never fails.

use std::sync::Arc;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderValue, Subject};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;
use tokio::sync::{mpsc, watch};

use super::gate::Gate;
use super::reply::{Rendered, ReplyHeaders, Response, Speaker, render};
use super::shares::Share;
use super::stats::Stats;
use crate::crypto::stack;
use crate::engine::Engine;

/// How many requests may wait for their answer at the same time, unless configured otherwise.
pub const IN_FLIGHT_MAX: usize = 8_192;

const TOO_LARGE: &str = "the answer is larger than the broker allows: ask for a smaller page";

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The subject of the reply.
    pub reply_to: Subject,
    /// The index of the endpoint in the list.
    pub endpoint: usize,
    /// When the request arrived.
    pub received_at: Micros,
    /// The headers that the reply repeats.
    pub reply_headers: ReplyHeaders,
}

/// An answer on its way out.
#[derive(Debug)]
pub struct Answer {
    /// The request that waits for it.
    pub pending: Pending,
    /// The response to render.
    pub response: Response,
    /// The caller's share of the way out, until the answer has left; `None` if it has no slot.
    pub share: Option<Share>,
}

/// The right and the duty to answer one request. Dropped without an answer, it answers
/// `outcome.unknown`, so that no request is left waiting.
#[derive(Debug)]
pub struct ReplyGuard(Option<(mpsc::OwnedPermit<Answer>, Pending, Share)>);

impl ReplyGuard {
    /// Pairs a reserved slot with the request that waits and the caller's share.
    pub fn new(slot: mpsc::OwnedPermit<Answer>, pending: Pending, share: Share) -> Self {
        Self(Some((slot, pending, share)))
    }

    /// Sends the response; never waits.
    pub fn respond(mut self, response: Response) {
        self.send(response);
    }

    fn send(&mut self, response: Response) {
        if let Some((slot, pending, share)) = self.0.take() {
            let share = Some(share);
            slot.send(Answer {
                pending,
                response,
                share,
            });
        }
    }
}

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        self.send(Response::Refused(Refusal::new(ErrorCode::OutcomeUnknown)));
    }
}

/// Renders, publishes and counts answers.
#[derive(Clone)]
pub struct Replier {
    /// Gives the time of day.
    pub engine: Arc<Engine>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
    /// The service's name as apps and code sheets show it.
    pub issuer: Arc<str>,
    /// The hexadecimal id of the log.
    pub log_id: Arc<str>,
    /// The client in use; a new one when the old one has ended.
    pub client: watch::Receiver<Client>,
    /// Whether this instance still answers for its log.
    pub gate: Gate,
}

impl Replier {
    /// Publishes every answer, unless another instance holds the log, until the last sender is
    /// dropped.
    pub async fn run(mut self, mut answers: mpsc::Receiver<Answer>) {
        while let Some(answer) = answers.recv().await {
            self.gate.looked_at().await;
            // For an outcome that was not reported, the caller asks the instance that holds the
            // log.
            if !self.gate.is_lost() {
                self.publish(answer).await;
            }
        }
    }

    fn rendered(&self, response: Response, reply_headers: &ReplyHeaders) -> Rendered {
        let speaker = Speaker {
            issuer: &self.issuer,
            log_id: &self.log_id,
            key: &|at| self.engine.assertion_key(at),
        };
        let bytes_max = self.client.borrow().max_payload();
        fitting(response, reply_headers, &speaker, bytes_max)
    }

    /// Publishes one answer; waits while the broker accepts no more.
    pub async fn publish(&mut self, answer: Answer) {
        let Answer {
            pending,
            response,
            share: _share,
        } = answer;
        let rendered = stack::wiped(|| self.rendered(response, &pending.reply_headers));
        let took_us = self.engine.now().0.saturating_sub(pending.received_at.0);
        if let Some(stats) = self.stats.get(pending.endpoint) {
            stats.answered(rendered.refused, took_us);
        }
        loop {
            let client = self.client.borrow_and_update().clone();
            let (headers, body) = (rendered.headers.clone(), rendered.body.clone());
            match client
                .publish_with_headers(pending.reply_to.clone(), headers, body)
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

/// Renders an answer within the broker's limit. An executed command is never reported as refused:
/// its outcome must be requested again by its id.
fn fitting(
    response: Response,
    reply_headers: &ReplyHeaders,
    speaker: &Speaker,
    bytes_max: usize,
) -> Rendered {
    let is_done = matches!(&response, Response::Outcome(outcome, _) if outcome.result.is_ok());
    let rendered = render(response, reply_headers, speaker);
    if wire_bytes(&rendered) <= bytes_max {
        return rendered;
    }
    let refusal = if is_done {
        Refusal::new(ErrorCode::OutcomeUnknown)
    } else {
        Refusal::because(ErrorCode::RequestInvalid, TOO_LARGE)
    };
    render(Response::Refused(refusal), reply_headers, speaker)
}

/// Returns how much of the broker's `max_payload` an answer takes, headers included (NATS ADR-4).
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

    fn pending() -> Pending {
        Pending {
            reply_to: "inbox".into(),
            endpoint: 0,
            received_at: Micros(0),
            reply_headers: ReplyHeaders::default(),
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
            Response::Outcome(Outcome { result, replayed }, "shop".into())
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
        let refused =
            |response, max| fitting(response, &ReplyHeaders::default(), &speaker, max).refused;
        let unknown = Some(ErrorCode::OutcomeUnknown);
        assert_eq!(refused(done(Ok(registered())), usize::MAX), None);
        assert_eq!(refused(done(Ok(registered())), 20), unknown);
        let invalid = Some(ErrorCode::RequestInvalid);
        let was_refused = done(Err(Refusal::new(ErrorCode::CodeInvalid)));
        assert_eq!(refused(was_refused, 20), invalid);
        assert_eq!(refused(Response::Answer("a page".into()), 10), invalid);
    }

    #[tokio::test]
    async fn a_ticket_that_is_lost_still_answers() {
        let (sender, mut answers) = mpsc::channel(1);
        let slot = sender.try_reserve_owned().unwrap();
        drop(ReplyGuard::new(slot, pending(), share()));
        let response = answers.recv().await.unwrap().response;
        assert!(matches!(response, Response::Refused(r) if r.code == ErrorCode::OutcomeUnknown));
        assert!(
            answers.recv().await.is_none(),
            "once, and no sender is left"
        );
    }

    #[tokio::test]
    async fn a_request_in_flight_holds_its_slot_until_its_answer_is_taken() {
        let (sender, mut answers) = mpsc::channel(1);
        let slot = sender.clone().try_reserve_owned().unwrap();
        let guard = ReplyGuard::new(slot, pending(), share());
        assert!(sender.clone().try_reserve_owned().is_err());
        guard.respond(Response::Refused(Refusal::new(ErrorCode::CodeInvalid)));
        assert!(sender.clone().try_reserve_owned().is_err());
        answers.recv().await.unwrap();
        assert!(sender.try_reserve_owned().is_ok());
    }
}
