//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ evidence ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (pool)      (4096)     │ decide, seal, one commit
//!                                   └─▶ accounts, directory, views
//! ```

mod accounts;
mod admin;
mod batch;
mod boot;
mod directory;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod disk_tests;
mod evidence;
mod indexer;
mod outcomes;
mod pool;
mod progress;
mod projector;
mod queries;
mod request;
mod shared;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod snapshot_tests;
mod snapshots;
mod subject;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod vault;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;
use tokio::sync::watch;

use crate::account::{Account, Evidence, Policy};
use crate::crash_point::reached;
pub use admin::Admin;
pub use boot::{EngineOptions, InitError, StartError, init};
use pool::Pool;
pub use queries::Queries;
pub use request::{Caller, Done, Outcome, ReplyTo, Request};
use shared::Shared;
use writer::Writer;

/// The wall clock, as an argument.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// Commands that may wait for the writer.
pub const QUEUE_MAX: usize = 4_096;
/// How often evidence is gathered for one command before it is a `version.conflict`.
const GATHERINGS_MAX: u8 = 3;

/// A command with what was found out about it, on its way to the writer.
struct Submission {
    request: Request,
    evidence: Evidence,
    gatherings: u8,
    reply: ReplyTo,
}

/// What the writer's queue carries.
enum Message {
    Submission(Box<Submission>),
    Stop,
}

/// The engine: takes commands, answers queries.
pub struct Engine {
    shared: Arc<Shared>,
    pool: Arc<Pool<Submission>>,
    queue: SyncSender<Message>,
    admin: Admin,
    draining: AtomicBool,
    stop_followers: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Opens log, keys and views, and starts the threads; the views are current when it returns.
    ///
    /// # Errors
    /// [`StartError`] with one sentence that says what is wrong and what to do; nothing was
    /// changed but what an unclean stop had left to repair.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        let backup_folder = options.backup_folder.clone();
        let (shared, log) = boot::open(options)?;
        let reader = log.reader();
        let admin = Admin {
            shared: Arc::clone(&shared),
            log: reader.clone(),
            backup_folder,
        };
        projector::catch_up(&reader, &shared.views, &shared.progress).map_err(StartError::Views)?;
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let pool = {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            Arc::new(Pool::start(move |submission| {
                prove(&shared, &queue, submission);
            }))
        };
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&pool), log);
        let stop_followers = Arc::new(AtomicBool::new(false));
        let projecting = (
            Arc::clone(&shared),
            Arc::clone(&stop_followers),
            reader.clone(),
        );
        let indexing = (Arc::clone(&shared), Arc::clone(&stop_followers));
        let threads = vec![
            spawn("writer", move || writer.run(&inbox)),
            spawn("projector", move || {
                let (shared, stop, reader) = projecting;
                projector::run(&reader, &shared.views, &shared.progress, &stop);
            }),
            spawn("indexer", move || {
                let (shared, stop) = indexing;
                indexer::run(&shared, &reader, &stop);
            }),
        ];
        Ok(Self {
            shared,
            pool,
            queue,
            admin,
            draining: AtomicBool::new(false),
            stop_followers,
            threads: Mutex::new(threads),
        })
    }

    /// Takes a command; `reply` is called exactly once, after the commit that its answer rests on.
    ///
    /// Does what is quick at once and never waits: what finds no room is `overloaded`, and nothing
    /// was appended then.
    pub fn submit(&self, mut request: Request, reply: ReplyTo) {
        if let Err(refusal) = self.admit(&mut request) {
            return reply(Outcome {
                result: Err(refusal),
                replayed: false,
            });
        }
        let evidence = Evidence::none(request.received_at);
        let submission = Submission {
            request,
            evidence,
            gatherings: 0,
            reply,
        };
        let account = match current_account(&self.shared, &submission) {
            Ok(account) => account,
            Err(code) => return refuse(submission.reply, code),
        };
        if evidence::is_slow(
            &self.shared,
            &submission.request,
            &account,
            self.shared.now(),
        ) {
            enqueue_proof(&self.pool, &self.shared, submission);
        } else {
            gather_and_enqueue(&self.shared, &self.queue, submission, &account);
        }
    }

    /// Refuses what needs no look at any account, and names the account that is to be made.
    fn admit(&self, request: &mut Request) -> Result<(), Refusal> {
        if *self.shared.failed.borrow() {
            return Err(Refusal::new(ErrorCode::StoreUnavailable));
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::new(ErrorCode::Draining));
        }
        if request
            .deadline
            .is_some_and(|deadline| self.shared.now() > deadline)
        {
            return Err(Refusal::new(ErrorCode::DeadlineExceeded));
        }
        match &mut request.command {
            Command::RegisterAccount(command) if command.account_id.is_none() => {
                let id = uuid::Uuid::now_v7().to_string();
                command.account_id = Some(AccountId::parse(&id).expect("a UUID is a word"));
            }
            Command::StartLogin(command) if command.password.is_none() && !self.shared.vouched => {
                return Err(DecodeError::at("/password", "this field is required").into());
            }
            _ => {}
        }
        Ok(())
    }

    /// HMAC over caller, subject and payload: tells a repeat from another body under the same id.
    pub fn body_tag(&self, caller: &str, subject: &str, payload: &[u8]) -> [u8; 16] {
        let parts = [caller.as_bytes(), subject.as_bytes(), payload];
        self.shared.vault.keyring().body_tag(&parts)
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        self.shared.now()
    }

    /// The queries.
    pub fn queries(&self) -> Queries {
        Queries {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The operators' side.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// Turns true when a commit has failed: the process must stop, and a restart is safe.
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.shared.failed.subscribe()
    }

    /// Takes nothing more, finishes what was taken, and closes the files; may be called again.
    ///
    /// Waits for proofs at most `within`; what they could not begin by then is told `draining`.
    pub fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Release);
        for submission in self.pool.stop(within) {
            refuse(submission.reply, ErrorCode::Draining);
        }
        // A writer that has failed is gone and takes no message.
        let _ = self.queue.send(Message::Stop);
        self.stop_followers.store(true, Ordering::Release);
        self.shared.progress.wait_shown(u64::MAX, Duration::ZERO);
        for thread in std::mem::take(&mut *self.threads.lock().expect("nobody panics holding it")) {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine had panicked");
            }
        }
        reached("views-unflushed");
        if let Err(error) = self.shared.views.flush() {
            tracing::warn!(%error, "the views are not durable; the next start brings them up to date");
        }
        reached("views-flushed");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}

/// The command's account as of its last durable event.
fn current_account(shared: &Shared, submission: &Submission) -> Result<Arc<Account>, ErrorCode> {
    let subject = subject::subject(shared, &submission.request.command)?;
    shared.account(&subject, None)
}

/// Hands a command that costs a hash to the pool; sheds it when there is no room.
fn enqueue_proof(pool: &Pool<Submission>, shared: &Shared, submission: Submission) {
    let key = match subject::subject(shared, &submission.request.command) {
        Ok(subject) => subject.queue_key(),
        Err(code) => return refuse(submission.reply, code),
    };
    if let Err(submission) = pool.submit(key, submission) {
        refuse(submission.reply, ErrorCode::Overloaded);
    }
}

/// A pool thread's work: gathers evidence against the account as it is now.
fn prove(shared: &Shared, queue: &SyncSender<Message>, submission: Submission) {
    match current_account(shared, &submission) {
        Ok(account) => gather_and_enqueue(shared, queue, submission, &account),
        Err(code) => refuse(submission.reply, code),
    }
}

fn gather_and_enqueue(
    shared: &Shared,
    queue: &SyncSender<Message>,
    mut submission: Submission,
    account: &Account,
) {
    let gathered = catch_unwind(AssertUnwindSafe(|| {
        evidence::gather(shared, &submission.request, account)
    }));
    match gathered {
        Ok(Ok(evidence)) => submission.evidence = evidence,
        Ok(Err(refusal)) => return refuse(submission.reply, refusal.code),
        Err(_) => {
            tracing::error!(
                command = submission.request.command.name(),
                "a proof panicked"
            );
            return refuse(submission.reply, ErrorCode::Internal);
        }
    }
    match queue.try_send(Message::Submission(Box::new(submission))) {
        Ok(()) => {}
        Err(TrySendError::Full(Message::Submission(submission))) => {
            refuse(submission.reply, ErrorCode::Overloaded);
        }
        Err(TrySendError::Disconnected(Message::Submission(submission))) => {
            refuse(submission.reply, ErrorCode::StoreUnavailable);
        }
        Err(TrySendError::Full(Message::Stop) | TrySendError::Disconnected(Message::Stop)) => {}
    }
}

fn refuse(reply: ReplyTo, code: ErrorCode) {
    reply(Outcome::refused(code));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("a thread can be started while the service starts")
}

/// The wall clock of this machine.
pub fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}
