//! A command's way through the writer: its gate, its steps, its decision.
//!
//! ```text
//!   new ─▶ is its account busy? ─▶ gate ──refused──▶ answer
//!            │ yes: it waits         │ needs a step
//!            ▼                       ▼
//!          lane ◀─ released ── quick: taken here; slow: pool or password service ─▶ back to the gate
//! ```
//!
//! The gate is [`decide`] itself, called before anything is compared. From the first comparison on
//! the command keeps its account's lane until it is decided. So it is decided on the state that the
//! gate saw, and its wrong guesses are recorded: no deadline, stop or full queue comes in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::across;
use super::batch::{Batch, Group, Origin, made};
use super::verdict::Verdict;
use super::{NO_EVENT, Writer};
use crate::account::{Ctx, Decision, ENTROPY_LEN, Reply, Step, decide};
use crate::engine::intake::password_service;
use crate::engine::intake::pool::Sender;
use crate::engine::intake::{evidence, subject};
use crate::engine::message::{Gated, Submission};
use crate::engine::{Done, Outcome, PasswordsBy};

/// Steps of one command; no rule needs more.
const STEPS_MAX: u8 = 4;

impl Writer {
    /// Starts a new command, or one that waited for its account.
    pub(super) fn take(&mut self, submission: Box<Submission>, batch: &mut Batch) {
        match submission.request.command {
            // Their work outside the log must not precede the commit of earlier events.
            Command::EraseAccount(_) | Command::RotateKeys(_) => batch.alone.push(*submission),
            _ => self.take_now(submission, batch),
        }
    }

    /// Starts a command in this batch, unless its account is busy.
    pub(super) fn take_now(&mut self, mut submission: Box<Submission>, batch: &mut Batch) {
        let gated = match self.gated(&submission, batch) {
            Ok(gated) => gated,
            Err(code) => return batch.answer(*submission, Outcome::refused(code)),
        };
        let lane = gated.subject.queue_key();
        let lane = match self.lanes.under_way(&gated.key) {
            None => lane,
            // A repeat under way: it waits for the first, whose outcome it gets.
            Some((other, tag)) if tag == submission.request.tags.exact => other,
            Some((other, _)) if other == lane => lane,
            Some(_) => {
                let outcome = Outcome::refused(ErrorCode::IdempotencyMismatch);
                return batch.answer(*submission, outcome);
            }
        };
        if self.lanes.is_busy(&lane) {
            if let Some(turned_away) = self.lanes.park(&lane, *submission) {
                batch.answer(turned_away, self.no_room());
            }
            return;
        }
        submission.gated = Some(gated);
        self.advance(submission, batch);
    }

    /// Returns the state that the gate sees for a command.
    fn gated(&self, submission: &Submission, batch: &Batch) -> Result<Gated, ErrorCode> {
        let request = &submission.request;
        let subject = subject::subject(&self.shared, &request.command)?;
        let newest = subject
            .stream
            .and_then(|stream| batch.accounts.get(&stream));
        let at = self.now();
        let at_text = self.shared.text_file.source_key(request.source());
        let for_this_text = self.by_text.waiting_s(&subject.text, at_text, at);
        let policy = &self.shared.policy;
        let over_all_names = self.source_budget.waiting_s(request.source(), at, policy);
        let over_pairs = self.pair_budget.waiting_s(request.source(), at, policy);
        let of_account = |stream| self.right_codes.waiting_s(&stream, at);
        let behind_a_right_code = subject.stream.and_then(of_account);
        let account = self.shared.account(&subject, newest)?;
        Ok(Gated {
            pair_waits_s: over_pairs.max(behind_a_right_code),
            source_waits_s: over_all_names.max(for_this_text),
            at_account: subject::source_key(&self.shared, &subject, &account, request)?,
            at_text,
            account,
            subject,
            key: CommandKey::of(&request.caller.name, &request.command_id),
            at,
            clock_floor: self.clock_floor(at),
        })
    }

    /// Takes a command back from a step: it continues, or is refused if nothing was compared.
    pub(super) fn stepped(
        &mut self,
        mut submission: Box<Submission>,
        stepped: Result<(), ErrorCode>,
        batch: &mut Batch,
    ) {
        let stepped = stepped.and_then(|()| self.renew(&mut submission, batch));
        match stepped {
            Ok(()) => self.advance(submission, batch),
            Err(code) => {
                self.finish(submission, Outcome::refused(code), batch);
            }
        }
    }

    /// Takes the newest state of the account: no command was decided on it, but the service itself
    /// may have recorded a count there.
    fn renew(&self, submission: &mut Submission, batch: &Batch) -> Result<(), ErrorCode> {
        if let Some(gated) = &mut submission.gated {
            let stream = gated.subject.stream;
            let newest = stream.and_then(|stream| batch.accounts.get(&stream));
            gated.account = self.shared.account(&gated.subject, newest)?;
        }
        Ok(())
    }

    /// Brings a command to its decision or to its next slow step; a panic drops that command only.
    fn advance(&mut self, mut submission: Box<Submission>, batch: &mut Batch) {
        let verdict = catch_unwind(AssertUnwindSafe(|| self.decide(&mut submission, batch)));
        let verdict = verdict.unwrap_or_else(|_| {
            tracing::error!(
                command = submission.request.command.name(),
                "a decision panicked"
            );
            Verdict::refused(ErrorCode::Internal)
        });
        match verdict {
            Verdict::Answer(outcome) => self.finish(submission, *outcome, batch),
            Verdict::Needs(step) => self.begin(submission, step, batch),
        }
    }

    /// Answers a command, and lets the commands that waited for its account have their turns.
    fn finish(&mut self, submission: Box<Submission>, outcome: Outcome, batch: &mut Batch) {
        if submission.is_under_way {
            self.source_budget.ended(submission.request.source());
            if evidence::is_pair(&submission.request.command) {
                self.pair_budget.ended(submission.request.source());
            }
        }
        let gated = submission.gated.as_ref();
        let lane = gated.map(|gated| gated.subject.queue_key());
        batch.answer(*submission, outcome);
        for next in lane.map_or_else(Vec::new, |lane| self.lanes.release(&lane)) {
            self.take(Box::new(next), batch);
        }
    }

    /// Begins a slow step; its account is busy until the command is decided.
    fn begin(&mut self, mut submission: Box<Submission>, step: Step, batch: &mut Batch) {
        let Some(gated) = &submission.gated else {
            return;
        };
        let (lane, key) = (gated.subject.queue_key(), gated.key);
        self.lanes.hold(lane, key, submission.request.tags.exact);
        if step == Step::ComparePassword && !submission.is_under_way {
            submission.is_under_way = true;
            self.source_budget.begun(submission.request.source());
            if evidence::is_pair(&submission.request.command) {
                self.pair_budget.begun(submission.request.source());
            }
        }
        if step == Step::ComparePassword
            && password_service::is_elsewhere(&self.shared, &submission.request.command)
        {
            if let Some(submission) = password_service::ask(&self.shared, &self.to_self, submission)
            {
                self.advance(submission, batch);
            }
            return;
        }
        // Also if the password service compared the password: the steps that follow are not
        // refused.
        if submission.is_admitted || submission.evidence.has_compared() {
            return self.pool.go_on((submission, step));
        }
        submission.is_admitted = true;
        let sender = Sender::of(&submission);
        match self.pool.submit(sender, (submission, step)) {
            Ok(None) => {}
            Ok(Some((shed, _))) | Err((shed, _)) => {
                let outcome = self.no_room();
                self.finish(shed, outcome, batch);
            }
        }
    }

    /// Returns the outcome of a command that finds no room: nothing of it was compared.
    fn no_room(&self) -> Outcome {
        self.shared.gauges.shed();
        Outcome::refused(match self.is_stopping() {
            true => ErrorCode::Draining,
            false => ErrorCode::Overloaded,
        })
    }

    /// Returns the outcome if no decision is needed: a deadline has passed, or the command was done
    /// before.
    fn settled(
        &mut self,
        request: &crate::engine::Request,
        key: CommandKey,
        now: Micros,
    ) -> Option<Verdict> {
        // A deadline is an instant of the caller's clock, so the wall clock decides, not log time.
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
        let Some(gated) = submission.gated.clone() else {
            return Verdict::refused(ErrorCode::Internal);
        };
        if submission.steps == 0 {
            if let Some(verdict) = self.settled(&submission.request, gated.key, now) {
                return verdict;
            }
            match evidence::first(&self.shared, &submission.request, &gated.account) {
                Ok(first) => submission.evidence = first,
                Err(code) => return Verdict::refused(code),
            }
        }
        loop {
            let step = match self.judge(submission, &gated, now, batch) {
                Ok(Decision::Done { events, reply }) => {
                    return self.done(submission, &gated, now, (events, reply), batch);
                }
                Ok(Decision::Needs(step)) => step,
                Err(code) => return Verdict::refused(code),
            };
            if submission.steps == STEPS_MAX {
                tracing::error!(?step, "ALARM: a decision asks for ever more steps");
                return Verdict::refused(ErrorCode::Internal);
            }
            submission.steps += 1;
            if !evidence::is_quick(&submission.request, step, submission.is_admitted) {
                return Verdict::Needs(step);
            }
            let (request, found) = (&submission.request, &mut submission.evidence);
            if let Err(code) = evidence::take(&self.shared, request, &gated.account, step, found) {
                return Verdict::refused(code);
            }
        }
    }

    /// Records a decision with the time for which it was made: its events name times derived from
    /// it, and deciding it again has only the record's time.
    fn done(
        &mut self,
        submission: &Submission,
        gated: &Gated,
        now: Micros,
        (events, reply): (Vec<Event>, Result<Reply, Refusal>),
        batch: &mut Batch,
    ) -> Verdict {
        let request = &submission.request;
        if events.is_empty() {
            self.count_refusal(&gated.account, request, reply.as_ref().err());
            let reply = reply.map_err(|refusal| self.bounded(request, refusal));
            return Verdict::answer(reply, NO_EVENT);
        }
        let has_right_code = submission.evidence.code.has_matched();
        self.count_proof(gated, request, (&events, has_right_code), reply.is_ok());
        if let Some(Event::UnknownNameRefused(_)) = events.first()
            && !self.coalesced.is_name_recorded((self.shared.monotonic)())
        {
            batch.commits_nothing = true;
            return self.answer_unrecorded(gated.key, request, now, reply);
        }
        let group = Group {
            made: made(&request.command, &events),
            origin: Origin::of(&self.shared, request),
            events,
            account: Arc::clone(&gated.account),
            now,
            key: gated.key,
        };
        self.record(request.tags.exact, &group, reply, batch)
    }

    fn judge(
        &self,
        submission: &Submission,
        gated: &Gated,
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
        let requested_at = across::requested_at(&self.shared, request, batch)?;
        let ctx = Ctx {
            now,
            gated_at: gated.at,
            clock_floor: gated.clock_floor,
            policy: &self.shared.policy,
            entropy: &entropy,
            caller: &request.caller.name,
            source_key: gated.at_account,
            source_waits_s: gated.source_waits_s,
            pair_waits_s: gated.pair_waits_s,
            is_elsewhere: self.shared.passwords_by != PasswordsBy::Countersign,
            name_taken: across::name_taken(&self.shared, &request.command, batch)?,
            next_key_id: across::next_key_id(&self.shared, &request.command)?,
            requested_at: &requested_at,
            is_own_account: across::is_own_account(&self.shared, request, &gated.account)?,
        };
        let evidence = &submission.evidence;
        Ok(decide(&gated.account, &request.command, evidence, &ctx))
    }

    /// Adds a decision to the batch, and remembers its outcome.
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
        let begun = match group.events.last() {
            Some(Event::AccountErased(_)) => self.entomb(batch),
            Some(Event::KeysRotated(rotated)) => self.rotate(rotated.key_id, group.now),
            _ => Ok(()),
        };
        if let Err(error) = begun {
            tracing::error!(%error, "a change of the keys could not be begun; it is dropped");
            *batch = self.empty_batch();
            return Verdict::refused(ErrorCode::StoreUnavailable);
        }
        self.recorded_at(group.now);
        let result = reply.map(|reply| Done::new(reply, details, self.shared.now()));
        let stream = batch.entries.last().map(|entry| entry.record.stream_key);
        let kept_by = (group.key, stream, exact_tag);
        self.outcomes
            .remember(&self.shared.vault, kept_by, group.now, result.clone());
        Verdict::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }
}
