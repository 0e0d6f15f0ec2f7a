//! Explains a recorded decision: the account's state, the policy in force, why the result followed,
//! and that deciding it again gives the same result.

use countersign_projections::{Entry, Filter, audit_event};
use countersign_schemas::audit::{AuditExplainQuery, ExplainedVerdict, Explanation, RerunResult};
use countersign_schemas::event::Event;
use countersign_schemas::record::StreamKind;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::reply::LoginStatus;
use countersign_schemas::strict::DecodeError;

use super::{type_codes, unavailable};
use crate::account::explain::reasons::{Verdict, reasons, verdict};
use crate::account::explain::recording::{Recording, Rerun};
use crate::account::explain::rerun::rerun;
use crate::account::explain::taken_as_recorded::taken_as_recorded;
use crate::account::{Account, Policy};
use crate::engine::Queries;

impl Queries {
    /// Explains the decision to which an event belongs, and decides it again from the log alone.
    ///
    /// # Errors
    /// `request.invalid` for a position that the log does not have, `projection.behind`,
    /// `store.unavailable`.
    pub fn audit_explain(&self, query: &AuditExplainQuery) -> Result<Explanation, Refusal> {
        let head = self.shared.progress.committed();
        if !(1..=head).contains(&query.position) {
            return Err(DecodeError::at("/position", "the log has no such position").into());
        }
        let entries = self.group(query.position)?;
        let (first, record) = (&entries[0], &entries[0].record);
        let events: Vec<Event> = entries.iter().map(|entry| entry.event.clone()).collect();
        let (policy_position, policy) = self.policy_before(first.position)?;
        let is_of_account = record.stream_kind == StreamKind::Account;
        let before = match is_of_account {
            true => self
                .shared
                .accounts
                .rebuild(record.stream_key, record.version - 1, first.position)
                .map_err(|error| unavailable(&error))?,
            false => Account::default(),
        };
        let found = self.across(first, &events, &before, &policy)?;
        let recording = Recording {
            before: &before,
            account_id: &record.meta.account_id,
            events: &events,
            at: record.recorded_at,
            caller: &record.meta.caller,
            role: record.meta.role,
            source_key: record.meta.source_key,
            policy: &policy,
            across: found.across(),
        };
        let (rerun, rerun_detail) = match rerun(&recording) {
            Rerun::Same => (RerunResult::Same, None),
            Rerun::Different(what) => (RerunResult::Different, Some(what)),
            Rerun::Not(why) => (RerunResult::NotMade, Some(why.to_owned())),
        };
        let status_before = match is_of_account {
            true => self.status_before(first)?,
            false => None,
        };
        Ok(Explanation {
            verdict: match verdict(&events) {
                Verdict::Allowed => ExplainedVerdict::Allowed,
                Verdict::Refused => ExplainedVerdict::Refused,
                Verdict::Recorded => ExplainedVerdict::Recorded,
            },
            because: reasons(&before, &events, record.recorded_at, &policy),
            before: status_before,
            policy_position,
            rerun,
            rerun_detail,
            taken_as_recorded: taken_as_recorded(&recording)
                .into_iter()
                .map(Into::into)
                .collect(),
            events: entries
                .iter()
                .map(|entry| audit_event(entry, self.source(entry)))
                .collect(),
        })
    }

    /// Returns every event of the group to which one of them belongs.
    fn group(&self, position: u64) -> Result<Vec<Entry<'static>>, Refusal> {
        let one = self.entry(position)?;
        let first = position - u64::from(one.record.group_index);
        let end = first + u64::from(one.record.group_len);
        (first..end).map(|position| self.entry(position)).collect()
    }

    fn status_before(&self, first: &Entry) -> Result<Option<LoginStatus>, Refusal> {
        let position = first.position - 1;
        let row = self.row_at(&first.record.stream_key, position)?;
        Ok(row.map(|row| {
            row.status(
                first.record.recorded_at,
                position,
                self.shared.policy.low_codes,
            )
        }))
    }

    /// Returns the policy that was in force before a position; the default before the first.
    fn policy_before(&self, position: u64) -> Result<(u64, Policy), Refusal> {
        let filter = Filter {
            types: type_codes(Some(&["policy-in-force".to_owned()]))?,
            ..Filter::default()
        };
        let policies = self.positions_between(&filter, 0, position)?;
        let Some(&last) = policies.last() else {
            return Ok((0, Policy::default()));
        };
        let Event::PolicyInForce(found) = self.entry(last)?.event else {
            return Err(unavailable(
                &"the audit trail names a policy where there is none",
            ));
        };
        let policy = serde_json::from_str(&found.policy).map_err(|error| unavailable(&error))?;
        Ok((last, policy))
    }
}
