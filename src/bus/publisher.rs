//! The publisher: carries the log into the stream, behind the commits, exactly once and in order.
//!
//! ```text
//!   read the stream's end ─▶ portion after it ─▶ one atomic batch, fenced by that end ─┐
//!        ▲    ▲                    ▲                                                   │
//!        │    └── every minute     └──────────────── acknowledged ─────────────────────┤
//!        └──────────────────────── anything else ──────────────────────────────────────┘
//! ```
//!
//! The position is remembered nowhere else, so a crash of either side cannot make log and stream
//! disagree. Only one batch is under way at a time: a second one could slip in behind another
//! publisher's.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::{NoContext, Timestamp, Uuid};

use super::batch::publish;
use super::stream::{End, blocking, open};
use super::stream_error::StreamError;
use crate::engine::{Engine, Feed};

/// The publisher's first and longest wait after an error; each wait is twice the previous one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(4);
/// How long a start waits for JetStream before it continues without.
const START_MAX: Duration = Duration::from_secs(3);

/// How long the last events may take to be published when the service stops.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How events are published.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// The replicas that the stream is created with; it may have more.
    pub replicas: usize,
    /// How often the stream's settings and end are checked again.
    pub check_every: Duration,
}

impl Default for Publishing {
    fn default() -> Self {
        Self {
            replicas: 1,
            check_every: Duration::from_secs(60),
        }
    }
}

/// The running publisher; empty if nothing is published.
pub struct Running(Option<(watch::Sender<bool>, Task)>);

type Task = JoinHandle<Result<(), StreamError>>;

impl Running {
    /// Checks the stream and starts to publish.
    ///
    /// # Errors
    /// The errors that waiting cannot cure ([`StreamError::refuses_start`]).
    pub async fn start(
        config: Option<Publishing>,
        engine: &Arc<Engine>,
        clients: watch::Receiver<Client>,
    ) -> Result<Self, StreamError> {
        let Some(config) = config else {
            return Ok(Self(None));
        };
        let (stopper, stop) = watch::channel(false);
        let publisher = Publisher {
            feed: engine.feed(),
            engine: Arc::clone(engine),
            clients,
            config,
            stop,
        };
        publisher.feed.publication().turn_on();
        let end = publisher.begin().await?;
        Ok(Self(Some((stopper, tokio::spawn(publisher.run(end))))))
    }

    /// Returns only when the log was found to have lost events.
    pub async fn failed(&mut self) -> StreamError {
        if let Some((_, task)) = &mut self.0 {
            let ended = task.await;
            self.0 = None;
            match ended {
                Ok(Err(error)) => return error,
                Ok(Ok(())) => {}
                Err(error) => tracing::error!("publication has stopped: {error}"),
            }
        }
        std::future::pending().await
    }

    /// Publishes the remaining events, for 2 s at most; the next start publishes the rest.
    pub async fn finish(self) {
        let Some((stop, task)) = self.0 else { return };
        stop.send_replace(true);
        let abort = task.abort_handle();
        if timeout(FINISH_MAX, task).await.is_err() {
            abort.abort();
            tracing::warn!("some events are not published yet; the next start publishes them");
        }
    }
}

/// Carries the log into the stream until it is stopped.
struct Publisher {
    feed: Feed,
    /// Gives the time for the ids of batches.
    engine: Arc<Engine>,
    /// The client in use; a new one when the old one has ended.
    clients: watch::Receiver<Client>,
    config: Publishing,
    /// Becomes true when the publisher should publish the rest and stop.
    stop: watch::Receiver<bool>,
}

impl Publisher {
    /// Checks the stream before the service takes its first request; `None` if JetStream is away.
    ///
    /// # Errors
    /// The errors that waiting cannot cure ([`StreamError::refuses_start`]).
    async fn begin(&self) -> Result<Option<End>, StreamError> {
        let client = self.clients.borrow().clone();
        let opening = open(&client, &self.feed, self.config.replicas);
        let opened = timeout(START_MAX, opening)
            .await
            .unwrap_or_else(|_| Err(StreamError::Away(format!("no answer within {START_MAX:?}"))));
        match opened {
            Ok(end) => Ok(Some(end)),
            Err(error) if error.refuses_start() => Err(error),
            Err(error) => {
                self.halted(&error);
                Ok(None)
            }
        }
    }

    /// Publishes until it is stopped; waits out every other error.
    ///
    /// # Errors
    /// [`StreamError::KnowsMore`]: the log has lost events, and the service must stop.
    async fn run(mut self, mut end: Option<End>) -> Result<(), StreamError> {
        let mut wait = RETRY_FIRST;
        loop {
            let client = self.clients.borrow_and_update().clone();
            let mut moved = false;
            let result = match end.take() {
                Some(end) => self.follow(&client, end, &mut moved).await,
                None => match open(&client, &self.feed, self.config.replicas).await {
                    Ok(end) => self.follow(&client, end, &mut moved).await,
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(true) => return Ok(()),
                Ok(false) => continue,
                Err(error @ StreamError::KnowsMore(_)) => return Err(error),
                Err(error) => self.halted(&error),
            }
            if moved {
                wait = RETRY_FIRST;
            }
            tokio::select! {
                () = sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
                _ = self.clients.changed() => {}
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Publishes after an end. Returns true once it was stopped and nothing is left, and false when
    /// it is time to check the stream again.
    async fn follow(
        &self,
        client: &Client,
        mut end: End,
        moved: &mut bool,
    ) -> Result<bool, StreamError> {
        let (mut stop, mut committed) = (self.stop.clone(), self.feed.committed());
        let check = sleep(self.config.check_every);
        tokio::pin!(check);
        self.reached(&end);
        // Polled on every round, since a timer that is never polled never ends.
        while check.as_mut().now_or_never().is_none() {
            let (feed, from) = (self.feed.clone(), end.position);
            let portion = blocking(move || feed.after(from).map_err(StreamError::Log)).await?;
            if portion.through == end.position {
                tokio::select! {
                    biased;
                    _ = committed.wait_for(|position| *position > end.position) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(true),
                    () = &mut check => {}
                }
                continue;
            }
            if !portion.events.is_empty() {
                end.sequence = publish(client, &end, &self.batch_id(), &portion.events).await?;
            }
            end.position = portion.through;
            *moved = true;
            self.reached(&end);
        }
        Ok(false)
    }

    fn batch_id(&self) -> String {
        let now = self.engine.now();
        Uuid::new_v7(Timestamp::from_unix(NoContext, now.unix_s(), 0))
            .simple()
            .to_string()
    }

    fn reached(&self, end: &End) {
        let publication = self.feed.publication();
        if publication.halted().is_some() {
            tracing::info!(stream = end.stream, "events are published again");
        }
        publication.reached(end.position);
    }

    /// Logs once why nothing is published.
    fn halted(&self, error: &StreamError) {
        let reason = error.to_string();
        let publication = self.feed.publication();
        if publication.halted().as_ref() != Some(&reason) {
            tracing::error!("{reason}");
        }
        publication.halt(reason);
    }
}
