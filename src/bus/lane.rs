//! One lane of queries: a few threads, and a queue before them in which callers take turns.
//!
//! Lanes share no thread, so that a busy lane holds up no other. Within a lane, each caller has a
//! bound on its waiting jobs and a bound on its running jobs.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use countersign_schemas::record::Role;

use crate::fair_queue::FairQueue;

/// The caller that a turn belongs to: role and name. In `dev` identity callers choose both.
pub type Key = (Role, String);

/// The bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The number of threads.
    pub threads: usize,
    /// How many threads one caller may occupy at a time.
    pub running_per_caller: usize,
    /// How many jobs may wait for a thread.
    pub waiting: usize,
    /// How many jobs of one caller may wait.
    pub waiting_per_caller: usize,
}

/// The way into a lane; the threads end once this is dropped and no job waits.
pub struct Lane<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    running_per_caller: usize,
}

struct State<T> {
    waiting: FairQueue<Key, T>,
    /// How many of each caller's jobs run; a caller without one has no entry.
    running: HashMap<Key, usize>,
    is_closed: bool,
}

impl<T: Send + 'static> Lane<T> {
    /// Starts the threads, which hand every job to `handler`.
    ///
    /// # Errors
    /// The error of the operating system if it cannot start a thread.
    pub fn start(
        name: &str,
        bounds: Bounds,
        handler: impl Fn(T) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let lane = Self(Arc::new(Shared::new(bounds)));
        let handler = Arc::new(handler);
        for _ in 0..bounds.threads {
            let (shared, handler) = (Arc::clone(&lane.0), Arc::clone(&handler));
            thread::Builder::new()
                .name(name.into())
                .spawn(move || shared.work(&*handler))?;
        }
        Ok(lane)
    }

    /// Queues a caller's job, and returns the job that it displaced, if any; never waits for a
    /// thread.
    ///
    /// # Errors
    /// The job itself, if too many wait, of all callers or of this one.
    pub fn submit(&self, caller: Key, job: T) -> Result<Option<T>, T> {
        let displaced = self.0.lock().waiting.push(caller, job)?;
        self.0.changed.notify_one();
        Ok(displaced)
    }
}

impl<T> Drop for Lane<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn new(bounds: Bounds) -> Self {
        let state = State {
            waiting: FairQueue::new(bounds.waiting, bounds.waiting_per_caller),
            running: HashMap::new(),
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            running_per_caller: bounds.running_per_caller,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, handler: &dyn Fn(T)) {
        while let Some((caller, job)) = self.next() {
            // A panic costs its own query an answer of `outcome.unknown`, and the lane no thread.
            if catch_unwind(AssertUnwindSafe(|| handler(job))).is_err() {
                tracing::error!("a query panicked");
            }
            self.done(&caller);
        }
    }

    /// Waits for a job that may run; `None` once the lane is closed and empty.
    fn next(&self) -> Option<(Key, T)> {
        let mut state = self.lock();
        loop {
            if let Some(next) = self.begin(&mut state) {
                return Some(next);
            }
            if state.is_closed && state.waiting.is_empty() {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the job whose turn it is, of the callers that may occupy one more thread.
    fn begin(&self, state: &mut State<T>) -> Option<(Key, T)> {
        let State {
            waiting, running, ..
        } = state;
        let may_run = |caller: &Key| {
            let running = running.get(caller).copied().unwrap_or(0);
            running < self.running_per_caller
        };
        let (caller, job) = waiting.pop_ready(|caller, _| may_run(caller))?;
        *running.entry(caller.clone()).or_default() += 1;
        Some((caller, job))
    }

    /// Frees the thread of a caller's job for the next turn.
    fn done(&self, caller: &Key) {
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(caller) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(caller);
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        threads: 2,
        running_per_caller: 1,
        waiting: 8,
        waiting_per_caller: 4,
    };

    fn key(name: &str) -> Key {
        (Role::Audit, name.into())
    }

    /// A lane without threads: the test is the thread.
    fn lane() -> Lane<u32> {
        Lane(Arc::new(Shared::new(BOUNDS)))
    }

    fn begin(lane: &Lane<u32>) -> Option<u32> {
        let mut state = lane.0.lock();
        lane.0.begin(&mut state).map(|(_, job)| job)
    }

    #[test]
    fn a_caller_occupies_no_more_threads_than_its_own() {
        let lane = lane();
        for n in 0..4 {
            lane.submit(key("exporter"), n).unwrap();
        }
        assert_eq!(begin(&lane), Some(0));
        assert_eq!(begin(&lane), None, "the second thread is for another");
        lane.submit(key("colleague"), 10).unwrap();
        assert_eq!(begin(&lane), Some(10));
        lane.0.done(&key("exporter"));
        assert_eq!(begin(&lane), Some(1));
        assert_eq!(begin(&lane), None);
    }

    #[test]
    fn callers_of_one_name_and_several_roles_are_several() {
        let lane = lane();
        lane.submit((Role::Support, "u".into()), 1).unwrap();
        lane.submit((Role::Audit, "u".into()), 2).unwrap();
        assert_eq!((begin(&lane), begin(&lane)), (Some(1), Some(2)));
    }

    #[test]
    fn a_caller_that_floods_has_places_left_for_others() {
        let lane = lane();
        for n in 0..4 {
            assert_eq!(lane.submit(key("flood"), n), Ok(None));
        }
        assert_eq!(lane.submit(key("flood"), 4), Err(4));
        assert_eq!(lane.submit(key("quiet"), 10), Ok(None));
    }

    /// the thread and the caller's place are free again.
    #[test]
    fn a_job_that_panics_takes_no_thread_and_no_turn_with_it() {
        let (done, is_done) = mpsc::channel();
        let bounds = Bounds {
            threads: 1,
            ..BOUNDS
        };
        let lane = Lane::start("lane", bounds, move |n: u32| {
            assert!(n > 0, "planted");
            done.send(n).unwrap();
        })
        .unwrap();
        for n in 0..3 {
            lane.submit(key("a"), n).unwrap();
        }
        assert_eq!((is_done.recv(), is_done.recv()), (Ok(1), Ok(2)));
    }

    #[test]
    fn what_waits_when_a_lane_is_closed_is_done_and_the_threads_end() {
        let (done, is_done) = mpsc::channel();
        let lane = Lane::start("lane", BOUNDS, move |n: u32| done.send(n).unwrap()).unwrap();
        for n in 0..4 {
            lane.submit(key("a"), n).unwrap();
        }
        drop(lane);
        // Ends once both threads have dropped the sender.
        let all: Vec<_> = is_done.iter().collect();
        assert_eq!(all.len(), 4);
    }
}
