//! Whether the service may answer on a connection. This is checked at the start, after each
//! connection and again while the service runs, since a broker can be reconfigured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::connection::{Connection, check_version};
use super::connection_error::ConnectionError;
use super::gate::{Gate, connection_of};
use super::greeting;
use super::identity::Identity;
use super::presence::{Met, Presence, Word};

const FOLLOWER: &str = "another instance of this log is starting too and gives way to this one";
const SILENCE: &str = "another subscriber to this log's instance subject is on this broker and does not answer: stop that instance or, if its machine is gone, wait until the broker notices; the service's user must be allowed to publish to countersign.v1.instance.>";

/// The checks that a connection must pass.
pub struct Admission {
    identity: Identity,
    presence: Arc<Presence>,
    gate: Gate,
    // BUG: reload-seen-late: connected clients are not notified, and each check takes one more
    // connection.
    /// The result of checking the last fresh greeting. A reload changes what the broker demands of
    /// clients and how large a message it carries, without notifying connected clients.
    fresh: watch::Receiver<Option<Result<(), String>>>,
    /// Whether the last check for another instance met silence.
    silent: AtomicBool,
    /// Why nothing was answered at the last check.
    said: watch::Sender<Option<String>>,
}

impl Admission {
    /// Starts to check fresh greetings at this interval, until the handle is aborted.
    pub fn start(
        connection: &Connection,
        identity: Identity,
        presence: Arc<Presence>,
        gate: Gate,
        every: Duration,
    ) -> (Self, AbortHandle) {
        let (results, fresh) = watch::channel(None);
        let looking = watch_greetings(connection.clone(), identity.clone(), every, results);
        let looking = tokio::spawn(looking).abort_handle();
        let admission = Self {
            identity,
            presence,
            gate,
            fresh,
            silent: AtomicBool::new(false),
            said: watch::Sender::new(None),
        };
        (admission, looking)
    }

    /// Checks the client's connection, and opens the gate if requests may be taken.
    ///
    /// # Errors
    /// The other instance that this one gives way to for good, because it holds the log.
    pub async fn admit(&self, client: &Client) -> Result<bool, Word> {
        let connection = connection_of(client);
        let fitness = self.fitness(client).await;
        let met = match fitness {
            Err(why) => return Ok(self.closed(why)),
            Ok(()) => self.presence.look(client).await,
        };
        let is_silent = matches!(met, Met::Silence);
        let was_heard = !self.silent.swap(is_silent, Ordering::Relaxed);
        // The instance that holds the log goes on: a stopped copy must not stop it.
        let is_open = self.gate.is_open();
        match met {
            Met::Holder(other) => return Err(other),
            Met::Alone => {
                self.gate.open(client, connection);
                self.say(None);
                return Ok(self.gate.is_open());
            }
            Met::Follower if !is_open => _ = self.closed(FOLLOWER.into()),
            // One silence can be a broker that has much to deliver first, so arriving requests are
            // held.
            Met::Silence if !is_open && was_heard => self.gate.forget(),
            Met::Silence if !is_open => _ = self.closed(SILENCE.into()),
            Met::Follower | Met::Silence => {}
        }
        Ok(is_open)
    }

    fn closed(&self, why: String) -> bool {
        self.gate.close();
        self.say(Some(why));
        false
    }

    /// Logs once why nothing is answered.
    fn say(&self, why: Option<String>) {
        self.said.send_if_modified(|said| {
            let is_new = *said != why;
            if let Some(why) = why.as_ref().filter(|_| is_new) {
                tracing::error!("not ready: {why}");
            }
            *said = why;
            is_new
        });
    }

    async fn fitness(&self, client: &Client) -> Result<(), String> {
        let info = client.server_info();
        let own = check_version(&info.version)
            .and_then(|()| greeting::check(&info, &self.identity))
            .map_err(|error| error.to_string());
        let fresh = self.fresh.borrow().clone();
        if own.is_err() && fresh == Some(Ok(())) {
            // The broker was corrected after this connection was made: only a new connection gets a
            // new greeting.
            _ = client.force_reconnect().await;
        }
        own.and(fresh.unwrap_or(Ok(())))
    }
}

/// Asks the broker for a greeting at this interval, as a newly connecting client gets it. A broker
/// that is away changes nothing.
async fn watch_greetings(
    connection: Connection,
    identity: Identity,
    every: Duration,
    results: watch::Sender<Option<Result<(), String>>>,
) {
    loop {
        sleep(every).await;
        let fitness = match connection.connect(None).await {
            Ok(client) => greeting::check(&client.server_info(), &identity),
            Err(error @ ConnectionError::TooOld { .. }) => Err(error),
            Err(_) => continue,
        };
        results.send_replace(Some(fitness.map_err(|error| error.to_string())));
    }
}
