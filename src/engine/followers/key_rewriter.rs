//! The key rewriter: one thread that rewrites `keys.redb` after erasures and rotations, at most
//! once a minute. The replies of erasures leave only after that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_schemas::command::Command;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;

use crate::engine::keys::rotations::is_under_way;
use crate::engine::message::spawn;
use crate::engine::message::{Message, ToWriter};
use crate::engine::shared::Shared;
use crate::engine::{Outcome, ReplyTo};

/// Replies that may wait for a rewrite; a further one becomes `outcome.unknown`, and its repeat
/// waits again.
pub const WAITING_MAX: usize = 4_096;
/// Seconds between two rewrites: each costs a copy of the whole store.
const REWRITE_EVERY_S: u64 = 60;
/// The time after a failure until the next attempt.
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// How often it checks the clock while a reply waits.
const TICK: Duration = Duration::from_millis(50);

type Waiting = (ReplyTo, Outcome);

/// The thread, and the queue of replies that leads to it.
pub struct KeyRewriter {
    waiting: SyncSender<Option<Waiting>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
}

impl KeyRewriter {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>, writer: ToWriter) -> Self {
        let (waiting, inbox) = sync_channel(WAITING_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let thread = spawn("key-rewriter", move || {
            run(&shared, &writer, &inbox, &is_stopping);
        });
        Self {
            waiting,
            thread: Mutex::new(Some(thread)),
            stopping,
        }
    }

    /// Holds back an erasure's success until the keys are destroyed, and starts the background work
    /// of a rotation; other replies leave at once.
    pub fn hold_back(&self, command: &Command, reply: ReplyTo) -> ReplyTo {
        let waiting = self.waiting.clone();
        match command {
            Command::EraseAccount(_) => {}
            Command::RotateKeys(_) => {
                return Box::new(move |outcome| {
                    reply(outcome);
                    // If the queue is full, the thread is awake and finds its work.
                    let _ = waiting.try_send(None);
                });
            }
            _ => return reply,
        }
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

    /// Destroys the condemned keys without waiting for the minute, sends every waiting reply, and
    /// ends the thread; the writer must have ended before.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // If the queue is full, the thread is awake and sees that it must stop.
        let _ = self.waiting.try_send(None);
        let thread = self
            .thread
            .lock()
            .expect("no holder of this lock panics")
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the key rewriter had panicked");
        }
    }
}

fn run(
    shared: &Shared,
    writer: &ToWriter,
    inbox: &Receiver<Option<Waiting>>,
    stopping: &AtomicBool,
) {
    let mut rewritten_at: Option<Micros> = None;
    let mut first: Option<Waiting> = None;
    // The active key-encryption key under which some rows could not be wrapped.
    let mut left_behind = None;
    loop {
        while is_due(shared, left_behind) && !stopping.load(Ordering::Acquire) {
            let now = (shared.monotonic)();
            if rewritten_at.is_none_or(|at| at.plus_s(REWRITE_EVERY_S) <= now) {
                break;
            }
            std::thread::sleep(TICK);
        }
        // Read before the queue is emptied: a reply is in it before the thread is asked to stop.
        let is_last = stopping.load(Ordering::Acquire);
        // The keys of every reply that waits by now were condemned before.
        let waiting = first.take().into_iter().chain(inbox.try_iter().flatten());
        let waiting: Vec<_> = waiting.collect();
        let must = shared.vault.has_condemned() || (!is_last && is_due(shared, left_behind));
        let is_done = if must {
            rewritten_at = Some((shared.monotonic)());
            rewrite(shared, &mut left_behind)
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
        report_rotated(shared, writer, left_behind);
        // A failed rewrite is tried again even without a further request.
        first = inbox.recv_timeout(RETRY_EVERY).ok().flatten();
    }
}

/// Whether keys must be destroyed or wrapped again.
fn is_due(shared: &Shared, left_behind: Option<u32>) -> bool {
    is_outdated(shared, left_behind) || shared.vault.has_condemned()
}

/// Whether keys must be wrapped again and can be.
fn is_outdated(shared: &Shared, left_behind: Option<u32>) -> bool {
    let is_outdated = shared.vault.is_outdated().unwrap_or_else(|error| {
        tracing::error!(%error, "whether keys must be wrapped again is not known yet");
        false
    });
    is_outdated && left_behind != Some(active_id(shared))
}

fn active_id(shared: &Shared) -> u32 {
    shared.vault.keyring().active_kek().0
}

/// Reports to the writer that a rotation is complete.
fn report_rotated(shared: &Shared, writer: &ToWriter, left_behind: Option<u32>) {
    let end = || -> Result<Option<Message>, Box<dyn std::error::Error>> {
        if !is_under_way(&shared.index)? || is_outdated(shared, left_behind) {
            return Ok(None);
        }
        let key_id = active_id(shared);
        let count = shared.vault.key_counts()?.remove(&key_id).unwrap_or(0);
        Ok(Some(Message::Rewrapped(key_id, count)))
    };
    match end() {
        // If the writer has ended, the next start records it.
        Ok(Some(message)) => drop(writer.send(message)),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the end of a rotation is not recorded yet"),
    }
}

/// Rewrites the key store, and returns whether it succeeded.
fn rewrite(shared: &Shared, left_behind: &mut Option<u32>) -> bool {
    let active = active_id(shared);
    let rewritten = shared.vault.rewrite_keys();
    if let Err(error) = &rewritten {
        tracing::error!(
            %error,
            "ALARM: keys.redb could not be rewritten, so keys that must be destroyed or replaced are still there: the next attempts are in a minute and at the next start"
        );
    }
    // If another rotation made it outdated in between, that is no damage.
    let is_left = rewritten.is_ok()
        && active == active_id(shared)
        && shared.vault.is_outdated().unwrap_or(false);
    if is_left && *left_behind != Some(active) {
        tracing::error!(
            "ALARM: data keys in keys.redb do not unwrap and stay under an older key-encryption key: restore keys.redb from its backup"
        );
    }
    *left_behind = is_left.then_some(active);
    rewritten.is_ok()
}
