//! How far the log is committed and how far the views show it, and waiting for either.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

/// Entries that are worth a round of the views at once; fewer wait for more.
const WORTH_A_ROUND: u64 = 1_024;

/// The rising positions of log and views, the position that a reader waits to see shown, and
/// whether the threads that follow the log must stop.
#[derive(Default)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    signal: watch::Sender<u64>,
    /// Separate, so that a commit wakes no thread that waits only for the end.
    stopped: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    committed: u64,
    shown: u64,
    wanted: u64,
    stopping: bool,
}

impl Progress {
    /// Reports that everything up to a position is durable.
    pub fn commit(&self, position: u64) {
        let mut state = self.state();
        state.committed = state.committed.max(position);
        drop(state);
        self.changed.notify_all();
        self.signal.send_replace(position);
    }

    /// Returns the last durable position as a signal, for tasks that must not block a thread.
    pub fn committed_signal(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    /// Reports that every view shows everything up to a position; lower than before if a view is
    /// rebuilt.
    pub fn show(&self, position: u64) {
        self.state().shown = position;
        self.changed.notify_all();
    }

    /// Returns the last durable position.
    pub fn committed(&self) -> u64 {
        self.state().committed
    }

    /// Waits for `at_most` until a position is durable; returns whether it is.
    pub fn wait_committed(&self, position: u64, at_most: Duration) -> bool {
        self.wait(at_most, |state| state.committed >= position)
            .committed
            >= position
    }

    /// Waits for `at_most` until every view shows a position, and hurries the projector; returns
    /// whether they show it.
    pub fn wait_shown(&self, position: u64, at_most: Duration) -> bool {
        let mut state = self.state();
        state.wanted = state.wanted.max(position);
        drop(state);
        self.changed.notify_all();
        self.wait(at_most, |state| state.shown >= position).shown >= position
    }

    /// Waits, for the projector, up to `idle` for an entry to show, and then up to `linger` for
    /// more entries, unless a reader waits. A round of the views costs much the same for one entry
    /// and for a thousand.
    pub fn wait_for_work(&self, idle: Duration, linger: Duration) {
        let state = self.wait(idle, |state| {
            state.stopping || state.committed > state.shown
        });
        if state.committed > state.shown {
            self.wait(linger, |state| {
                state.stopping
                    || state.wanted > state.shown
                    || state.committed >= state.shown + WORTH_A_ROUND
            });
        }
    }

    /// Makes the threads that follow the log stop, and ends their waiting.
    pub fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
        self.stopped.notify_all();
    }

    /// Waits for `at_most` until the threads that follow the log must stop; returns whether they
    /// must.
    pub fn is_stopping(&self, at_most: Duration) -> bool {
        let waited = self
            .stopped
            .wait_timeout_while(self.state(), at_most, |state| !state.stopping);
        let (state, _) = waited.expect("no holder of this lock panics");
        state.stopping
    }

    fn wait(&self, at_most: Duration, enough: impl Fn(&State) -> bool) -> State {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, at_most, |state| !enough(state))
            .expect("no holder of this lock panics");
        *state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_reached_is_not_waited_for() {
        let progress = Progress::default();
        progress.commit(7);
        progress.commit(3);
        progress.show(5);
        assert!(progress.wait_committed(7, LONG));
        assert!(progress.wait_shown(5, LONG));
        assert!(!progress.wait_shown(6, Duration::ZERO));
        assert_eq!(progress.committed(), 7);
    }

    #[test]
    fn a_waiting_reader_ends_the_lingering() {
        let progress = Progress::default();
        progress.commit(1);
        std::thread::scope(|threads| {
            let projector = threads.spawn(|| {
                progress.wait_for_work(LONG, LONG);
                progress.show(1);
            });
            assert!(progress.wait_shown(1, LONG));
            assert!(projector.join().is_ok());
        });
    }

    #[test]
    fn a_stop_ends_the_waiting_and_the_lingering() {
        let progress = Progress::default();
        std::thread::scope(|threads| {
            let projector = threads.spawn(|| {
                progress.wait_for_work(LONG, LONG);
                progress.commit(1);
                progress.wait_for_work(LONG, LONG);
            });
            let indexer = threads.spawn(|| progress.is_stopping(LONG));
            progress.stop();
            assert!(projector.join().is_ok());
            assert!(indexer.join().unwrap());
        });
    }

    #[test]
    fn a_thousand_entries_end_it_too() {
        let progress = Progress::default();
        progress.commit(WORTH_A_ROUND);
        progress.wait_for_work(LONG, LONG);
    }
}
