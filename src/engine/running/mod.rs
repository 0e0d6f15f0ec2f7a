//! The running engine: its threads from start to stop, and the entry points to them.

pub(super) mod readings;
mod stopping;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Jwks;
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;

use super::followers::feed::Feed;
use super::followers::key_rewriter::KeyRewriter;
use super::followers::{indexer, projector, rehash};
use super::intake::pool::Pool;
use super::intake::prove;
use super::keys::assertions;
use super::message::{Job, Submission, ToWriter, spawn};
use super::queries::Queries;
use super::queries::admin::Admin;
use super::request::{BodyTags, Outcome, PasswordsBy, ReplyTo, Request, is_vouched};
use super::shared::Shared;
use super::shared::asked_password::PasswordService;
use super::start;
use super::start::EngineOptions;
use super::start::error::StartError;
use super::writer::Writer;
use super::writer::outcomes::asked;
use crate::account::Policy;
use crate::crypto::assertion::AssertionKey;
use crate::crypto::derived::FileKey;
use crate::log::EventLog;
use crate::log::index::Finding;

/// The label from which the key of instances is derived.
const PRESENCE_LABEL: &str = "presence";
/// The detail for a caller that may not vouch for the first factor.
const MAY_NOT_VOUCH: &str =
    "this caller may not vouch for the first factor: send the password, or a challenge";

/// The engine: takes commands and answers queries.
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Arc<Pool<Job>>,
    pub(super) queue: ToWriter,
    pub(super) admin: Admin,
    pub(super) key_rewriter: KeyRewriter,
    pub(super) draining: AtomicBool,
    pub(super) followers: Mutex<Vec<JoinHandle<()>>>,
    pub(super) writer: Mutex<Writing>,
}

/// The log, or the thread that owns it.
pub enum Writing {
    /// The writer runs.
    Thread(JoinHandle<Option<EventLog>>),
    /// The writer has ended; `None` if it failed or the log is closed.
    Stopped(Option<EventLog>),
}

impl Engine {
    /// Opens log, keys and views, and starts the threads; the views are current when it returns.
    ///
    /// # Errors
    /// [`StartError`] with one sentence that says what is wrong and what to do; nothing was changed
    /// except repairs after an unclean stop.
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
            spawn("indexer", move || {
                indexer::run(&indexing, &reader);
            }),
            spawn("rehasher", move || {
                rehash::run(&hashing, &to_hash);
            }),
        ];
        Ok(Self {
            shared,
            pool,
            queue,
            admin,
            key_rewriter: KeyRewriter::start(keeping, writing),
            draining: AtomicBool::new(false),
            followers: Mutex::new(followers),
            writer: Mutex::new(Writing::Thread(writer)),
        })
    }

    /// Takes a command; `reply` is called exactly once, after the commit that its answer rests on.
    ///
    /// Does the quick work at once and never waits: a command that finds no room is `overloaded`,
    /// and nothing was appended for it.
    pub fn submit(&self, mut request: Request, reply: ReplyTo) {
        if let Err(refusal) = self.admit(&mut request) {
            return reply(Outcome {
                result: Err(refusal),
                replayed: false,
            });
        }
        let reply = self.key_rewriter.hold_back(&request.command, reply);
        self.queue.submit(Submission::new(request, reply));
    }

    /// Refuses a command where no account has to be read, and chooses the id of a new account.
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
            Command::StartLogin(command)
                if command.password.is_none()
                    && self.shared.passwords_by != PasswordsBy::Caller =>
            {
                return Err(DecodeError::at("/password", "this field is required").into());
            }
            _ => {}
        }
        let may_vouch = |names: &BTreeSet<String>| names.contains(&request.caller.name);
        let is_allowed = self.shared.vouching.as_ref().is_none_or(may_vouch);
        match is_vouched(&request.command, self.shared.passwords_by) && !is_allowed {
            true => Err(Refusal::because(ErrorCode::ActorForbidden, MAY_NOT_VOUCH)),
            false => Ok(()),
        }
    }

    /// Returns the hashes that recognise a repeat of a command: at first by every byte, later
    /// without its secrets.
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
            asked: asked(parts, command),
        }
    }

    /// Returns the time by the wall clock.
    pub fn now(&self) -> Micros {
        self.shared.now()
    }

    /// Returns a handle for queries.
    pub fn queries(&self) -> Queries {
        Queries {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            log: self.admin.log.clone(),
        }
    }

    /// Returns a handle for publishing the events that other services receive.
    pub fn feed(&self) -> Feed {
        Feed {
            shared: Arc::clone(&self.shared),
            log: self.admin.log.clone(),
        }
    }

    /// Returns the operators' side.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// Sets the password service that is asked from now on, if the configuration names one; until
    /// then its passwords are `directory.unavailable`.
    pub fn ask_about_passwords(&self, service: PasswordService) {
        if self.shared.password_service.set(service).is_err() {
            tracing::error!("there is already a password service; the first one stays in use");
        }
    }

    /// Returns the hexadecimal id of the log's first epoch, which no later epoch changes.
    pub fn first_log_id(&self) -> String {
        HEXLOWER.encode(self.shared.vault.keyring().first_log_id())
    }

    /// Returns the hexadecimal id of the log's present epoch.
    pub fn log_id(&self) -> String {
        HEXLOWER.encode(self.shared.vault.keyring().log_id())
    }

    /// Returns the key that signs a login recorded at an instant.
    pub fn assertion_key(&self, at: Micros) -> AssertionKey {
        assertions::key_at(&self.shared.vault.keyring(), at)
    }

    /// Returns the public keys that verify assertions, the one in use first (RFC 7517).
    pub fn jwks(&self) -> Jwks {
        assertions::shown_keys(&self.shared.vault.keyring(), self.now())
    }

    /// Returns the key by which instances of this log recognise each other; no rotation and no
    /// epoch changes it.
    pub fn presence_key(&self) -> FileKey {
        self.shared.vault.keyring().file_key(PRESENCE_LABEL)
    }
}
