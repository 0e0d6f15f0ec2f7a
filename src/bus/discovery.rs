//! Answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` (NATS ADR-32), so that `nats micro` finds the
//! service.

use std::sync::Arc;

use async_nats::{Client, SubscribeError, Subscriber};
use countersign_schemas::time::Micros;
use futures_util::StreamExt;
use futures_util::stream::select_all;
use serde_json::{Value, json};

use super::endpoints::{Endpoint, PREFIX};
use super::router::is_answerable;
use super::stats::Stats;
use crate::engine::wall_clock;

/// The service's name on the bus.
pub const NAME: &str = "countersign";
/// The queue group in which instances share the requests.
pub const QUEUE_GROUP: &str = "countersign";

/// The most answers to `$SRV` requests in a second; further requests get none. One answer has some
/// 20 KB, and a client with this permission may ask as fast as it can.
const ANSWERS_PER_S_MAX: u32 = 256;

const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

/// What the service reports about itself.
pub struct Discovery {
    /// The id of this instance.
    pub id: String,
    /// When this instance started.
    pub started: Micros,
    /// The service's endpoints.
    pub endpoints: Arc<[Endpoint]>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
}

impl Discovery {
    /// Subscribes to every verb: for all services, for this service and for this instance.
    ///
    /// # Errors
    /// [`SubscribeError`] if the client has ended.
    pub async fn subscribe(&self, client: &Client) -> Result<Vec<Subscriber>, SubscribeError> {
        let mut subscribers = Vec::new();
        for verb in VERBS {
            for tail in [
                String::new(),
                format!(".{NAME}"),
                format!(".{NAME}.{}", self.id),
            ] {
                subscribers.push(client.subscribe(format!("$SRV.{verb}{tail}")).await?);
            }
        }
        Ok(subscribers)
    }

    /// Answers until the client ends.
    pub async fn run(self: Arc<Self>, client: Client, subscribers: Vec<Subscriber>) {
        let mut requests = select_all(subscribers);
        let mut budget = Budget::default();
        while let Some(request) = requests.next().await {
            let Some(reply_to) = request.reply.filter(is_answerable) else {
                continue;
            };
            if !budget.allows(wall_clock()) {
                continue;
            }
            let answer = match request.subject.split('.').nth(1) {
                Some("PING") => self.ping(),
                Some("INFO") => self.info(),
                _ => self.stats(),
            };
            if let Err(error) = client.publish(reply_to, answer.to_string().into()).await {
                tracing::warn!("a $SRV reply was not delivered: {error}");
            }
        }
    }

    fn ping(&self) -> Value {
        self.response("ping", json!({}))
    }

    fn info(&self) -> Value {
        let endpoint = |endpoint: &Endpoint| {
            json!({
                "name": endpoint.name,
                "subject": endpoint.subject(),
                "queue_group": QUEUE_GROUP,
                "metadata": {
                    "summary": endpoint.summary,
                    "kind": endpoint.kind(),
                    "request_schema": endpoint.request_schema(),
                    "response_schema": endpoint.response_schema(),
                    "idempotent": endpoint.idempotent(),
                },
            })
        };
        let endpoints: Vec<_> = self.endpoints.iter().map(endpoint).collect();
        self.response(
            "info",
            json!({"description": env!("CARGO_PKG_DESCRIPTION"), "endpoints": endpoints}),
        )
    }

    fn stats(&self) -> Value {
        let endpoints: Vec<_> = self
            .endpoints
            .iter()
            .zip(self.stats.iter())
            .map(|(endpoint, stats)| {
                let name = json!({
                    "name": endpoint.name,
                    "subject": endpoint.subject(),
                    "queue_group": QUEUE_GROUP,
                });
                joined(name, stats.members())
            })
            .collect();
        self.response(
            "stats",
            json!({"started": self.started, "endpoints": endpoints}),
        )
    }

    fn response(&self, kind: &str, rest: Value) -> Value {
        let common = json!({
            "type": format!("io.nats.micro.v1.{kind}_response"),
            "name": NAME,
            "id": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": {
                "contract": "v1",
                "schemas": format!("{PREFIX}.query.schema.*"),
            },
        });
        joined(common, rest)
    }
}

/// How many answers were sent in one second of the clock.
#[derive(Debug, Default)]
struct Budget {
    second: u64,
    answers: u32,
}

impl Budget {
    /// Returns whether one more answer may be sent; a changed clock begins another second.
    fn allows(&mut self, now: Micros) -> bool {
        if now.unix_s() != self.second {
            *self = Self {
                second: now.unix_s(),
                answers: 0,
            };
        }
        self.answers += 1;
        self.answers <= ANSWERS_PER_S_MAX
    }
}

fn joined(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_answers_and_the_next_has_as_many() {
        let mut budget = Budget::default();
        for second in [5, 6, 5] {
            let now = Micros(second * Micros::SECOND);
            let allowed = (0..1_000).filter(|_| budget.allows(now)).count();
            assert_eq!(allowed, ANSWERS_PER_S_MAX as usize);
        }
    }
}
