//! Whether requests are taken on the current connection: it was checked, and no other instance
//! answers for the same log.
//!
//! ```text
//!   unknown ──▶ open for connection n ──▶ unknown (n + 1)
//!      │ ▲              │
//!      ▼ │ 2 s at most  ▼
//!    closed           lost: another instance holds the log; nothing is answered any more
//! ```
//!
//! The client subscribes again by itself when it reconnects, so requests can arrive before the new
//! connection is checked. They are held until it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Statistics};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a request or an answer is held for a connection that is not checked yet.
const HELD_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum State {
    Unknown,
    /// With the client's count of connections.
    Open(Arc<Statistics>, u64),
    Closed,
    Lost,
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open(stats, of) if stats.connects.load(Ordering::Relaxed) == *of)
    }
}

/// Whether requests are taken, shared by all who ask.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<State>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }
}

impl Gate {
    /// Returns whether requests are taken on the current connection.
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_open()
    }

    /// Returns whether another instance was found to hold the log.
    pub fn is_lost(&self) -> bool {
        matches!(*self.0.borrow(), State::Lost)
    }

    /// Opens the gate for the connection that the client had when the check began.
    pub fn open(&self, client: &Client, connection: u64) {
        self.set(State::Open(client.statistics(), connection));
    }

    /// Notes that the connection is not checked yet.
    pub fn forget(&self) {
        self.set(State::Unknown);
    }

    /// Closes the gate: the broker is not one to answer on.
    pub fn close(&self) {
        self.set(State::Closed);
    }

    /// Closes the gate for good: another instance holds the log.
    pub fn lose(&self) {
        self.0.send_replace(State::Lost);
    }

    fn set(&self, to: State) {
        self.0.send_if_modified(|now| {
            let is_kept = !matches!(now, State::Lost);
            if is_kept {
                *now = to;
            }
            is_kept
        });
    }

    /// Waits until the connection is checked, 2 s at most.
    pub async fn looked_at(&self) {
        let mut state = self.0.subscribe();
        let is_known =
            |state: &State| state.is_open() || matches!(state, State::Closed | State::Lost);
        let _ = timeout(HELD_MAX, state.wait_for(is_known)).await;
    }
}

/// Returns the number of a client's connection, to be read before a check begins.
pub fn connection_of(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
