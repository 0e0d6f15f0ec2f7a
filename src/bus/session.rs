//! One client's time on the bus: its subscriptions, a loop for each, and how they end.
//!
//! async-nats drops a subscription's messages from the moment it sends the unsubscription, or one
//! wake-up later with `drain`, while the server still delivers. So a session ends in three steps:
//! the server is made to forget the subscriptions, a round trip proves that everything it had
//! delivered is here, and only then are they closed on our side and read to their end.

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

/// A limit of messages that nats-server cannot read (it takes at most nine digits) and then takes
/// for none: it unsubscribes at once, whereas async-nats goes on delivering what still arrives.
const SERVER_FORGETS: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are taken.
    Serving,
    /// The server is told to send no more.
    Stopping,
    /// Everything that it had sent is here.
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
    /// Subscribes to everything, starts the loops, and waits until the broker knows.
    ///
    /// # Errors
    /// [`SubscribeError`] where the client has ended.
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
            // The second form is refused in verified identity, by an answer that says why.
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

    /// Waits until the client has ended: something that it could not parse killed it. What it had
    /// received until then is still taken.
    pub async fn ended(&mut self) {
        self.loops.join_next().await;
        let rest = async { while self.loops.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ROUND_TRIP_MAX, rest).await;
    }

    /// Stops taking requests and returns once every request that had reached us is handed on.
    /// Later ones find no responders.
    pub async fn close(mut self) {
        self.discovery.abort();
        self.phase.send_replace(Phase::Stopping);
        // Ends when the last loop has dropped its sender.
        while self.unsubscribed.recv().await.is_some() {}
        self.round_trip().await;
        self.phase.send_replace(Phase::Arrived);
        while self.loops.join_next().await.is_some() {}
    }

    /// Asks somebody who is not there: when the broker says so, it has read all that we sent before,
    /// and we have read all that it sent before.
    async fn round_trip(&self) {
        let there_and_back = self.client.request(self.client.new_inbox(), Bytes::new());
        let back = tokio::time::timeout(ROUND_TRIP_MAX, there_and_back).await;
        let nobody = RequestErrorKind::NoResponders;
        if !matches!(back, Ok(Err(error)) if error.kind() == nobody) {
            tracing::warn!(
                "the broker did not answer us within {ROUND_TRIP_MAX:?}; the service's user should be allowed to publish to its own inbox, so that stopping can tell that every request has arrived"
            );
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.discovery.abort();
    }
}

/// Takes the messages of one endpoint; it waits for nothing but messages, for the look at a new
/// connection, and for the broker where a message has to be turned away because everything is full.
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

    /// Whether the phase was reached; else the client has ended.
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

/// Waits for a phase; false where it never comes.
async fn has_come(phases: &mut watch::Receiver<Phase>, phase: Phase) -> bool {
    phases.wait_for(|now| *now == phase).await.is_ok()
}
