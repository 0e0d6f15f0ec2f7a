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
use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::batch::{Batch, Group};
use super::outcomes::Outcomes;
use super::pool::Pool;
use super::subject::unavailable;
use super::vault::fill_random;
use super::{Done, GATHERINGS_MAX, Message, Outcome, ReplyTo, Request, Shared, Submission};
use super::{evidence, subject};
use crate::account::{Account, Ctx, Decision, ENTROPY_LEN, Reply, decide};
use crate::crash_point::reached;
use crate::log::EventLog;

/// Events in one batch; the group that reaches it may end.
const BATCH_EVENTS_MAX: usize = 512;
/// Bytes in one batch; the group that reaches it may end.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long the writer is idle before it makes reopening instant.
const IDLE: Duration = Duration::from_secs(1);

/// The writer thread's own state.
pub struct Writer {
    shared: Arc<Shared>,
    pool: Arc<Pool<Submission>>,
    log: EventLog,
    outcomes: Outcomes,
    last_at: Micros,
}

impl Writer {
    /// Takes the log's write side.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool<Submission>>, log: EventLog) -> Self {
        let last_at = shared.index.tail().at;
        Self {
            shared,
            pool,
            log,
            outcomes: Outcomes::default(),
            last_at,
        }
    }

    /// Works until told to stop, or until a commit fails; then nothing is decided any more.
    pub fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let first = match queue.recv_timeout(IDLE) {
                Ok(Message::Submission(first)) => first,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.log.idle() {
                        return self.fail(&error, Vec::new(), queue);
                    }
                    continue;
                }
            };
            let (batch, stop) = self.drain(*first, queue);
            if let Err(replies) = self.commit(batch) {
                let error = "a commit failed";
                return self.fail(&error, replies, queue);
            }
            if stop {
                break;
            }
        }
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log did not close cleanly; it is repaired at the next start");
        }
    }

    /// Decides what is queued, up to the bounds of a batch.
    fn drain(&mut self, first: Submission, queue: &Receiver<Message>) -> (Batch, bool) {
        let mut batch = Batch::after(self.log.head());
        self.take(first, &mut batch);
        while batch.records.len() < BATCH_EVENTS_MAX && batch.bytes < BATCH_BYTES_MAX {
            match queue.try_recv() {
                Ok(Message::Submission(next)) => self.take(*next, &mut batch),
                Ok(Message::Stop) => return (batch, true),
                Err(_) => break,
            }
        }
        (batch, false)
    }

    /// Decides one command; a panic in it drops that command only.
    fn take(&mut self, mut submission: Submission, batch: &mut Batch) {
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

    fn decide(&mut self, submission: &mut Submission, batch: &mut Batch) -> Verdict {
        let request = &submission.request;
        let now = self.now();
        if request.deadline.is_some_and(|deadline| now > deadline) {
            return Verdict::refused(ErrorCode::DeadlineExceeded);
        }
        let key = CommandKey::of(&request.caller.name, &request.command_id);
        match self.outcomes.of(&self.shared, key, &request.body_tag, now) {
            Ok(None) => {}
            Ok(Some(outcome)) => return Verdict::Answer(Box::new(outcome)),
            Err(error) => {
                tracing::error!(%error, "a stored outcome cannot be read");
                return Verdict::refused(ErrorCode::StoreUnavailable);
            }
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
                    return Verdict::answer(
                        reply,
                        Details {
                            position: 0,
                            version: 0,
                            at: now,
                        },
                    );
                }
                Decision::Done { events, reply } => {
                    let group = Group {
                        events,
                        subject,
                        account,
                        now,
                        key,
                    };
                    return self.record(&submission.request, &group, reply, batch);
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
        fill_random(&mut *entropy).map_err(|error| {
            tracing::error!(%error, "nothing is decided without random bytes");
            ErrorCode::StoreUnavailable
        })?;
        let ctx = Ctx {
            now,
            policy: &self.shared.policy,
            entropy: &entropy,
            caller: &request.caller.name,
            source_key: subject::source_key(&self.shared.vault, request),
            name_taken: self.name_taken(&request.command, batch)?,
        };
        Ok(decide(
            account,
            &request.command,
            &submission.evidence,
            &ctx,
        ))
    }

    fn name_taken(&self, command: &Command, batch: &Batch) -> Result<bool, ErrorCode> {
        match command {
            Command::RegisterAccount(c) => {
                let name = self.shared.vault.keyring().name_hash(c.username.as_str());
                let holder = self
                    .shared
                    .index
                    .name(&name)
                    .map_err(|error| unavailable(&error))?;
                Ok(holder.is_some() || batch.has_name(&name))
            }
            Command::ChangePassword(_)
            | Command::Enable2fa(_)
            | Command::ConfirmCode(_)
            | Command::CancelEnrolment(_)
            | Command::RegenerateBackupCodes(_)
            | Command::Disable2fa(_)
            | Command::StartLogin(_)
            | Command::VerifyLogin(_) => Ok(false),
        }
    }

    /// Takes a decision into the batch, and remembers what it answers.
    fn record(
        &mut self,
        request: &Request,
        group: &Group,
        reply: Result<Reply, Refusal>,
        batch: &mut Batch,
    ) -> Verdict {
        let details = match batch.record(&self.shared, request, group) {
            Ok(details) => details,
            Err(error) => {
                tracing::error!(%error, "a decision could not be recorded; it is dropped");
                return Verdict::refused(ErrorCode::StoreUnavailable);
            }
        };
        self.last_at = group.now;
        let result = reply.map(|reply| Done { reply, details });
        self.outcomes
            .remember(group.key, request.body_tag, group.now, result.clone());
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
    fn commit(&mut self, mut batch: Batch) -> Result<(), Vec<ReplyTo>> {
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
        }
        for (reply, outcome) in batch.replies {
            reply(outcome);
            reached("after-reply");
        }
        for submission in batch.stale {
            super::enqueue_proof(&self.pool, &self.shared, submission);
        }
        Ok(())
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

    /// Log time: it never runs backwards.
    fn now(&self) -> Micros {
        self.shared.now().max(self.last_at)
    }
}

/// What became of one command in the batch.
enum Verdict {
    Answer(Box<Outcome>),
    GatherAgain,
}

impl Verdict {
    fn answer(reply: Result<Reply, Refusal>, details: Details) -> Self {
        let result = reply.map(|reply| Done { reply, details });
        Self::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }

    fn refused(code: ErrorCode) -> Self {
        Self::Answer(Box::new(Outcome::refused(code)))
    }
}
