//! Whether the service may answer on a connection, asked at the start, after each connection and
//! again while it runs: what was right at the start can become wrong.

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

const FOLLOWER: &str = "another instance of this log begins too, and gives way to this one";
const SILENCE: &str = "another instance of this log is on this broker, or something of its name, and says nothing: stop it, or, where its machine is gone, wait until the broker has noticed; the service's user must be allowed to publish to countersign.v1.instance.>";

/// What must hold of a connection.
pub struct Admission {
    identity: Identity,
    presence: Arc<Presence>,
    gate: Gate,
    // BUG: reload-told-late: who is connected is told nothing, and each look is a connection more.
    /// What a fresh greeting of the broker said last: a reload changes what it demands of clients
    /// and carries, and tells those that are connected nothing of it.
    fresh: watch::Receiver<Option<Result<(), String>>>,
    /// Whether the last look met silence.
    silent: AtomicBool,
    /// Why nothing was answered at the last look.
    said: watch::Sender<Option<String>>,
}

impl Admission {
    /// Begins to look at fresh greetings every so often, as long as the handle is not aborted.
    pub fn start(
        connection: &Connection,
        identity: Identity,
        presence: Arc<Presence>,
        gate: Gate,
        every: Duration,
    ) -> (Self, AbortHandle) {
        let (told, fresh) = watch::channel(None);
        let looking = watch_greetings(connection.clone(), identity.clone(), every, told);
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

    /// Looks at the connection that the client has, and opens the gate where requests may be taken.
    ///
    /// # Errors
    /// The other instance that this one gives way to, for good.
    pub async fn admit(&self, client: &Client) -> Result<bool, Word> {
        let connection = connection_of(client);
        let fitness = self.fitness(client).await;
        let met = match fitness {
            Err(why) => return Ok(self.closed(why)),
            Ok(()) => self.presence.look(client).await,
        };
        let is_silent = matches!(met, Met::Silence);
        let was_heard = !self.silent.swap(is_silent, Ordering::Relaxed);
        // Who holds the log goes on: a stopped copy must not stop it.
        let is_open = self.gate.is_open();
        match met {
            Met::Holder(other) => return Err(other),
            Met::Nobody => {
                self.gate.open(client, connection);
                self.say(None);
                return Ok(self.gate.is_open());
            }
            Met::Follower if !is_open => _ = self.closed(FOLLOWER.into()),
            // One silence can be a broker that has much to deliver first: what arrives is held.
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

    /// Says once why nothing is answered.
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
            // The broker was put right behind this connection's back: only a new one is greeted
            // again.
            _ = client.force_reconnect().await;
        }
        own.and(fresh.unwrap_or(Ok(())))
    }
}

/// Asks the broker for a greeting every so often, as a client that connects anew gets it. A broker
/// that is away says nothing new.
async fn watch_greetings(
    connection: Connection,
    identity: Identity,
    every: Duration,
    told: watch::Sender<Option<Result<(), String>>>,
) {
    loop {
        sleep(every).await;
        let fitness = match connection.connect(None).await {
            Ok(client) => greeting::check(&client.server_info(), &identity),
            Err(error @ ConnectionError::TooOld { .. }) => Err(error),
            Err(_) => continue,
        };
        told.send_replace(Some(fitness.map_err(|error| error.to_string())));
    }
}
