//! The keeper of the keys: one thread that rewrites `keys.redb` after erasures, at most once a
//! minute, and only then lets their replies leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_schemas::command::Command;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;

use super::{Outcome, ReplyTo, Shared, spawn};

/// Replies that may wait for a rewriting; one more is told `outcome.unknown`, and its repetition
/// waits again.
pub const WAITING_MAX: usize = 4_096;
/// Between two rewritings: each costs a copy of the whole store.
const REWRITE_EVERY_S: u64 = 60;
/// How long after a failure it tries again.
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// How often it looks at the clock while somebody waits.
const TICK: Duration = Duration::from_millis(50);

type Waiting = (ReplyTo, Outcome);

/// The thread and the way to it.
pub struct Keeper {
    waiting: SyncSender<Option<Waiting>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>) -> Self {
        let (waiting, inbox) = sync_channel(WAITING_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let thread = spawn("keeper", move || run(&shared, &inbox, &is_stopping));
        Self {
            waiting,
            thread: Mutex::new(Some(thread)),
            stopping,
        }
    }

    /// Holds an erasure's success back until the keys are destroyed; other replies leave at once.
    pub fn hold_back(&self, command: &Command, reply: ReplyTo) -> ReplyTo {
        let Command::EraseAccount(_) = command else {
            return reply;
        };
        let waiting = self.waiting.clone();
        Box::new(move |outcome| {
            if outcome.result.is_err() {
                return reply(outcome);
            }
            let full = match waiting.try_send(Some((reply, outcome))) {
                Ok(()) => return,
                Err(TrySendError::Full(full) | TrySendError::Disconnected(full)) => full,
            };
            if let Some((reply, _)) = full {
                reply(Outcome::refused(ErrorCode::OutcomeUnknown));
            }
        })
    }

    /// Destroys what is to be destroyed without waiting for the minute, answers everybody, and
    /// ends the thread; the writer must have ended before.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Where the queue is full the thread is awake and sees that it is to stop.
        let _ = self.waiting.try_send(None);
        let thread = self.thread.lock().expect("nobody panics holding it").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the keeper of the keys had panicked");
        }
    }
}

fn run(shared: &Shared, inbox: &Receiver<Option<Waiting>>, stopping: &AtomicBool) {
    let mut rewritten_at: Option<Micros> = None;
    loop {
        // What failed is tried again even if nobody asks.
        let first = inbox.recv_timeout(RETRY_EVERY).ok().flatten();
        while shared.vault.has_condemned() && !stopping.load(Ordering::Acquire) {
            let now = (shared.monotonic)();
            if rewritten_at.is_none_or(|at| at.plus_s(REWRITE_EVERY_S) <= now) {
                break;
            }
            std::thread::sleep(TICK);
        }
        // Read before the queue is emptied: a reply is in it before the thread is told to stop.
        let is_last = stopping.load(Ordering::Acquire);
        // Whoever waits by now has had its keys condemned before.
        let waiting: Vec<_> = first
            .into_iter()
            .chain(inbox.try_iter().flatten())
            .collect();
        let is_done = if shared.vault.has_condemned() {
            rewritten_at = Some((shared.monotonic)());
            rewrite(shared)
        } else {
            true
        };
        for (reply, outcome) in waiting {
            reply(match is_done {
                true => outcome,
                false => Outcome::refused(ErrorCode::OutcomeUnknown),
            });
        }
        if is_last {
            return;
        }
    }
}

fn rewrite(shared: &Shared) -> bool {
    let rewritten = shared.vault.rewrite_keys();
    if let Err(error) = &rewritten {
        tracing::error!(
            %error,
            "ALARM: data keys of erased accounts are not destroyed yet: it is tried again in a minute and at the next start"
        );
    }
    rewritten.is_ok()
}
