//! The bounded pool for slow steps: two threads that hash.
//!
//! One Argon2id takes 19 MiB and about 50 ms, so the pool's width bounds memory and leaves the
//! writer a core. Senders take turns. A job that finds no room is refused at once, before anything
//! is compared, and it is taken from the sender with the most waiting jobs. A sender is a caller
//! and the address that it reports, since all owners of a platform come through one caller.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::crypto::stack;
use crate::engine::counts::source::Source;
use crate::engine::message::Submission;
use crate::fair_queue::FairQueue;

/// Threads that hash.
pub const WIDTH: usize = 2;
// BUG: many-addresses-shed-one: 64 addresses with one hash each turn the next one away.
/// Jobs that may wait.
pub const WAITING_MAX: usize = 64;

/// The sender of a command: a caller, and the source that it reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    caller: String,
    source: Source,
}

impl Sender {
    /// Returns the sender of a command.
    pub fn of(submission: &Submission) -> Self {
        Self {
            caller: submission.request.caller.name.clone(),
            source: submission.request.source().clone(),
        }
    }
}

/// The pool; `T` is a job, which the handler given at the start executes.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: FairQueue<Sender, T>,
    /// Later steps of commands that had their turn. They go first, and only two threads create
    /// them, so they need no bound of their own.
    going_on: VecDeque<T>,
    stopping: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the threads, which pass every job to `handler`.
    pub fn start(handler: impl Fn(T) + Send + Sync + 'static) -> Self {
        let state = State {
            waiting: FairQueue::new(WAITING_MAX, WAITING_MAX),
            going_on: VecDeque::new(),
            stopping: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let handler = Arc::new(handler);
        let threads = (0..WIDTH)
            .map(|n| {
                let (shared, handler) = (Arc::clone(&shared), Arc::clone(&handler));
                std::thread::Builder::new()
                    .name(format!("proofs-{n}"))
                    .spawn(move || shared.work(&*handler))
                    .expect("a thread can be started while the service starts")
            })
            .collect();
        Self {
            shared,
            threads: Mutex::new(threads),
        }
    }

    /// Queues the first job of a command. If it takes another job's place, that job is returned:
    /// the newest of the sender with the most waiting jobs, if this sender has fewer.
    ///
    /// # Errors
    /// The job itself, if too many wait or the pool is stopping.
    pub fn submit(&self, sender: Sender, job: T) -> Result<Option<T>, T> {
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(job);
        }
        let displaced = state.waiting.push(sender, job)?;
        drop(state);
        self.shared.changed.notify_one();
        Ok(displaced)
    }

    /// Queues a later job of a command that had its turn; it is never refused.
    pub fn go_on(&self, job: T) {
        self.shared.lock().going_on.push_back(job);
        self.shared.changed.notify_one();
    }

    /// Returns how many jobs wait.
    pub fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.waiting.len() + state.going_on.len()
    }

    /// Accepts no more commands and returns the waiting first jobs; later jobs are still executed.
    pub fn close(&self) -> Vec<T> {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.waiting.drain()
    }

    /// Ends the threads once they have executed the waiting jobs.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        for thread in
            std::mem::take(&mut *self.threads.lock().expect("no holder of this lock panics"))
        {
            if thread.join().is_err() {
                tracing::error!("a hashing thread had panicked");
            }
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state
            .lock()
            .expect("no job runs while the lock is held")
    }

    fn work(&self, handler: &dyn Fn(T)) {
        while let Some(job) = self.next() {
            // A job that panics loses its own command only.
            if catch_unwind(AssertUnwindSafe(|| stack::wiped(|| handler(job)))).is_err() {
                tracing::error!("a step panicked; its command was dropped");
            }
        }
    }

    /// Returns the next job; `None` once the pool is stopped and empty.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            let next = state.going_on.pop_front();
            if let Some(job) = next.or_else(|| state.waiting.pop().map(|(_, job)| job)) {
                return Some(job);
            }
            if state.stopping {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .expect("no job runs while the lock is held");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use countersign_schemas::context::{Context, SourceIp};

    use super::*;

    type Job = Box<dyn FnOnce() + Send>;

    fn sender(caller: &str, ip: &str) -> Sender {
        let context = Context {
            ip: SourceIp::of(ip),
            agent: None,
        };
        Sender {
            caller: caller.into(),
            source: Source::of(Some(&context), caller),
        }
    }

    /// A pool whose two threads are at work until the sender is dropped.
    fn busy_pool() -> (Pool<Job>, mpsc::Sender<()>) {
        let pool = Pool::start(|job: Job| job());
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (started, has_started) = mpsc::channel();
        for _ in 0..WIDTH {
            let (started, released) = (started.clone(), Arc::clone(&released));
            pool.go_on(Box::new(move || {
                started.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
            }));
            has_started.recv().unwrap();
        }
        (pool, release)
    }

    fn note(order: &mpsc::Sender<&'static str>, what: &'static str) -> Job {
        let order = order.clone();
        Box::new(move || order.send(what).unwrap())
    }

    /// the thread is free for its next job.
    #[test]
    fn a_job_that_panics_takes_no_other_with_it() {
        let pool = Pool::start(|job: Job| job());
        for _ in 0..2 * WIDTH {
            pool.go_on(Box::new(|| panic!("planted")));
        }
        let (done, is_done) = mpsc::channel();
        pool.go_on(note(&done, "done"));
        assert_eq!(is_done.recv(), Ok("done"));
        pool.stop();
    }

    #[test]
    fn one_address_that_floods_has_every_second_turn_only() {
        let (pool, release) = busy_pool();
        let (order, done) = mpsc::channel();
        for _ in 0..4 {
            assert!(
                pool.submit(sender("portal", "192.0.2.1"), note(&order, "flood"))
                    .is_ok()
            );
        }
        assert!(
            pool.submit(sender("portal", "192.0.2.2"), note(&order, "owner"))
                .is_ok()
        );
        drop((release, order));
        pool.stop();
        let done: Vec<_> = done.iter().collect();
        let owner = done.iter().position(|who| *who == "owner").unwrap();
        assert!(owner <= WIDTH, "{done:?}");
    }

    #[test]
    fn a_later_step_goes_first_and_is_never_turned_away() {
        let (pool, release) = busy_pool();
        let (order, done) = mpsc::channel();
        let first = |n: u8| {
            pool.submit(
                sender("portal", &format!("192.0.2.{n}")),
                note(&order, "new"),
            )
        };
        let shed = (0..=WAITING_MAX as u8)
            .filter(|n| !matches!(first(*n), Ok(None)))
            .count();
        assert_eq!(shed, 1);
        pool.go_on(note(&order, "later"));
        drop((release, order));
        pool.stop();
        let done: Vec<_> = done.iter().collect();
        assert_eq!(done.len(), WAITING_MAX + 1);
        assert!(done[..WIDTH].contains(&"later"), "{done:?}");
    }

    #[test]
    fn what_has_not_begun_is_given_back_and_what_goes_on_is_done() {
        let (pool, release) = busy_pool();
        let (order, done) = mpsc::channel();
        assert!(
            pool.submit(sender("portal", "192.0.2.1"), note(&order, "new"))
                .is_ok()
        );
        pool.go_on(note(&order, "later"));
        assert_eq!(pool.close().len(), 1);
        assert!(
            pool.submit(sender("portal", "192.0.2.1"), note(&order, "new"))
                .is_err()
        );
        drop((release, order));
        pool.stop();
        assert_eq!(done.iter().collect::<Vec<_>>(), ["later"]);
    }

    /// S-09: only the sender that floods is `overloaded`, whichever comes first.
    #[test]
    fn s09_a_sender_that_floods_loses_its_own_places_and_takes_no_other_ones() {
        let (pool, release) = busy_pool();
        let submit = |caller, ip| {
            let taken = pool.submit(sender(caller, ip), Box::new(|| {}));
            taken.map(|displaced| displaced.is_some())
        };
        for _ in 0..WAITING_MAX {
            assert!(matches!(submit("portal", "192.0.2.1"), Ok(false)));
        }
        assert!(submit("portal", "192.0.2.1").is_err());
        for _ in 0..WAITING_MAX / 2 {
            assert!(matches!(submit("portal", "192.0.2.2"), Ok(true)));
        }
        assert!(submit("portal", "192.0.2.2").is_err(), "both have half");
        assert!(
            matches!(submit("shop", "192.0.2.1"), Ok(true)),
            "another caller"
        );
        assert_eq!(pool.waiting(), WAITING_MAX);
        drop(release);
        pool.stop();
    }
}
