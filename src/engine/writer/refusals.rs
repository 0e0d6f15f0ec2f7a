//! Refusals without a record of their own: how the writer counts, reports and answers them.
//!
//! Known and unknown names are treated alike: a wrong password for either costs an Argon2id, a
//! decision and a durable commit, with or without a record in it.

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::event::reset::v1::RequestRefused;
use countersign_schemas::ids::CommandKey;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::batch::Batch;
use super::verdict::Verdict;
use super::{NO_EVENT, Writer};
use crate::account::rules::quota;
use crate::account::{Account, Reply, service};
use crate::engine::intake::evidence;
use crate::engine::message::Gated;
use crate::engine::{Done, Outcome, Request};

const TOO_MANY_REFUSED: &str = "an agent may have at most 60 a minute in all of refused commands and of queries about accounts that it did not query in the ten minutes before";

impl Writer {
    /// Counts a refusal of an attempt without a comparison, of a request for a reset, or of an act
    /// beyond an agent's limit.
    pub(super) fn count_refusal(
        &mut self,
        account: &Account,
        request: &Request,
        refusal: Option<&Refusal>,
    ) {
        let Some(refusal) = refusal else { return };
        let monotonic = (self.shared.monotonic)();
        let by = &request.caller.name;
        if let (Some(cause), Command::RequestReset(_), Some(stream)) = (
            service::request_refused(refusal.code),
            &request.command,
            account.stream_key(),
        ) {
            if cause == RequestRefused::Quota {
                tracing::error!(
                    by,
                    "ALARM: an agent asked for more resets than one agent may"
                );
            }
            self.coalesced.request(stream, by, cause, monotonic);
        }
        if let Some(act) = quota::exceeded(&request.command, refusal)
            && self.coalesced.act(by, act, monotonic)
        {
            tracing::error!(
                by,
                act = act.as_str(),
                "ALARM: an agent asked to do more over all accounts than one agent may"
            );
        }
        if !service::is_suppressed(refusal.code) {
            return;
        }
        match account.stream_key() {
            Some(stream) => self.coalesced.attempt(stream, monotonic),
            None => self.coalesced.uncompared_name(monotonic),
        }
    }

    /// Returns the refusal that an agent receives. A refusal leaves no record and reveals something
    /// of its account, so each counts as one of the new subjects that the agent's queries may name
    /// in a minute.
    pub(super) fn bounded(&self, request: &Request, refusal: Refusal) -> Refusal {
        if request.caller.role != Role::Support {
            return refusal;
        }
        let caller = (Role::Support, request.caller.name.as_str());
        let now = (self.shared.monotonic)();
        let taken = self.shared.access_records().rates.take(caller, now);
        taken.map_or_else(
            |seconds| Refusal {
                detail: Some(TOO_MANY_REFUSED),
                ..Refusal::after(ErrorCode::QuotaExceeded, seconds)
            },
            |()| refusal,
        )
    }

    /// Records the counts whose minute is over, of at most `max` accounts.
    pub(super) fn report_counts(&mut self, monotonic: Micros, max: usize, batch: &mut Batch) {
        for (stream, count) in self.coalesced.due_attempts(monotonic, max) {
            let event = service::attempts_suppressed(count);
            self.record_own(event, Some(stream), batch);
        }
        for ((stream, by, cause), count) in self.coalesced.due_requests(monotonic, max) {
            let event = service::reset_requests_refused(by, cause, count);
            self.record_own(event, Some(stream), batch);
        }
        for ((by, act), count) in self.coalesced.due_acts(monotonic, max) {
            self.record_own(service::agent_acts_refused(by, act, count), None, batch);
        }
        if let Some(count) = self.coalesced.due_names(monotonic) {
            self.record_own(service::unknown_names_refused(count), None, batch);
        }
        let uncounted = self.coalesced.take_overflow();
        if uncounted > 0 {
            tracing::warn!(
                uncounted,
                "attempts were refused at more accounts than are counted one by one"
            );
        }
    }

    /// Counts a wrong password beside the account, for known and unknown names: at its address over
    /// all names, and at the text that names the account. A right one clears the count at the text,
    /// as it does at the account. A wrong pair that bypassed a wait counts only at its address, so
    /// that no other user waits longer, and at the account if the code was right: see
    /// [`crate::engine::counts::right_codes`].
    pub(super) fn count_proof(
        &mut self,
        gated: &Gated,
        request: &Request,
        (events, has_right_code): (&[Event], bool),
        is_done: bool,
    ) {
        let (now, policy) = (self.now(), &self.shared.policy);
        let (text, source) = (gated.subject.text, gated.at_text);
        let passed_a_wait = gated.source_waits_s.is_some() && evidence::is_pair(&request.command);
        match events.first() {
            Some(Event::LoginPairRejected(_)) => {
                self.pair_budget.failed(request.source(), now, policy);
                if let Some(account) = gated.subject.stream.filter(|_| has_right_code) {
                    self.right_codes.failed(account, now, policy);
                }
            }
            Some(Event::UnknownNameRefused(_)) if passed_a_wait => {
                self.pair_budget.failed(request.source(), now, policy);
            }
            Some(Event::UnknownNameRefused(_) | Event::PasswordRejected(_)) => {
                self.source_budget.failed(request.source(), now, policy);
                self.by_text.failed(text, source, now, policy);
            }
            _ if is_done && evidence::is_proven_by_password(&request.command) => {
                self.by_text.succeeded(&text, source);
            }
            _ => {}
        }
    }

    /// Answers a refusal that a later record reports; it is kept in memory for repeats.
    pub(super) fn answer_unrecorded(
        &mut self,
        key: CommandKey,
        request: &Request,
        now: Micros,
        reply: Result<Reply, Refusal>,
    ) -> Verdict {
        let details = NO_EVENT;
        let result = reply.map(|reply| Done::new(reply, details, details.at));
        let kept_by = (key, None, request.tags.exact);
        self.outcomes
            .remember(&self.shared.vault, kept_by, now, result.clone());
        Verdict::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }
}
