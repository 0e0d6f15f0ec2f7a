//! A gate in the clock that threads read: it holds them until the test opens it.

use std::sync::{Arc, Condvar, Mutex};

use countersign::engine::{Clock, wall_clock};

use crate::service::PATIENCE;

/// Holds threads of one name while it is closed.
#[derive(Default)]
pub struct Gate {
    /// Whether it is open, and how many threads it holds.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    /// A clock that holds the threads of this name when they read it.
    pub fn clock(self: &Arc<Self>, thread: &'static str) -> Clock {
        let gate = Arc::clone(self);
        Arc::new(move || {
            if std::thread::current().name() == Some(thread) {
                gate.pass();
            }
            wall_clock()
        })
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        let mut state = self.changed.wait_while(state, |(open, _)| !*open).unwrap();
        state.1 -= 1;
    }

    /// Releases the threads that it holds, and lets others pass.
    pub fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    /// Holds every thread that comes from now on.
    pub fn close(&self) {
        self.state.lock().unwrap().0 = false;
    }

    /// Waits until it holds this many.
    pub async fn holds(&self, threads: usize) {
        let held = async {
            while self.state.lock().unwrap().1 < threads {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, held).await.unwrap();
    }
}
