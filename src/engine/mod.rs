//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ evidence ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (pool)      (4096)     │ decide, seal, one commit
//!                                   └─▶ accounts, directory, views
//! ```

mod accounts;
mod batch;
mod boot;
mod directory;
mod evidence;
mod outcomes;
mod pool;
mod projector;
mod queries;
mod request;
mod subject;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod vault;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_projections::Views;
use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use tokio::sync::watch;

use crate::account::{Account, Evidence, Policy};
use crate::crash_point::reached;
use crate::log::index::Index;
use accounts::Accounts;
pub use boot::{EngineOptions, InitError, StartError, init};
use directory::Directory;
use pool::Pool;
use projector::Progress;
pub use queries::Queries;
pub use request::{Caller, Done, Outcome, ReplyTo, Request};
use subject::Subject;
use vault::Vault;
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

/// What all threads of the engine share; only the writer changes it.
pub struct Shared {
    vault: Vault,
    policy: Policy,
    vouched: bool,
    clock: Clock,
    accounts: Accounts,
    index: Arc<RwLock<Index>>,
    directory: RwLock<Directory>,
    views: Views,
    committed: Progress,
    shown: Progress,
    failed: watch::Sender<bool>,
}

impl Shared {
    /// The wall clock.
    fn now(&self) -> Micros {
        (self.clock)()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().expect("no holder of this lock panics")
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().expect("no holder of this lock panics")
    }

    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .expect("no holder of this lock panics")
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .expect("no holder of this lock panics")
    }

    /// The state of a command's account: the newest where the writer has one that is not durable
    /// yet, else as of its last durable event. A stranger has only its wrong passwords.
    fn account(
        &self,
        subject: &Subject,
        newest: Option<&Arc<Account>>,
    ) -> Result<Arc<Account>, ErrorCode> {
        let account = match (newest, subject.stream) {
            (Some(newest), _) => Arc::clone(newest),
            (None, None) => Arc::default(),
            (None, Some(stream)) => self.accounts.load(stream).map_err(|error| {
                tracing::error!(%error, "an account cannot be read");
                ErrorCode::StoreUnavailable
            })?,
        };
        if account.exists() {
            return Ok(account);
        }
        let passwords = self.directory().stranger(&subject.stranger);
        Ok(Arc::new(Account {
            passwords,
            ..Account::default()
        }))
    }
}

/// The engine: takes commands, answers queries.
pub struct Engine {
    shared: Arc<Shared>,
    pool: Arc<Pool<Submission>>,
    queue: SyncSender<Message>,
    draining: AtomicBool,
    stop_projector: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Opens log, keys and views, and starts the threads; the views are current when it returns.
    ///
    /// # Errors
    /// [`StartError`] with one sentence that says what is wrong and what to do; nothing was
    /// changed but what an unclean stop had left to repair.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        let (shared, log) = boot::open(options)?;
        let reader = log.reader();
        projector::catch_up(&reader, &shared.views, &shared.shown).map_err(StartError::Views)?;
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let pool = {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            Arc::new(Pool::start(move |submission| {
                prove(&shared, &queue, submission);
            }))
        };
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&pool), log);
        let stop_projector = Arc::new(AtomicBool::new(false));
        let projecting = (Arc::clone(&shared), Arc::clone(&stop_projector));
        let threads = vec![
            spawn("writer", move || writer.run(&inbox)),
            spawn("projector", move || {
                let (shared, stop) = projecting;
                projector::run(
                    &reader,
                    &shared.views,
                    &shared.committed,
                    &shared.shown,
                    &stop,
                );
            }),
        ];
        Ok(Self {
            shared,
            pool,
            queue,
            draining: AtomicBool::new(false),
            stop_projector,
            threads: Mutex::new(threads),
        })
    }

    /// Takes a command; `reply` is called exactly once, after the commit that its answer rests on.
    ///
    /// Does what is quick at once and never waits: what finds no room is `overloaded`, and nothing
    /// was appended then.
    pub fn submit(&self, mut request: Request, reply: ReplyTo) {
        if let Err(code) = self.admit(&mut request) {
            return refuse(reply, code);
        }
        let evidence = Evidence::none(request.received_at);
        let submission = Submission {
            request,
            evidence,
            gatherings: 0,
            reply,
        };
        let subject = subject::subject(&self.shared, &submission.request.command);
        let account = match self.shared.account(&subject, None) {
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

    fn admit(&self, request: &mut Request) -> Result<(), ErrorCode> {
        if *self.shared.failed.borrow() {
            return Err(ErrorCode::StoreUnavailable);
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(ErrorCode::Draining);
        }
        if request
            .deadline
            .is_some_and(|deadline| self.shared.now() > deadline)
        {
            return Err(ErrorCode::DeadlineExceeded);
        }
        if let Command::RegisterAccount(command) = &mut request.command
            && command.account_id.is_none()
        {
            let id = uuid::Uuid::now_v7().to_string();
            command.account_id = Some(AccountId::parse(&id).expect("a UUID is a word"));
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
        self.stop_projector.store(true, Ordering::Release);
        self.shared.committed.advance(0);
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

/// Hands a command that costs a hash to the pool; sheds it when there is no room.
fn enqueue_proof(pool: &Pool<Submission>, shared: &Shared, submission: Submission) {
    let key = subject::subject(shared, &submission.request.command).queue_key();
    if let Err(submission) = pool.submit(key, submission) {
        refuse(submission.reply, ErrorCode::Overloaded);
    }
}

/// A pool thread's work: gathers evidence against the account as it is now.
fn prove(shared: &Shared, queue: &SyncSender<Message>, submission: Submission) {
    let subject = subject::subject(shared, &submission.request.command);
    match shared.account(&subject, None) {
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
