//! What the service learns about broker and bus while it runs: whether it may answer, and why not.

use std::sync::Arc;

use async_nats::{Client, Event, ServerError};
use countersign_schemas::time::Micros;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use uuid::{NoContext, Timestamp, Uuid};

use super::admission::Admission;
use super::gate::Gate;
use super::presence::{Presence, Word};
use super::service::{
    BusConfig, BusError, DEAF_PERIODS, FLUSH_MAX, VERSION_PERIOD, deaf, leave_for_another_server,
    log, refused_subject, refuses_subject, set,
};
use crate::engine::{Engine, system_random};

/// The state of this instance on the bus.
pub struct Found {
    /// Whether requests are taken.
    pub gate: Gate,
    /// This instance as other instances of the same log find it.
    pub presence: Arc<Presence>,
    /// The id of this instance.
    pub instance: String,
    /// When this instance began.
    pub since: Micros,
    admission: Admission,
    greetings: AbortHandle,
}

impl Drop for Found {
    fn drop(&mut self) {
        self.greetings.abort();
    }
}

impl Found {
    /// Makes an instance that answers nothing yet.
    pub fn start(engine: &Engine, config: &BusConfig) -> Self {
        let since = engine.now();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, since.unix_s(), 0));
        let (gate, instance) = (Gate::default(), id.simple().to_string());
        let log = engine.first_log_id();
        let presence = Arc::new(Presence::new(
            &log,
            since,
            instance.clone(),
            gate.clone(),
            engine.presence_key(),
            system_random,
        ));
        let (admission, greetings) = Admission::start(
            &config.connection,
            config.identity.clone(),
            Arc::clone(&presence),
            gate.clone(),
            config.greeting_every,
        );
        Self {
            gate,
            presence,
            instance,
            since,
            admission,
            greetings,
        }
    }

    /// Waits until no other instance of the log is on the bus.
    ///
    /// # Errors
    /// [`BusError::Another`] if one answers, [`BusError::NotPermitted`] if the broker
    /// refuses a subject that the service needs.
    pub async fn until_alone(
        &self,
        client: &Client,
        events: &mut mpsc::Receiver<Event>,
    ) -> Result<(), BusError> {
        while !self
            .admission
            .admit(client)
            .await
            .map_err(BusError::Another)?
        {
            refused_subject(events, self.presence.subject())?;
            sleep(VERSION_PERIOD).await;
        }
        Ok(())
    }

    /// Follows the connection's events, the server's greeting and the other instances. It ends with
    /// the events, and some time after the broker refused a subscription, which only a new
    /// connection can ask for again.
    ///
    /// # Errors
    /// The other instance that this one gives way to.
    pub async fn watch(
        &self,
        client: &Client,
        events: &mut mpsc::Receiver<Event>,
        ready: &watch::Sender<bool>,
        mut deaf_for: Option<u32>,
    ) -> Result<(), Word> {
        let mut ticks = interval(VERSION_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    None => return Ok(()),
                    Some(event) => {
                        log(&event);
                        match event {
                            Event::Connected => {
                                deaf_for = None;
                                // The event arrives before the greeting can be asked for; after a
                                // flush it can.
                                let _ = timeout(FLUSH_MAX, client.flush()).await;
                                set(ready, self.admission.admit(client).await?);
                            }
                            Event::ServerError(ServerError::Other(text)) if refuses_subject(&text, self.presence.subject()) => {
                                deaf_for = Some(deaf(&BusError::NotPermitted(text)));
                                set(ready, false);
                            }
                            Event::Disconnected => set(ready, false),
                            Event::LameDuckMode => leave_for_another_server(client).await,
                            _ => {}
                        }
                    }
                },
                // The first tick comes at once.
                _ = ticks.tick() => {
                    deaf_for = deaf_for.map(|periods| periods + 1);
                    if deaf_for.is_some_and(|periods| periods > DEAF_PERIODS) {
                        return Ok(());
                    }
                    let is_admitted = self.admission.admit(client).await?;
                    set(ready, is_admitted && deaf_for.is_none());
                }
            }
        }
    }
}
