//! The keeper of the keys: one thread that rewrites `keys.redb` after erasures and rotations, at
//! most once a minute, and only then lets the replies of erasures leave.

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
    pub fn start(shared: Arc<Shared>, writer: ToWriter) -> Self {
        let (waiting, inbox) = sync_channel(WAITING_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let thread = spawn("keeper", move || {
            run(&shared, &writer, &inbox, &is_stopping);
        });
        Self {
            waiting,
            thread: Mutex::new(Some(thread)),
            stopping,
        }
    }

    /// Holds an erasure's success back until the keys are destroyed, and sees to it that a
    /// rotation's work begins; other replies leave at once.
    pub fn hold_back(&self, command: &Command, reply: ReplyTo) -> ReplyTo {
        let waiting = self.waiting.clone();
        match command {
            Command::EraseAccount(_) => {}
            Command::RotateKeys(_) => {
                return Box::new(move |outcome| {
                    reply(outcome);
                    // Where the queue is full the thread is awake and finds what to do.
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

fn run(
    shared: &Shared,
    writer: &ToWriter,
    inbox: &Receiver<Option<Waiting>>,
    stopping: &AtomicBool,
) {
    let mut rewritten_at: Option<Micros> = None;
    let mut first: Option<Waiting> = None;
    // The active key-encryption key under which some rows could not be brought.
    let mut left_behind = None;
    loop {
        while is_due(shared, left_behind) && !stopping.load(Ordering::Acquire) {
            let now = (shared.monotonic)();
            if rewritten_at.is_none_or(|at| at.plus_s(REWRITE_EVERY_S) <= now) {
                break;
            }
            std::thread::sleep(TICK);
        }
        // Read before the queue is emptied: a reply is in it before the thread is told to stop.
        let is_last = stopping.load(Ordering::Acquire);
        // Whoever waits by now has had its keys condemned before.
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
        tell_rotated(shared, writer, left_behind);
        // What failed is tried again even if nobody asks.
        first = inbox.recv_timeout(RETRY_EVERY).ok().flatten();
    }
}

/// Whether keys are to be destroyed or wrapped anew.
fn is_due(shared: &Shared, left_behind: Option<u32>) -> bool {
    is_outdated(shared, left_behind) || shared.vault.has_condemned()
}

/// Whether keys are to be wrapped anew that can be.
fn is_outdated(shared: &Shared, left_behind: Option<u32>) -> bool {
    let is_outdated = shared.vault.is_outdated().unwrap_or_else(|error| {
        tracing::error!(%error, "whether keys are to be wrapped anew is not known yet");
        false
    });
    is_outdated && left_behind != Some(active_id(shared))
}

fn active_id(shared: &Shared) -> u32 {
    shared.vault.keyring().active_kek().0
}

/// Tells the writer that a rotation has come to its end.
fn tell_rotated(shared: &Shared, writer: &ToWriter, left_behind: Option<u32>) {
    let end = || -> Result<Option<Message>, Box<dyn std::error::Error>> {
        if !is_under_way(&shared.index)? || is_outdated(shared, left_behind) {
            return Ok(None);
        }
        let key_id = active_id(shared);
        let count = shared.vault.key_counts()?.remove(&key_id).unwrap_or(0);
        Ok(Some(Message::Rewrapped(key_id, count)))
    };
    match end() {
        // A writer that has ended records it after the next start.
        Ok(Some(message)) => drop(writer.send(message)),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the end of a rotation is not recorded yet"),
    }
}

/// Rewrites the key store and says whether it was done.
fn rewrite(shared: &Shared, left_behind: &mut Option<u32>) -> bool {
    let active = active_id(shared);
    let rewritten = shared.vault.rewrite_keys();
    if let Err(error) = &rewritten {
        tracing::error!(
            %error,
            "ALARM: keys.redb could not be rewritten, so keys that are to be destroyed or replaced still are there: it is tried again in a minute and at the next start"
        );
    }
    // One that another rotation has made outdated in between is no damage.
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
