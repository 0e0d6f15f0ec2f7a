//! The bounded pool for slow proofs: two threads, one job per account at a time.
//!
//! One Argon2id takes 19 MiB and about 50 ms, so the pool's width bounds memory and leaves the
//! writer a core. What does not fit is shed at once, before anything was counted: of the caller
//! that has the most waiting, so that one that floods takes no other's place.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_schemas::ids::StreamKey;

/// Threads that hash.
pub const WIDTH: usize = 2;
/// Jobs that may wait.
pub const WAITING_MAX: usize = 64;
/// Jobs of one account that may wait.
pub const WAITING_PER_ACCOUNT_MAX: usize = 4;

/// The pool; `T` is a job, which the handler given at start does.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    account: StreamKey,
    caller: String,
    job: T,
}

struct State<T> {
    waiting: VecDeque<Waiting<T>>,
    waiting_of: HashMap<StreamKey, usize>,
    busy: HashSet<StreamKey>,
    stopping: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the threads, which hand every job to `handler`.
    pub fn start(handler: impl Fn(T) + Send + Sync + 'static) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            waiting_of: HashMap::new(),
            busy: HashSet::new(),
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

    /// Hands a job of an account over, and gives back the one that it took the place of, if any:
    /// the newest of the caller that has the most waiting, where this caller has fewer.
    ///
    /// # Errors
    /// The job itself, when too many wait, in all or of this account, or the pool is stopping.
    pub fn submit(&self, account: StreamKey, caller: &str, job: T) -> Result<Option<T>, T> {
        let mut state = self.shared.lock();
        let own = state.waiting_of.get(&account).copied().unwrap_or(0);
        if state.stopping || own >= WAITING_PER_ACCOUNT_MAX {
            return Err(job);
        }
        let displaced = match state.waiting.len() < WAITING_MAX {
            true => None,
            false => match state.displaced_by(caller) {
                Some(displaced) => Some(displaced),
                None => return Err(job),
            },
        };
        *state.waiting_of.entry(account).or_default() += 1;
        state.waiting.push_back(Waiting {
            account,
            caller: caller.to_owned(),
            job,
        });
        drop(state);
        self.shared.changed.notify_one();
        Ok(displaced)
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Ends the threads once they have done what waits, and gives back what they could not begin
    /// in time.
    pub fn stop(&self, within: Duration) -> Vec<T> {
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.changed.notify_all();
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, within, |state| !state.waiting.is_empty())
            .expect("no job runs while the lock is held");
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        self.shared.changed.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock().expect("nobody panics holding it")) {
            if thread.join().is_err() {
                tracing::error!("a proof thread had panicked");
            }
        }
        left.into_iter().map(|waiting| waiting.job).collect()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state
            .lock()
            .expect("no job runs while the lock is held")
    }

    fn work(&self, handler: &dyn Fn(T)) {
        while let Some((account, job)) = self.next() {
            // A job that panics loses its own command only.
            if catch_unwind(AssertUnwindSafe(|| handler(job))).is_err() {
                tracing::error!("a proof panicked; its command was dropped");
            }
            self.lock().busy.remove(&account);
            self.changed.notify_all();
        }
    }

    /// The first waiting job whose account has none running; none once stopped and empty.
    fn next(&self) -> Option<(StreamKey, T)> {
        let mut state = self.lock();
        loop {
            let ready = state
                .waiting
                .iter()
                .position(|waiting| !state.busy.contains(&waiting.account));
            if let Some(next) = ready.and_then(|at| state.waiting.remove(at)) {
                state.busy.insert(next.account);
                state.no_longer_waits(next.account);
                return Some((next.account, next.job));
            }
            if state.stopping && state.waiting.is_empty() {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .expect("no job runs while the lock is held");
        }
    }
}

impl<T> State<T> {
    /// Takes out the newest job of the caller that has the most waiting, unless this one would
    /// then have as many.
    fn displaced_by(&mut self, caller: &str) -> Option<T> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for waiting in &self.waiting {
            *counts.entry(waiting.caller.as_str()).or_default() += 1;
        }
        let own = counts.get(caller).copied().unwrap_or(0);
        let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        if own + 1 >= count {
            return None;
        }
        let newest = self.waiting.iter().rposition(|w| w.caller == most)?;
        let displaced = self.waiting.remove(newest)?;
        self.no_longer_waits(displaced.account);
        Some(displaced.job)
    }

    fn no_longer_waits(&mut self, account: StreamKey) {
        if let Some(count) = self.waiting_of.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.waiting_of.remove(&account);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const CALLER: &str = "portal";

    type Job = Box<dyn FnOnce() + Send>;

    fn pool() -> Pool<Job> {
        Pool::start(|job: Job| job())
    }

    #[test]
    fn one_account_has_one_job_running_and_four_waiting() {
        let pool = pool();
        let account = StreamKey([1; 16]);
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = Box::new(move || {
            started.send(()).unwrap();
            released.recv().unwrap();
        });
        assert!(pool.submit(account, CALLER, first).is_ok());
        has_started.recv().unwrap();
        let (done, all_done) = mpsc::channel();
        for n in 0..WAITING_PER_ACCOUNT_MAX {
            let done = done.clone();
            assert!(
                pool.submit(account, CALLER, Box::new(move || done.send(n).unwrap()))
                    .is_ok()
            );
        }
        assert!(
            pool.submit(account, CALLER, Box::new(|| {})).is_err(),
            "a fifth is shed"
        );
        let (other_done, other) = mpsc::channel();
        let another = StreamKey([2; 16]);
        assert!(
            pool.submit(
                another,
                CALLER,
                Box::new(move || other_done.send(()).unwrap())
            )
            .is_ok()
        );
        other.recv().unwrap();
        assert!(
            all_done.try_recv().is_err(),
            "the account's own jobs wait for its first"
        );
        release.send(()).unwrap();
        let order: Vec<_> = all_done.iter().take(WAITING_PER_ACCOUNT_MAX).collect();
        assert_eq!(order, [0, 1, 2, 3]);
        assert!(pool.stop(Duration::from_secs(60)).is_empty());
    }

    /// the account is free for its next job.
    #[test]
    fn a_job_that_panics_takes_no_other_with_it() {
        let pool = pool();
        let (done, is_done) = mpsc::channel();
        assert!(
            pool.submit(StreamKey([1; 16]), CALLER, Box::new(|| panic!("planted")))
                .is_ok()
        );
        assert!(
            pool.submit(
                StreamKey([1; 16]),
                CALLER,
                Box::new(move || done.send(()).unwrap())
            )
            .is_ok()
        );
        is_done.recv().unwrap();
        pool.stop(Duration::from_secs(60));
    }

    #[test]
    fn what_cannot_begin_in_time_is_given_back() {
        let pool = pool();
        let account = StreamKey([1; 16]);
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = Box::new(move || {
            started.send(()).unwrap();
            released.recv().unwrap();
        });
        assert!(pool.submit(account, CALLER, first).is_ok());
        has_started.recv().unwrap();
        assert!(pool.submit(account, CALLER, Box::new(|| {})).is_ok());
        std::thread::scope(|threads| {
            let stopping = threads.spawn(|| pool.stop(Duration::ZERO).len());
            while !pool.shared.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            release.send(()).unwrap();
            assert_eq!(stopping.join().unwrap(), 1);
        });
    }

    /// S-09: only the caller that floods is told `overloaded`, whoever comes when.
    #[test]
    fn s09_a_caller_that_floods_loses_its_own_places_and_takes_nobody_elses() {
        let pool: Pool<usize> = Pool::start(|_| {});
        let mut state = pool.shared.lock();
        // Accounts at work keep their jobs waiting, so the threads take none of them.
        let account = |n: usize| StreamKey([n as u8; 16]);
        state.busy.extend((0..WAITING_MAX * 2).map(account));
        drop(state);
        let submit = |n: usize, caller| pool.submit(account(n), caller, n);
        for n in 0..WAITING_MAX {
            assert_eq!(submit(n, "flood"), Ok(None));
        }
        assert_eq!(submit(WAITING_MAX, "flood"), Err(WAITING_MAX));
        for n in 0..WAITING_MAX / 2 {
            let displaced = WAITING_MAX - 1 - n;
            assert_eq!(submit(WAITING_MAX + n, "quiet"), Ok(Some(displaced)), "{n}");
        }
        let n = WAITING_MAX + WAITING_MAX / 2;
        assert_eq!(submit(n, "quiet"), Err(n), "both have half");
        assert_eq!(submit(n, "flood"), Err(n));
        let newest = [WAITING_MAX / 2 - 1, n - 1];
        let displaced = submit(n, "third").unwrap().unwrap();
        assert!(newest.contains(&displaced), "of either: {displaced}");
        assert_eq!(pool.stop(Duration::ZERO).len(), WAITING_MAX);
    }
}
