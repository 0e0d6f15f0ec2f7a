//! The service's life: connect, serve, connect again, stop without losing a request.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, ServerError, SubscribeError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::{NoContext, Timestamp, Uuid};

use super::connection::{Connection, check_version};
use super::connection_error::ConnectionError;
use super::desk::Desk;
use super::directory::{Directory, DirectoryConfig};
use super::discovery::Discovery;
use super::documents::Documents;
use super::greeting;
use super::identity::Identity;
use super::publisher::{Publishing, Running};
use super::queries::QueryPool;
use super::replier::{IN_FLIGHT_MAX, Replier};
use super::session::Session;
use super::stream_error::StreamError;
use super::traffic::Traffic;
use crate::engine::Engine;

/// How long stopping may take, from the signal to the last reply.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long the broker may take to take the last replies.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Events of the connection that may wait; more are dropped, they are for the log only.
const EVENTS_MAX: usize = 256;
/// How often the broker is looked at, since a reconnect can lead to another server.
const VERSION_PERIOD: Duration = Duration::from_secs(1);
/// After how many of these periods the service connects anew to ask for a refused subscription again.
const DEAF_PERIODS: u32 = 5;

/// How the service appears on the bus.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// How to reach the broker.
    pub connection: Connection,
    /// How callers are told apart.
    pub identity: Identity,
    /// The service's name as authenticator apps and code sheets show it.
    pub issuer: String,
    /// Another service that checks passwords; none where the engine does or callers vouch.
    pub directory: Option<DirectoryConfig>,
    /// Requests that may wait for their answer at the same time, at least 1; one more is
    /// `overloaded`.
    pub in_flight_max: usize,
    /// The endpoints and their counters; whoever reads them keeps a clone.
    pub traffic: Traffic,
    /// How events are published to the stream; none where they are not.
    pub publishing: Option<Publishing>,
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
        }
    }
}

/// Says why the service could not start on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no usable broker and waiting cannot help.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The broker does not let us subscribe.
    #[error(
        "the NATS server refuses a subscription ({0}); give the service's user the subjects countersign.v1.> and $SRV.>"
    )]
    NotPermitted(String),
    /// Events cannot be published, and waiting cannot help.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// There are no threads for queries.
    #[error("cannot start the threads for queries: {0}; look at the limits of this process")]
    Threads(#[source] std::io::Error),
}

/// Serves until `stop` resolves, then answers what had arrived, and returns; at most 10 s later.
///
/// `ready` is true while requests are taken. A broker that is away, at the start or later, is
/// waited for. Stopping drains the engine too, so it is of no use afterwards.
///
/// # Errors
/// [`BusError`], only before `ready` was true for the first time; but [`StreamError::KnowsMore`]
/// whenever the stream is found to have an event that the log has not.
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
    let identity = config.identity.clone();
    greeting::check(&first.server_info(), &identity)?;
    let (clients, client_in_use) = watch::channel(first);
    let publishing = config.publishing.clone();
    let mut publisher = Running::start(publishing, &engine, client_in_use.clone()).await?;
    let (service, replies) = Service::start(engine, config, client_in_use)?;
    let mut served = false;
    loop {
        let client = clients.borrow().clone();
        if let Ok(mut session) = service.open(client.clone()).await {
            let deaf_for = match refused_subscription(&mut events) {
                Ok(()) => None,
                Err(error) if !served => return Err(error),
                Err(error) => Some(deaf(&error)),
            };
            served = true;
            let is_fit = is_fit(&client, &identity);
            set(&ready, deaf_for.is_none() && is_fit);
            tokio::select! {
                () = &mut stop => {
                    set(&ready, false);
                    service.stop(Some((session, client)), publisher, replies).await;
                    return Ok(());
                }
                error = publisher.failed() => {
                    set(&ready, false);
                    service.stop(Some((session, client)), publisher, replies).await;
                    return Err(error.into());
                }
                () = session.ended() => set(&ready, false),
                () = watch_connection(&client, &identity, &mut events, &ready, deaf_for) => {}
            }
        }
        tracing::error!("the connection to the broker has ended, connecting anew");
        tokio::select! {
            client = connection.connect_again(&event_sender) => {
                clients.send_replace(client);
            }
            () = &mut stop => {
                // Without a client to come, the replier gives up on what it holds.
                drop(clients);
                service.stop(None, publisher, replies).await;
                return Ok(());
            }
        }
    }
}

/// What lives as long as the service, whatever becomes of a client.
struct Service {
    engine: Arc<Engine>,
    desk: Arc<Desk>,
    discovery: Arc<Discovery>,
    replier: Replier,
}

impl Service {
    /// Sets up everything that needs no client; the task is the replier's.
    fn start(
        engine: Arc<Engine>,
        config: BusConfig,
        client: watch::Receiver<Client>,
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
        };
        let replies = tokio::spawn(replier.clone().run(to_send));
        let started = engine.now();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, started.unix_s(), 0));
        let discovery = Discovery {
            id: id.simple().to_string(),
            started,
            endpoints: Arc::clone(&endpoints),
            stats: Arc::clone(&stats),
        };
        let desk = Desk {
            documents: Documents::made(),
            queries: QueryPool::start(&engine).map_err(BusError::Threads)?,
            engine: Arc::clone(&engine),
            identity: config.identity,
            endpoints,
            stats,
            answers,
            shares: Arc::default(),
        };
        let service = Self {
            engine,
            desk: Arc::new(desk),
            discovery: Arc::new(discovery),
            replier,
        };
        Ok((service, replies))
    }

    async fn open(&self, client: Client) -> Result<Session, SubscribeError> {
        Session::open(client, &self.desk, &self.discovery, &self.replier).await
    }

    /// Takes no more, answers what is here, and lets the last reply leave.
    async fn stop(
        self,
        serving: Option<(Session, Client)>,
        publisher: Running,
        replies: JoinHandle<()>,
    ) {
        let Self { engine, desk, .. } = self;
        let stopping = async {
            let client = match serving {
                None => None,
                Some((session, client)) => {
                    session.close().await;
                    Some(client)
                }
            };
            // The last sender of answers beside those of requests in flight.
            drop(desk);
            finish(&engine).await;
            let _ = replies.await;
            publisher.finish().await;
            drain(engine).await;
            if let Some(client) = client {
                // Never ends while the broker is away.
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

/// Lets the engine finish what is queued, away from the tasks that publish the answers.
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

/// Says whether requests are taken; whoever watches hears of changes only.
fn set(ready: &watch::Sender<bool>, value: bool) {
    ready.send_if_modified(|now| std::mem::replace(now, value) != value);
}

/// Refuses to start where a subscription was not allowed: the service would wait for requests
/// that never come.
fn refused_subscription(events: &mut mpsc::Receiver<Event>) -> Result<(), BusError> {
    while let Ok(event) = events.try_recv() {
        match event {
            Event::ServerError(ServerError::Other(text)) if refuses_subscription(&text) => {
                return Err(BusError::NotPermitted(text));
            }
            other => log(&other),
        }
    }
    Ok(())
}

/// Says that requests do not reach the service; for no period yet.
fn deaf(error: &BusError) -> u32 {
    let again = VERSION_PERIOD * DEAF_PERIODS;
    tracing::error!("not ready: {error}; asking again in {again:?}");
    0
}

fn refuses_subscription(error: &str) -> bool {
    error.to_lowercase().contains("violation for subscription")
}

/// Whether the broker is one that the service may be ready on; a later one may not be.
fn is_fit(client: &Client, identity: &Identity) -> bool {
    let info = client.server_info();
    let checked = check_version(&info.version).and_then(|()| greeting::check(&info, identity));
    if let Err(error) = &checked {
        tracing::error!("not ready: {error}");
    }
    checked.is_ok()
}

/// Follows the connection's events and what the server says of itself; ends where the events do, and some
/// time after the broker refused a subscription, which only a new connection asks for again.
async fn watch_connection(
    client: &Client,
    identity: &Identity,
    events: &mut mpsc::Receiver<Event>,
    ready: &watch::Sender<bool>,
    mut deaf_for: Option<u32>,
) {
    let server = || {
        let info = client.server_info();
        (info.server_id, info.client_id)
    };
    let mut checked = server();
    let mut ticks = interval(VERSION_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None => return,
                Some(event) => {
                    log(&event);
                    match event {
                        Event::Connected => {
                            deaf_for = None;
                            // The event comes before the greeting can be asked for; what is
                            // flushed, after it.
                            let _ = timeout(FLUSH_MAX, client.flush()).await;
                            set(ready, is_fit(client, identity));
                        }
                        Event::ServerError(ServerError::Other(text)) if refuses_subscription(&text) => {
                            deaf_for = Some(deaf(&BusError::NotPermitted(text)));
                            set(ready, false);
                        }
                        Event::Disconnected => set(ready, false),
                        Event::LameDuckMode => leave_for_another_server(client).await,
                        _ => {}
                    }
                }
            },
            _ = ticks.tick() => {
                deaf_for = deaf_for.map(|periods| periods + 1);
                if deaf_for.is_some_and(|periods| periods > DEAF_PERIODS) {
                    return;
                }
                let now = server();
                if now != checked {
                    // What was said before the greeting was in place.
                    if !is_fit(client, identity) {
                        set(ready, false);
                    }
                    checked = now;
                }
            }
        }
    }
}

/// Follows the server's request to leave (NATS ADR-5), where there is anywhere to go.
async fn leave_for_another_server(client: &Client) {
    let others = client.server_pool().await.is_ok_and(|pool| pool.len() > 1);
    if others {
        let _ = client.force_reconnect().await;
    }
}

fn log(event: &Event) {
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
