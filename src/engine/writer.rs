//! The writer: one thread that decides, seals, commits once per batch and only then answers.
//!
//! It owns the log's write side, and is the only place where events get their version, their time
//! and their seal. It drains its queue without lingering: the running commit is the linger.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::batch::{Batch, Group, Origin, made};
use super::chores::ClockWatch;
use super::coalesce::Coalesced;
use super::outcomes::Outcomes;
use super::pool::Pool;
use super::verdict::Verdict;
use super::{Done, GATHERINGS_MAX, Message, Outcome, ReplyTo, Shared, Submission};
use super::{evidence, resets, rotating, subject};
use crate::account::{Account, Ctx, Decision, ENTROPY_LEN, Reply, decide};
use crate::crash_point::reached;
use crate::log::EventLog;

/// How long the writer is idle before it makes reopening instant.
const IDLE: Duration = Duration::from_secs(1);

/// Where the last event of a command without events stands: nowhere, and no reply shows it.
pub(super) const NO_EVENT: Details = Details {
    position: 0,
    version: 0,
    at: Micros(0),
};

/// The writer thread's own state.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pool: Arc<Pool<Submission>>,
    pub(super) log: EventLog,
    pub(super) outcomes: Outcomes,
    pub(super) coalesced: Coalesced,
    last_at: Micros,
    pub(super) watch: ClockWatch,
}

impl Writer {
    /// Takes the log's write side.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool<Submission>>, log: EventLog) -> Self {
        let last_at = shared.index.tail().at;
        let watch = ClockWatch::new(&shared);
        Self {
            shared,
            pool,
            log,
            outcomes: Outcomes::default(),
            coalesced: Coalesced::default(),
            last_at,
            watch,
        }
    }

    /// Works until told to stop, and then hands back the log; or until a commit fails, and then
    /// nothing is decided any more.
    pub fn run(mut self, queue: &Receiver<Message>) -> Option<EventLog> {
        loop {
            let mut batch = Batch::after(self.log.head());
            let mut stop = false;
            match queue.recv_timeout(IDLE) {
                Ok(first) => {
                    self.do_chores(&mut batch);
                    stop = self.take_in(first, &mut batch) || self.drain(&mut batch, queue);
                }
                Err(RecvTimeoutError::Disconnected) => stop = true,
                Err(RecvTimeoutError::Timeout) => {
                    self.do_chores(&mut batch);
                    if batch.records.is_empty() {
                        if let Err(error) = self.log.idle() {
                            self.fail(&error, Vec::new(), queue);
                            return None;
                        }
                        continue;
                    }
                }
            }
            if stop {
                self.finish_chores(&mut batch);
            }
            if let Err(replies) = self.commit(batch) {
                self.fail(&"a commit failed", replies, queue);
                return None;
            }
            if stop {
                return Some(self.log);
            }
        }
    }

    /// Decides what is queued, up to the bounds of a batch, and says whether to stop after it.
    pub(super) fn drain(&mut self, batch: &mut Batch, queue: &Receiver<Message>) -> bool {
        while batch.has_room() {
            let Ok(next) = queue.try_recv() else { break };
            if self.take_in(next, batch) {
                return true;
            }
        }
        false
    }

    /// Takes in one message, and says whether it was the last.
    fn take_in(&mut self, message: Message, batch: &mut Batch) -> bool {
        match message {
            Message::Submission(next) => self.take(*next, batch),
            Message::Rewrapped(key_id, count) => self.record_rewrapped(key_id, count, batch),
            Message::LookedUp(next) => self.record_look_up(*next, batch),
            Message::Stop => return true,
        }
        false
    }

    /// Decides one command, or puts it off to a batch of its own.
    fn take(&mut self, submission: Submission, batch: &mut Batch) {
        self.shared.gauges.unqueued();
        match submission.request.command {
            // What follows it outside the log must follow nothing that is not durable yet.
            Command::EraseAccount(_) | Command::RotateKeys(_) => batch.alone.push(submission),
            _ => self.take_now(submission, batch),
        }
    }

    /// Decides one command; a panic in it drops that command only.
    pub(super) fn take_now(&mut self, mut submission: Submission, batch: &mut Batch) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.decide(&mut submission, batch)));
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(
                command = submission.request.command.name(),
                "a decision panicked"
            );
            Verdict::refused(ErrorCode::Internal)
        });
        match outcome {
            Verdict::Answer(outcome) => batch.replies.push((submission.reply, *outcome)),
            // Its evidence has gone stale and costs a hash: it takes the way of a new command, but
            // not before the account that made it stale is there for the pool to read.
            Verdict::GatherAgain => batch.stale.push(submission),
        }
    }

    /// What needs no decision: a deadline that has passed, a command that was done before.
    fn settled(
        &mut self,
        request: &super::Request,
        key: CommandKey,
        now: Micros,
    ) -> Option<Verdict> {
        // An instant of the caller's clock: while log time stands ahead of it, it still counts.
        let wall = self.shared.now();
        if request.deadline.is_some_and(|deadline| wall > deadline) {
            return Some(Verdict::refused(ErrorCode::DeadlineExceeded));
        }
        match self.outcomes.of(&self.shared, key, request, now) {
            Ok(None) => None,
            Ok(Some(outcome)) => Some(Verdict::Answer(Box::new(outcome))),
            Err(error) => {
                tracing::error!(%error, "a stored outcome cannot be read");
                Some(Verdict::refused(ErrorCode::StoreUnavailable))
            }
        }
    }

    fn decide(&mut self, submission: &mut Submission, batch: &mut Batch) -> Verdict {
        let now = self.now();
        let request = &submission.request;
        let key = CommandKey::of(&request.caller.name, &request.command_id);
        if let Some(verdict) = self.settled(request, key, now) {
            return verdict;
        }
        loop {
            let subject = match subject::subject(&self.shared, &submission.request.command) {
                Ok(subject) => subject,
                Err(code) => return Verdict::refused(code),
            };
            let newest = subject
                .stream
                .and_then(|stream| batch.accounts.get(&stream));
            let account = match self.shared.account(&subject, newest) {
                Ok(account) => account,
                Err(code) => return Verdict::refused(code),
            };
            let decision = match self.judge(submission, &account, now, batch) {
                Ok(decision) => decision,
                Err(code) => return Verdict::refused(code),
            };
            match decision {
                Decision::Done { events, reply } if events.is_empty() => {
                    self.count_refusal(&account, &submission.request, reply.as_ref().err());
                    return Verdict::answer(reply, NO_EVENT);
                }
                Decision::Done { events, reply } => {
                    let request = &submission.request;
                    if let Some(Event::UnknownNameRefused(_)) = events.first()
                        && !self.is_stranger_recorded(&subject, request, now)
                    {
                        batch.commits_nothing = true;
                        return self.answer_unrecorded(key, request, now, reply);
                    }
                    let group = Group {
                        made: made(&request.command, &events),
                        origin: Origin::of(&self.shared, request),
                        events,
                        account,
                        now,
                        key,
                    };
                    return self.record(request.tags.exact, &group, reply, batch);
                }
                Decision::Stale => {}
            }
            submission.gatherings += 1;
            if submission.gatherings >= GATHERINGS_MAX {
                return Verdict::refused(ErrorCode::VersionConflict);
            }
            if evidence::is_slow(&self.shared, &submission.request, &account, now) {
                return Verdict::GatherAgain;
            }
            match evidence::gather(&self.shared, &submission.request, &account) {
                Ok(evidence) => submission.evidence = evidence,
                Err(refusal) => return Verdict::refused(refusal.code),
            }
        }
    }

    fn judge(
        &self,
        submission: &Submission,
        account: &Account,
        now: Micros,
        batch: &Batch,
    ) -> Result<Decision, ErrorCode> {
        let request = &submission.request;
        let mut entropy = zeroize::Zeroizing::new([0; ENTROPY_LEN]);
        let filled = self.shared.vault.fill_random(&mut *entropy);
        filled.map_err(|error| {
            tracing::error!(%error, "nothing is decided without random bytes");
            ErrorCode::StoreUnavailable
        })?;
        let requested_at = resets::requested_at(&self.shared, request, batch)?;
        let ctx = Ctx {
            now,
            clock_floor: self.clock_floor(now),
            policy: &self.shared.policy,
            entropy: &entropy,
            caller: &request.caller.name,
            source_key: subject::source_key(&self.shared, account, request)?,
            name_taken: subject::name_taken(&self.shared, &request.command, batch)?,
            next_key_id: rotating::next_key_id(&self.shared, &request.command)?,
            requested_at: &requested_at,
            is_own_account: resets::is_own_account(&self.shared, request, account)?,
        };
        Ok(decide(
            account,
            &request.command,
            &submission.evidence,
            &ctx,
        ))
    }

    /// Takes a decision into the batch, and remembers what it answers.
    fn record(
        &mut self,
        exact_tag: [u8; 16],
        group: &Group,
        reply: Result<Reply, Refusal>,
        batch: &mut Batch,
    ) -> Verdict {
        let details = match batch.record(&self.shared, group) {
            Ok(details) => details,
            Err(error) => {
                tracing::error!(%error, "a decision could not be recorded; it is dropped");
                return Verdict::refused(ErrorCode::StoreUnavailable);
            }
        };
        let begun = self.entomb(batch).and_then(|()| self.rotate(batch));
        if let Err(error) = begun {
            tracing::error!(%error, "a change of the keys could not be begun; it is dropped");
            *batch = Batch::after(batch.head);
            return Verdict::refused(ErrorCode::StoreUnavailable);
        }
        self.recorded_at(group.now);
        let result = reply.map(|reply| Done::new(reply, details, self.shared.now()));
        let stream = batch.entries.last().map(|entry| entry.record.stream_key);
        self.outcomes
            .remember(group.key, stream, exact_tag, group.now, result.clone());
        Verdict::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }

    /// Makes a batch durable and lets its replies leave.
    ///
    /// # Errors
    /// Those who wait for an answer, none of them told, when the commit failed: the outcome is
    /// unknown.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), Vec<ReplyTo>> {
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
        for durable in batch.looks {
            // Whoever waited too long has been refused.
            let _ = durable.try_send(());
        }
        for submission in batch.stale {
            super::proofs::enqueue_proof(&self.pool, &self.shared, submission);
        }
        self.decide_alone(batch.alone)
    }

    /// Answers everything with `outcome.unknown` and stops for good (DESIGN §4.5).
    fn fail(
        &self,
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
        while let Ok(message) = queue.try_recv() {
            if let Message::Submission(submission) = message {
                (submission.reply)(unknown());
            }
        }
    }

    /// Notes when the last event was recorded.
    pub(super) fn recorded_at(&mut self, at: Micros) {
        self.last_at = at;
    }

    /// Log time: it never runs backwards.
    pub(super) fn now(&self) -> Micros {
        self.shared.now().max(self.last_at)
    }
}
