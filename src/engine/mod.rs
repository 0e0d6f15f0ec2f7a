//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (4096)    │  ▲ gate, decide, seal, one commit
//!                      │  └── slow steps: pool, password service
//!                      └─▶ accounts, directory, views
//! ```

mod accounts;
mod clock;
mod copies;
mod followers;
mod gauges;
mod intake;
mod keys;
mod message;
mod queries;
mod record_seals;
mod request;
mod shared;
mod start;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;

use crate::account::Policy;
use crate::log::index::Finding;
pub use accounts::snapshots;
pub use clock::{Clock, monotonic_clock, wall_clock};
pub use copies::backup::{BackupFolders, NoBackup, Taken, back_up_stopped_service};
pub use copies::places::{PlaceError, refuse_among_ours};
pub use copies::verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
pub use followers::feed::{Feed, PublishedEpoch};
pub use gauges::{Readings, free_bytes};
pub use intake::password_service::{AskedPassword, PasswordService};
pub use intake::pool;
use intake::pool::Pool;
use intake::prove;
pub use keys::key_list::key_list;
use keys::rewriter::Keeper;
pub use keys::vault::{Random, system_random};
use message::{Submission, ToWriter};
pub use queries::Queries;
pub use queries::admin::Admin;
pub use queries::export::filter_text;
pub use queries::look_ups::{LookUp, Viewer};
pub use record_seals::RecordSeals;
pub use request::{BodyTags, Caller, Done, Outcome, ReplyTo, Request};
use shared::Shared;
pub use start::epoch::new_epoch;
pub use start::error::{InitError, NewEpochError, StartError};
pub use start::foundation::Epoch;
pub use start::stopped_views::{list_stopped_views, rebuild_stopped_view};
use start::stopping::Writing;
pub use start::{EngineOptions, init};
use writer::Writer;
use writer::advance::Job;

/// What is said to a caller whose word is not taken.
const MAY_NOT_VOUCH: &str =
    "this caller may not answer for the first factor: send the password, or a challenge";

/// The engine: takes commands, answers queries.
pub struct Engine {
    shared: Arc<Shared>,
    pool: Arc<Pool<Job>>,
    queue: ToWriter,
    admin: Admin,
    keeper: Keeper,
    draining: AtomicBool,
    followers: Mutex<Vec<JoinHandle<()>>>,
    writer: Mutex<Writing>,
}

impl Engine {
    /// Opens log, keys and views, and starts the threads; the views are current when it returns.
    ///
    /// # Errors
    /// [`StartError`] with one sentence that says what is wrong and what to do; nothing was
    /// changed but what an unclean stop had left to repair.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        let (data, keyring) = (options.data.clone(), options.keyring.clone());
        let (shared, log) = start::open(options)?;
        let reader = log.reader().checked_by(&shared.index);
        let admin = Admin {
            shared: Arc::clone(&shared),
            log: reader.clone(),
            data,
            keyring,
            backing_up: Arc::default(),
        };
        let shown = followers::projector::start(&reader, &shared.views, &shared.progress);
        if let Some(finding) = shared.index.finding() {
            if finding == Finding::Index {
                followers::indexer::distrust(&shared);
            }
            return Err(finding.into());
        }
        shown.map_err(StartError::Views)?;
        let (queue, inbox) = ToWriter::open();
        let pool = {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            Arc::new(Pool::start(move |job| prove(&shared, &queue, job)))
        };
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&pool), queue.clone(), log);
        let (projecting, to_show) = (Arc::clone(&shared), reader.clone());
        let (indexing, hashing) = (Arc::clone(&shared), Arc::clone(&shared));
        let to_hash = reader.clone();
        let (keeping, writing) = (Arc::clone(&shared), queue.clone());
        let stopping = Arc::clone(&shared);
        let writer = spawn("writer", move || {
            let run = catch_unwind(AssertUnwindSafe(|| writer.run(&inbox)));
            run.unwrap_or_else(|_| {
                tracing::error!("ALARM: the writer panicked, and the service stops");
                stopping.failed.send_replace(true);
                None
            })
        });
        let followers = vec![
            spawn("projector", move || {
                followers::projector::run(&to_show, &projecting.views, &projecting.progress);
            }),
            spawn("indexer", move || {
                followers::indexer::run(&indexing, &reader);
            }),
            spawn("rehasher", move || {
                followers::rehash::run(&hashing, &to_hash);
            }),
        ];
        Ok(Self {
            shared,
            pool,
            queue,
            admin,
            keeper: Keeper::start(keeping, writing),
            draining: AtomicBool::new(false),
            followers: Mutex::new(followers),
            writer: Mutex::new(Writing::Thread(writer)),
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
        let reply = self.keeper.hold_back(&request.command, reply);
        self.queue.submit(Submission::new(request, reply));
    }

    /// Refuses what needs no look at any account, and names the account that is to be made.
    fn admit(&self, request: &mut Request) -> Result<(), Refusal> {
        if *self.shared.failed.borrow() {
            return Err(Refusal::new(ErrorCode::StoreUnavailable));
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::new(ErrorCode::Draining));
        }
        let is_over = |deadline| self.shared.now() > deadline;
        if request.deadline.is_some_and(is_over) {
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
        let may_vouch = |names: &BTreeSet<String>| names.contains(&request.caller.name);
        let is_allowed = self.shared.vouching.as_ref().is_none_or(may_vouch);
        match request::is_vouched(&request.command, self.shared.vouched) && !is_allowed {
            true => Err(Refusal::because(ErrorCode::ActorForbidden, MAY_NOT_VOUCH)),
            false => Ok(()),
        }
    }

    /// What a repeat of a command is recognised by: at first by every byte, later by what is no
    /// secret.
    pub fn body_tags(
        &self,
        caller: &str,
        subject: &str,
        payload: &[u8],
        command: &Command,
    ) -> BodyTags {
        let parts = [caller.as_bytes(), subject.as_bytes()];
        BodyTags {
            exact: self
                .shared
                .vault
                .process_tag(&[parts[0], parts[1], payload]),
            asked: writer::outcomes::asked(parts, command),
        }
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        self.shared.now()
    }

    /// The queries.
    pub fn queries(&self) -> Queries {
        Queries {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            log: self.admin.log.clone(),
        }
    }

    /// What other services are told.
    pub fn feed(&self) -> Feed {
        Feed {
            shared: Arc::clone(&self.shared),
            log: self.admin.log.clone(),
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
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("a thread can be started while the service starts")
}
