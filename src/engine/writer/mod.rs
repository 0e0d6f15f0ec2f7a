//! The writer: one thread that decides, seals, commits once per batch and only then answers.
//! A command's way through it is in `advance.rs`.
//!
//! It owns the log's write side, and it alone gives events their version, their time and their
//! seal. It drains its queue without waiting for more: commands gather during the running commit.

pub(super) mod access;
pub(super) mod across;
pub(super) mod advance;
pub(super) mod batch;
pub(super) mod chores;
pub(super) mod clock_watch;
pub(super) mod coalesce;
pub(super) mod erasing;
pub(super) mod facts;
pub(super) mod lanes;
pub(super) mod outcomes;
pub(super) mod refusals;
pub(super) mod rotating;
pub(super) mod verdict;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::counts::source_budget::{Counted, SourceBudget};
use super::intake::pool::Pool;
use super::message::{Message, ToWriter};
use super::shared::Shared;
use super::{Outcome, ReplyTo};
use crate::crash_point::reached;
use crate::crypto::stack;
use crate::engine::counts::by_text::ByText;
use crate::engine::counts::right_codes::RightCodes;
use crate::engine::message::Job;
use crate::log::EventLog;
use batch::Batch;
use clock_watch::ClockWatch;
use coalesce::Coalesced;
use lanes::Lanes;
use outcomes::Outcomes;

/// How long the writer is idle before it prepares the log to reopen at once.
const IDLE: Duration = Duration::from_secs(1);

/// The place of the last event for a command without events: none, and no reply shows it.
pub(super) const NO_EVENT: Details = Details {
    position: 0,
    version: 0,
    at: Micros(0),
};

/// The writer thread's own state.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: Arc<Pool<Job>>,
    /// The queue to which finished steps return.
    pub(super) to_self: ToWriter,
    /// The accounts for which a step is under way.
    pub(super) lanes: Lanes,
    /// The thread that waits for the end, once the writer must stop.
    stopping: Option<SyncSender<()>>,
    pub(in crate::engine) log: EventLog,
    pub(super) outcomes: Outcomes,
    pub(super) coalesced: Coalesced,
    /// Wrong passwords of each address over all names.
    pub(super) source_budget: SourceBudget,
    /// Wrong pairs of password and code that bypassed a wait, by address.
    pub(super) pair_budget: SourceBudget,
    /// Wrong passwords beside right codes, by account, over all addresses.
    pub(super) right_codes: RightCodes,
    /// Wrong passwords by the text that names an account.
    pub(super) by_text: ByText,
    last_at: Micros,
    pub(super) watch: ClockWatch,
}

impl Writer {
    /// Takes over the log's write side.
    pub fn new(
        shared: Arc<Shared>,
        pool: Arc<Pool<Job>>,
        to_self: ToWriter,
        log: EventLog,
    ) -> Self {
        let last_at = shared.index.tail().at;
        let watch = ClockWatch::new(&shared);
        let by_text = ByText::kept(&shared.text_file);
        Self {
            shared,
            pool,
            to_self,
            lanes: Lanes::default(),
            stopping: None,
            log,
            outcomes: Outcomes::default(),
            coalesced: Coalesced::default(),
            source_budget: SourceBudget::of(Counted::Addresses),
            pair_budget: SourceBudget::of(Counted::CallersToo),
            right_codes: RightCodes::default(),
            by_text,
            last_at,
            watch,
        }
    }

    /// Works until it must stop and nothing is under way, and then returns the log; or until a
    /// commit fails, after which nothing is decided.
    pub fn run(mut self, queue: &Receiver<Message>) -> Option<EventLog> {
        loop {
            let mut batch = self.empty_batch();
            let is_idle;
            let wait = match self.stopping.is_some() && self.lanes.is_empty() {
                true => Duration::ZERO,
                false => IDLE,
            };
            match queue.recv_timeout(wait) {
                Ok(first) => {
                    self.do_chores(&mut batch);
                    self.take_in(first, &mut batch);
                    is_idle = self.drain(&mut batch, queue);
                }
                // The writer holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return Some(self.log),
                Err(RecvTimeoutError::Timeout) => {
                    is_idle = true;
                    self.do_chores(&mut batch);
                    if batch.records.is_empty() && self.stopping.is_none() {
                        if let Err(error) = self.log.idle() {
                            self.fail(&error, Vec::new(), queue);
                            return None;
                        }
                        continue;
                    }
                }
            }
            // Commands with a batch of their own may still release others that waited for their
            // account.
            let is_last = is_idle
                && self.stopping.is_some()
                && self.lanes.is_empty()
                && batch.alone.is_empty();
            if is_last {
                self.finish_chores(&mut batch);
            }
            if let Err(replies) = self.commit(batch) {
                self.fail(&"a commit failed", replies, queue);
                return None;
            }
            if is_last {
                return Some(self.log);
            }
        }
    }

    /// Returns a batch that follows everything durable.
    pub(super) fn empty_batch(&self) -> Batch {
        Batch::after(self.log.head(), self.shared.index.last_leaf())
    }

    /// Takes the queued messages, up to the bounds of a batch, and returns whether that was all of
    /// them.
    pub(super) fn drain(&mut self, batch: &mut Batch, queue: &Receiver<Message>) -> bool {
        while batch.has_room() {
            let Ok(next) = queue.try_recv() else {
                return true;
            };
            self.take_in(next, batch);
        }
        false
    }

    fn take_in(&mut self, message: Message, batch: &mut Batch) {
        stack::wiped(|| self.take_in_one(message, batch));
    }

    fn take_in_one(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Submission(next) => {
                self.to_self.taken();
                self.take(next, batch);
            }
            Message::Stepped(submission, stepped) => self.stepped(submission, stepped, batch),
            Message::Rewrapped(key_id, count) => self.record_rewrapped(key_id, count, batch),
            Message::Accessed(next) => self.record_access(*next, batch),
            Message::Stop(done) => self.stopping = Some(done),
        }
    }

    /// Whether the service stops, so that a command that finds no room is `draining`.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Makes a batch durable and lets its replies leave.
    ///
    /// # Errors
    /// Every reply that waits for an answer, none of them sent, if the commit failed: the outcome
    /// is unknown.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), Vec<ReplyTo>> {
        // Before the log: a wrong password that is reported is counted under its name too.
        self.by_text.keep(&self.shared.text_file);
        if !batch.records.is_empty() {
            reached("before-append");
            if let Err(error) = self.shared.vault.commit_keys() {
                tracing::error!(%error, "new data keys are not durable");
                return Err(batch.waiting());
            }
            reached("before-log");
            if let Err(error) = self.log.append(self.log.head(), &batch.records) {
                tracing::error!(%error, "the log did not take a batch");
                return Err(batch.waiting());
            }
            reached("after-commit");
            let now = self.now();
            let recorded_at = &self.shared.recorded_at;
            recorded_at.store(self.last_at.0, Ordering::Release);
            let facts = std::mem::take(&mut batch.facts);
            for ((entry, bytes), fact) in batch.entries.iter().zip(&batch.records).zip(facts) {
                let pushed =
                    self.shared
                        .index
                        .push(entry.position, &entry.record, bytes, fact, now);
                if let Err(error) = pushed {
                    tracing::error!(%error, "the index did not take what is durable in the log");
                    return Err(batch.waiting());
                }
            }
            self.shared
                .log_version
                .fetch_add(batch.log_events, Ordering::AcqRel);
            for (stream, account) in batch.accounts {
                self.shared.accounts.committed(stream, account);
            }
            self.shared
                .views
                .login_status()
                .apply_committed(&batch.entries);
            self.shared.progress.commit(self.log.head());
            reached("before-reply");
        } else if batch.commits_nothing
            && let Err(error) = self.log.commit_nothing()
        {
            tracing::error!(%error, "the log did not take a commit");
            return Err(batch.waiting());
        }
        for (reply, outcome) in batch.replies {
            reply(outcome);
            reached("after-reply");
        }
        for durable in batch.accesses {
            // Queries that waited too long were refused.
            let _ = durable.try_send(());
        }
        self.decide_alone(batch.alone)
    }

    // BUG: disk-fails-after-comparison: what was compared and not committed has an unknown outcome.
    /// Answers everything with `outcome.unknown` and stops for good: a failed commit can have
    /// written anything (docs/reference/contract.md#durable-before-the-reply).
    fn fail(
        &mut self,
        error: &dyn std::fmt::Display,
        replies: Vec<ReplyTo>,
        queue: &Receiver<Message>,
    ) {
        tracing::error!(%error, "the service stops: what was under way has an unknown outcome");
        self.shared.failed.send_replace(true);
        let unknown = || Outcome::refused(ErrorCode::OutcomeUnknown);
        for reply in replies {
            reply(unknown());
        }
        for submission in self.lanes.drain() {
            submission.refuse(ErrorCode::OutcomeUnknown);
        }
        for (submission, _) in self.pool.close() {
            submission.refuse(ErrorCode::OutcomeUnknown);
        }
        while let Ok(message) = queue.try_recv() {
            if let Message::Submission(submission) | Message::Stepped(submission, _) = message {
                submission.refuse(ErrorCode::OutcomeUnknown);
            }
        }
    }

    /// Notes when the last event was recorded.
    pub(super) fn recorded_at(&mut self, at: Micros) {
        self.last_at = at;
    }

    /// Returns log time, which never runs backwards.
    pub(super) fn now(&self) -> Micros {
        self.shared.now().max(self.last_at)
    }
}
