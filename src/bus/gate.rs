//! Whether requests are taken on the connection of this moment: it was found to be one that the
//! service may be ready on, and nobody else answers for the same log.
//!
//! ```text
//!   unknown ──▶ open for connection n ──▶ unknown (n + 1)
//!      │ ▲              │
//!      ▼ │ 2 s at most  ▼
//!    closed           lost: another instance holds the log; nothing is answered any more
//! ```
//!
//! The client subscribes again by itself when it connects again, so requests can arrive before
//! anybody has looked at the new connection. They are held until somebody has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Statistics};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a request or an answer is held for a connection that nobody has looked at yet.
const HELD_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum State {
    Unknown,
    /// By the client's counter of connections.
    Open(Arc<Statistics>, u64),
    Closed,
    Lost,
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open(stats, of) if stats.connects.load(Ordering::Relaxed) == *of)
    }
}

/// Whether requests are taken, for all who ask.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<State>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }
}

impl Gate {
    /// Whether requests are taken on the connection of this moment.
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_open()
    }

    /// Whether another instance was found to hold the log.
    pub fn is_lost(&self) -> bool {
        matches!(*self.0.borrow(), State::Lost)
    }

    /// Opens for the connection that a client had when the look at it began.
    pub fn open(&self, client: &Client, connection: u64) {
        self.set(State::Open(client.statistics(), connection));
    }

    /// Says that nobody has looked at the connection yet.
    pub fn forget(&self) {
        self.set(State::Unknown);
    }

    /// Says that the broker is not one to answer on.
    pub fn close(&self) {
        self.set(State::Closed);
    }

    /// Says, for good, that another instance holds the log.
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

    /// Waits until somebody has looked at the connection, for a bounded time.
    pub async fn looked_at(&self) {
        let mut state = self.0.subscribe();
        let is_known =
            |state: &State| state.is_open() || matches!(state, State::Closed | State::Lost);
        let _ = timeout(HELD_MAX, state.wait_for(is_known)).await;
    }
}

/// The number of a client's connection, to look at before a look at it begins.
pub fn connection_of(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
