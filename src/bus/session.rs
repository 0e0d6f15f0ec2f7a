//! One client's time on the bus: its subscriptions, a loop for each, and their end.
//!
//! async-nats drops a subscription's messages from the moment it sends the unsubscription, or one
//! wake-up later with `drain`, while the server still delivers. So a session ends in three steps.
//! The server is made to forget the subscriptions; a round trip proves that everything it delivered
//! has arrived; only then are the subscriptions closed in the client and read to their end.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, RequestErrorKind, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::discovery::{Discovery, QUEUE_GROUP};
use super::replier::Replier;
use super::router::Router;
use crate::crypto::stack;

/// How long the broker may take for one round trip.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// A message limit that nats-server cannot parse (it reads at most nine digits) and therefore
/// treats as none: it unsubscribes at once, whereas async-nats goes on delivering what still
/// arrives.
const SERVER_FORGETS: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are taken.
    Serving,
    /// The server is asked to send no more.
    Stopping,
    /// Everything that the server sent has arrived.
    Arrived,
}

/// The running loops of one client.
pub struct Session {
    client: Client,
    phase: watch::Sender<Phase>,
    unsubscribed: mpsc::Receiver<()>,
    loops: JoinSet<()>,
    discovery: AbortHandle,
}

impl Session {
    /// Subscribes to every subject, starts the loops, and waits until the broker knows the
    /// subscriptions.
    ///
    /// # Errors
    /// [`SubscribeError`] if the client has ended.
    pub async fn open(
        client: Client,
        router: &Arc<Router>,
        discovery: &Arc<Discovery>,
        replier: &Replier,
    ) -> Result<Self, SubscribeError> {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (unsubscribing, unsubscribed) = mpsc::channel(1);
        let mut loops = JoinSet::new();
        for (at, endpoint) in router.endpoints.iter().enumerate() {
            // In verified identity the second form is refused, by an answer that explains why.
            for subject in [Some(endpoint.subject()), endpoint.subject_without_user()] {
                let Some(subject) = subject else { continue };
                let subscriber = client.queue_subscribe(subject, QUEUE_GROUP.into()).await?;
                let endpoint = EndpointLoop {
                    at,
                    router: Arc::clone(router),
                    replier: replier.clone(),
                };
                loops.spawn(endpoint.run(subscriber, phases.clone(), unsubscribing.clone()));
            }
        }
        let subscribers = discovery.subscribe(&client).await?;
        let answering = Arc::clone(discovery).run(client.clone(), subscribers);
        let discovery = tokio::spawn(answering).abort_handle();
        let session = Self {
            client,
            phase,
            unsubscribed,
            loops,
            discovery,
        };
        session.round_trip().await;
        Ok(session)
    }

    /// Waits until the client has ended: it stopped at something that it could not parse. Requests
    /// that it received until then are still taken.
    pub async fn ended(&mut self) {
        self.loops.join_next().await;
        let rest = async { while self.loops.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ROUND_TRIP_MAX, rest).await;
    }

    /// Stops taking requests, and returns once every request that had arrived is handed on. Later
    /// requests find no responders.
    pub async fn close(mut self) {
        self.discovery.abort();
        self.phase.send_replace(Phase::Stopping);
        // Ends when the last loop has dropped its sender.
        while self.unsubscribed.recv().await.is_some() {}
        self.round_trip().await;
        self.phase.send_replace(Phase::Arrived);
        while self.loops.join_next().await.is_some() {}
    }

    /// Sends a request to a subject without a responder. When the broker reports this, it has read
    /// all that the client sent before, and the client has read all that the broker sent before.
    async fn round_trip(&self) {
        let there_and_back = self.client.request(self.client.new_inbox(), Bytes::new());
        let back = tokio::time::timeout(ROUND_TRIP_MAX, there_and_back).await;
        let no_responders = RequestErrorKind::NoResponders;
        if !matches!(back, Ok(Err(error)) if error.kind() == no_responders) {
            tracing::warn!(
                "the broker did not answer within {ROUND_TRIP_MAX:?}; allow the service's user to publish to its own inbox, so that the service can confirm at its stop that every request has arrived"
            );
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.discovery.abort();
    }
}

/// Takes the messages of one endpoint. It waits only for messages, for the check of a new
/// connection, and for the broker when a message is turned away because everything is full.
struct EndpointLoop {
    at: usize,
    router: Arc<Router>,
    replier: Replier,
}

impl EndpointLoop {
    async fn run(
        mut self,
        mut subscriber: Subscriber,
        mut phases: watch::Receiver<Phase>,
        unsubscribing: mpsc::Sender<()>,
    ) {
        if !self
            .take_until(Phase::Stopping, &mut subscriber, &mut phases)
            .await
        {
            return;
        }
        let _ = subscriber.unsubscribe_after(SERVER_FORGETS).await;
        drop(unsubscribing);
        if !self
            .take_until(Phase::Arrived, &mut subscriber, &mut phases)
            .await
        {
            return;
        }
        let _ = subscriber.unsubscribe().await;
        while let Some(message) = subscriber.next().await {
            self.take(message).await;
        }
    }

    /// Returns whether the phase was reached; if not, the client has ended.
    async fn take_until(
        &mut self,
        phase: Phase,
        subscriber: &mut Subscriber,
        phases: &mut watch::Receiver<Phase>,
    ) -> bool {
        loop {
            tokio::select! {
                reached = has_come(phases, phase) => return reached,
                message = subscriber.next() => match message {
                    Some(message) => self.take(message).await,
                    None => return false,
                },
            }
        }
    }

    async fn take(&mut self, message: Message) {
        self.router.gate.looked_at().await;
        if let Some(refusal) = stack::wiped(|| self.router.take(self.at, message)) {
            self.replier.publish(refusal).await;
        }
    }
}

/// Waits for a phase; returns false if it never comes.
async fn has_come(phases: &mut watch::Receiver<Phase>, phase: Phase) -> bool {
    phases.wait_for(|now| *now == phase).await.is_ok()
}
