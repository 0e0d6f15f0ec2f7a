//! Refusals without a record of their own: how the writer counts, tells and answers them.
//!
//! The known and the unknown name stay alike: a wrong password for either costs an Argon2id, a
//! decision and a durable commit, with a record in it or not.

use countersign_schemas::command::Command;
use countersign_schemas::event::reset::v1::RequestRefused;
use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::time::Micros;

use super::batch::Batch;
use super::subject::Subject;
use super::verdict::Verdict;
use super::writer::{NO_EVENT, Writer};
use super::{Done, Outcome, Request};
use crate::account::{Account, Reply, quota, service};

impl Writer {
    /// Counts a refusal of an attempt that was not compared, of a request for a reset, or of what an
    /// agent did too often.
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

    /// Records the counts whose minute is over, those of at most `max` accounts.
    pub(super) fn tell_counts(&mut self, monotonic: Micros, max: usize, batch: &mut Batch) {
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

    /// Counts a login of an unknown name as an account would count it, and says whether it has a
    /// record of its own.
    pub(super) fn is_stranger_recorded(
        &mut self,
        subject: &Subject,
        request: &Request,
        now: Micros,
    ) -> bool {
        let source = self.shared.vault.stranger_source_key(request.source());
        let policy = &self.shared.policy;
        self.shared
            .strangers_mut()
            .failed(subject.stranger, source, now, policy);
        self.coalesced.is_name_recorded((self.shared.monotonic)())
    }

    /// Answers a refusal that a later record tells of; it is kept in memory for repeats.
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
