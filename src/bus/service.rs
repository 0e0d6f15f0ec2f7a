//! The service's life: connect, serve, reconnect, and stop without losing a request.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, ServerError, SubscribeError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::Connection;
use super::connection_error::ConnectionError;
use super::directory::{Directory, DirectoryConfig};
use super::discovery::Discovery;
use super::documents::Documents;
use super::found::Found;
use super::greeting;
use super::identity::Identity;
use super::presence::{Shown, Word};
use super::publisher::{Publishing, Running};
use super::queries::QueryPool;
use super::replier::{IN_FLIGHT_MAX, Replier};
use super::router::Router;
use super::session::Session;
use super::stream_error::StreamError;
use super::traffic::Traffic;
use super::violation::Violation;
use crate::engine::Engine;

/// How long stopping may take, from the signal to the last reply.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long the broker may take to accept the last replies.
pub const FLUSH_MAX: Duration = Duration::from_secs(2);
/// How many events of the connection may wait; more are dropped, since they are only logged.
const EVENTS_MAX: usize = 256;
/// How often the broker is checked, since a reconnect can lead to another server.
pub const VERSION_PERIOD: Duration = Duration::from_secs(1);
/// How often the broker is asked for a fresh greeting, since a reload can change it.
const GREETING_PERIOD: Duration = Duration::from_secs(15);
/// After this many periods the service reconnects, to ask again for a refused subscription.
pub const DEAF_PERIODS: u32 = 5;

/// How the service appears on the bus.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// How to reach the broker.
    pub connection: Connection,
    /// How callers are identified.
    pub identity: Identity,
    /// The service's name as authenticator apps and code sheets show it.
    pub issuer: String,
    /// The password service outside; `None` if the engine checks passwords or callers vouch.
    pub directory: Option<DirectoryConfig>,
    /// How many requests may wait for their answer at the same time, at least 1; a further one is
    /// refused as `overloaded`.
    pub in_flight_max: usize,
    /// The endpoints and their counters; a reader keeps a clone.
    pub traffic: Traffic,
    /// How events are published to the stream; `None` if they are not.
    pub publishing: Option<Publishing>,
    /// How often the broker is asked for a fresh greeting.
    pub greeting_every: Duration,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            connection: Connection::default(),
            identity: Identity::default(),
            issuer: "Countersign".into(),
            directory: None,
            in_flight_max: IN_FLIGHT_MAX,
            traffic: Traffic::default(),
            publishing: Some(Publishing::default()),
            greeting_every: GREETING_PERIOD,
        }
    }
}

/// The reasons why the service could not start on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no usable broker and waiting cannot help.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The broker refuses a subscription or a publication that the service needs.
    #[error(
        "the NATS server refuses a subject ({0}); allow the service's user to subscribe to countersign.v1.> and $SRV.>, and to publish to countersign.v1.instance.>"
    )]
    NotPermitted(String),
    /// Events cannot be published, and waiting cannot help.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Another instance of the same log answers.
    #[error(
        "another instance of this log answers on this broker, {}: stop it before starting this one; two instances of one log lose commands that they acknowledged, so never start a copy beside its original",
        shown(.0)
    )]
    Another(Word),
    /// The operating system gives no threads for queries.
    #[error("cannot start the threads for queries: {0}; check the limits of this process")]
    Threads(#[source] std::io::Error),
}

/// Serves until `stop` resolves, then answers the requests that had arrived and returns, at most 10
/// s later.
///
/// `ready` is true while requests are taken. A broker that is away, at the start or later, is
/// waited for. Stopping drains the engine too, so it cannot be used afterwards.
///
/// # Errors
/// [`BusError`], only before `ready` was true for the first time; but [`StreamError::KnowsMore`]
/// whenever the stream is found to have an event that the log does not have.
pub async fn serve(
    engine: Arc<Engine>,
    config: BusConfig,
    ready: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), BusError> {
    let mut stop = pin!(stop);
    let (event_sender, mut events) = mpsc::channel(EVENTS_MAX);
    let connection = config.connection.clone();
    let first = tokio::select! {
        client = connection.connect_patiently(&event_sender) => client?,
        () = &mut stop => {
            drain(engine).await;
            return Ok(());
        }
    };
    greeting::check(&first.server_info(), &config.identity)?;
    let found = Found::start(&engine, &config);
    let mut shown = found.presence.show(&first).await.ok();
    tokio::select! {
        alone = found.until_alone(&first, &mut events) => alone?,
        () = &mut stop => {
            drain(engine).await;
            return Ok(());
        }
    }
    let (clients, client_in_use) = watch::channel(first);
    let publishing = config.publishing.clone();
    let mut publisher = Running::start(publishing, &engine, client_in_use.clone()).await?;
    let (service, replies) = Service::start(engine, config, client_in_use, &found)?;
    let mut served = false;
    loop {
        let client = clients.borrow().clone();
        if let Ok(mut session) = service.open(client.clone()).await {
            let deaf_for = match refused_subject(&mut events, found.presence.subject()) {
                Ok(()) => None,
                Err(error) if !served => return Err(error),
                Err(error) => Some(deaf(&error)),
            };
            served = true;
            tokio::select! {
                () = &mut stop => {
                    set(&ready, false);
                    service.stop(Some((session, client)), shown, publisher, replies).await;
                    return Ok(());
                }
                error = publisher.failed() => {
                    set(&ready, false);
                    service.stop(Some((session, client)), shown, publisher, replies).await;
                    return Err(error.into());
                }
                () = session.ended() => set(&ready, false),
                watched = found.watch(&client, &mut events, &ready, deaf_for) => if let Err(other) = watched {
                    set(&ready, false);
                    service.stop(Some((session, client)), shown, publisher, replies).await;
                    return Err(BusError::Another(other));
                },
            }
        }
        found.gate.forget();
        tracing::error!("the connection to the broker has ended, reconnecting");
        tokio::select! {
            client = connection.connect_again(&event_sender) => {
                shown = found.presence.show(&client).await.ok();
                clients.send_replace(client);
            }
            () = &mut stop => {
                // Without a new client to come, the replier gives up the answers that it holds.
                drop(clients);
                service.stop(None, shown, publisher, replies).await;
                return Ok(());
            }
        }
    }
}

/// The parts that live as long as the service, across clients.
struct Service {
    engine: Arc<Engine>,
    router: Arc<Router>,
    discovery: Arc<Discovery>,
    replier: Replier,
}

impl Service {
    /// Sets up everything that needs no client; the returned task is the replier's.
    fn start(
        engine: Arc<Engine>,
        config: BusConfig,
        client: watch::Receiver<Client>,
        found: &Found,
    ) -> Result<(Self, JoinHandle<()>), BusError> {
        let Traffic { endpoints, stats } = config.traffic;
        let (answers, to_send) = mpsc::channel(config.in_flight_max.max(1));
        if let Some(directory) = config.directory {
            let service = Directory::new(directory, client.clone()).into_service();
            engine.ask_about_passwords(service);
        }
        let replier = Replier {
            engine: Arc::clone(&engine),
            stats: Arc::clone(&stats),
            issuer: config.issuer.into(),
            log_id: engine.log_id().into(),
            client,
            gate: found.gate.clone(),
        };
        let replies = tokio::spawn(replier.clone().run(to_send));
        let discovery = Discovery {
            id: found.instance.clone(),
            started: found.since,
            endpoints: Arc::clone(&endpoints),
            stats: Arc::clone(&stats),
        };
        let router = Router {
            documents: Documents::made(),
            queries: QueryPool::start(&engine).map_err(BusError::Threads)?,
            engine: Arc::clone(&engine),
            identity: config.identity,
            endpoints,
            stats,
            answers,
            shares: Arc::default(),
            gate: found.gate.clone(),
        };
        let service = Self {
            engine,
            router: Arc::new(router),
            discovery: Arc::new(discovery),
            replier,
        };
        Ok((service, replies))
    }

    async fn open(&self, client: Client) -> Result<Session, SubscribeError> {
        Session::open(client, &self.router, &self.discovery, &self.replier).await
    }

    /// Takes no more requests, answers those that have arrived, and lets the last reply leave.
    async fn stop(
        self,
        serving: Option<(Session, Client)>,
        shown: Option<Shown>,
        publisher: Running,
        replies: JoinHandle<()>,
    ) {
        let Self { engine, router, .. } = self;
        let stopping = async {
            let client = match serving {
                None => None,
                Some((session, client)) => {
                    session.close().await;
                    Some(client)
                }
            };
            // This is the last sender of answers, apart from the requests in flight.
            drop(router);
            finish(&engine).await;
            let _ = replies.await;
            publisher.finish().await;
            // Hide the instance before its files are free for the next start.
            drop(shown);
            drain(engine).await;
            if let Some(client) = client {
                // The flush never ends while the broker is away.
                if timeout(FLUSH_MAX, client.flush()).await.is_err() {
                    tracing::warn!("the broker is away: the last replies may not have reached it");
                }
                let _ = client.drain().await;
            }
        };
        if timeout(DRAIN_MAX, stopping).await.is_err() {
            tracing::error!("stopped after {DRAIN_MAX:?} with requests that were not answered");
        }
    }
}

fn shown(other: &Word) -> String {
    format!("instance {} since {}", other.instance, other.since)
}

/// Lets the engine finish its queue, away from the tasks that publish the answers.
async fn finish(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    if let Err(error) = tokio::task::spawn_blocking(move || engine.finish(DRAIN_MAX)).await {
        tracing::error!("the engine did not finish: {error}");
    }
}

/// Lets the engine finish and close its files.
async fn drain(engine: Arc<Engine>) {
    if let Err(error) = tokio::task::spawn_blocking(move || engine.drain(DRAIN_MAX)).await {
        tracing::error!("the engine did not drain: {error}");
    }
}

/// Sets whether requests are taken; watchers are notified of changes only.
pub fn set(ready: &watch::Sender<bool>, value: bool) {
    ready.send_if_modified(|now| std::mem::replace(now, value) != value);
}

/// Refuses to start if the broker does not allow a subject: the service would wait for requests
/// that never come, or not find another instance.
///
/// # Errors
/// [`BusError::NotPermitted`] with the broker's sentence.
pub fn refused_subject(
    events: &mut mpsc::Receiver<Event>,
    instance_subject: &str,
) -> Result<(), BusError> {
    while let Ok(event) = events.try_recv() {
        match event {
            Event::ServerError(ServerError::Other(text))
                if refuses_subject(&text, instance_subject) =>
            {
                return Err(BusError::NotPermitted(text));
            }
            other => log(&other),
        }
    }
    Ok(())
}

/// Logs that requests do not reach the service; returns 0, the count of periods since.
pub fn deaf(error: &BusError) -> u32 {
    let again = VERSION_PERIOD * DEAF_PERIODS;
    tracing::error!("not ready: {error}; asking again in {again:?}");
    0
}

/// Returns whether the broker refuses a subject that the service needs.
pub fn refuses_subject(sentence: &str, instance_subject: &str) -> bool {
    Violation::of(sentence).is_some_and(|violation| violation.deafens(instance_subject))
}

/// Follows the server's request to leave (NATS ADR-5), if there is another server.
pub async fn leave_for_another_server(client: &Client) {
    let others = client.server_pool().await.is_ok_and(|pool| pool.len() > 1);
    if others {
        let _ = client.force_reconnect().await;
    }
}

pub fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to the broker"),
        Event::Disconnected => tracing::warn!("the broker is away, reconnecting"),
        Event::LameDuckMode => tracing::warn!("the broker is about to stop"),
        Event::SlowConsumer(_) => tracing::error!(
            "slow consumer: requests were dropped unread because they came faster than they were taken"
        ),
        Event::Draining | Event::Closed => tracing::info!("{event}"),
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!("{event}"),
    }
}
