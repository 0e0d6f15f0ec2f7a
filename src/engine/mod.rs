//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (4096)    │  ▲ gate, decide, seal, one commit
//!                      │  └── slow steps: pool, password service
//!                      └─▶ accounts, directory, views
//! ```

mod accounts;
mod admin;
mod advance;
#[cfg(test)]
mod appended_tests;
mod assertions;
#[cfg(test)]
mod audience_tests;
mod auditing;
#[cfg(test)]
mod auditing_tests;
mod backup;
mod backup_verify;
mod batch;
mod boot;
#[cfg(test)]
mod bound_source_tests;
mod by_text;
#[cfg(test)]
mod changed_tests;
mod chores;
mod clock;
mod coalesce;
#[cfg(test)]
mod crowd_tests;
mod deletable;
mod directory;
#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod doors_tests;
mod epoch;
#[cfg(test)]
mod epoch_tests;
mod erasing;
#[cfg(test)]
mod erasing_tests;
mod erasures;
mod evidence;
mod explaining;
mod explaining_across;
#[cfg(test)]
mod explaining_tests;
mod exporting;
#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod flood_tests;
mod forms;
#[cfg(test)]
mod forms_tests;
mod foundation;
#[cfg(test)]
mod gate_tests;
mod gauges;
mod hashing;
#[cfg(test)]
mod house;
mod indexer;
mod keeper;
mod key_list;
mod lanes;
mod look_rates;
mod look_ups;
#[cfg(test)]
mod look_ups_tests;
mod message;
mod outcomes;
mod page_room;
mod password_service;
mod places;
#[cfg(test)]
mod planted_tests;
pub mod pool;
mod private;
#[cfg(test)]
mod private_tests;
mod progress;
mod projector;
#[cfg(test)]
mod proof_tests;
mod proofs;
mod publisher;
mod queries;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod race_tests;
mod record_seals;
mod recorded_looks;
mod refusals;
mod rehash;
mod request;
#[cfg(test)]
mod reset_tests;
mod resets;
mod right_codes;
mod rotating;
#[cfg(test)]
mod rotating_tests;
#[cfg(test)]
mod secret_tests;
mod shared;
#[cfg(test)]
mod snapshot_tests;
pub mod snapshots;
mod source;
mod source_budget;
mod standing;
mod start_error;
mod stopped_views;
mod stopping;
#[cfg(test)]
mod store_tests;
mod stream_witness;
mod subject;
mod support_queries;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod tag_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
#[cfg(test)]
mod time_tests;
mod unsigned;
mod vault;
mod verdict;
#[cfg(test)]
mod view_tests;
mod writer;

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
pub use admin::Admin;
use advance::Job;
pub use backup::{BackupFolders, NoBackup, Taken, back_up_stopped_service};
pub use backup_verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
pub use boot::{EngineOptions, init};
pub use clock::{Clock, monotonic_clock, wall_clock};
pub use epoch::new_epoch;
pub use exporting::filter_text;
pub use foundation::Epoch;
pub use gauges::{Readings, free_bytes};
use keeper::Keeper;
pub use key_list::key_list;
pub use look_ups::{LookUp, Viewer};
use message::{Submission, ToWriter};
pub use password_service::{AskedPassword, PasswordService};
pub use places::{PlaceError, refuse_among_ours};
use pool::Pool;
use proofs::prove;
pub use publisher::{Feed, PublishedEpoch};
pub use queries::Queries;
pub use record_seals::RecordSeals;
pub use request::{BodyTags, Caller, Done, Outcome, ReplyTo, Request};
use shared::Shared;
pub use start_error::{InitError, NewEpochError, StartError};
pub use stopped_views::{list_stopped_views, rebuild_stopped_view};
use stopping::Writing;
pub use vault::{Random, system_random};
use writer::Writer;

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
        let (shared, log) = boot::open(options)?;
        let reader = log.reader().checked_by(&shared.index);
        let admin = Admin {
            shared: Arc::clone(&shared),
            log: reader.clone(),
            data,
            keyring,
            backing_up: Arc::default(),
        };
        let shown = projector::start(&reader, &shared.views, &shared.progress);
        if let Some(finding) = shared.index.finding() {
            if finding == Finding::Index {
                indexer::distrust(&shared);
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
                projector::run(&to_show, &projecting.views, &projecting.progress);
            }),
            spawn("indexer", move || indexer::run(&indexing, &reader)),
            spawn("rehasher", move || rehash::run(&hashing, &to_hash)),
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
            asked: outcomes::asked(parts, command),
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
