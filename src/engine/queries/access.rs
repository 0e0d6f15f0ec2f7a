//! Viewing a person's history leaves an access record: before the answer leaves, and without a
//! flood.
//!
//! ```text
//!   query ─▶ answer from the views ─▶ recorded within 10 minutes? ─yes─▶ reply
//!                                       │ no
//!                                       └─▶ writer: SubjectViewed, one commit ─▶ reply
//! ```
//! An access record covers every further access by the same caller, on behalf of the same person,
//! to the same subject by the same query, for ten minutes of the monotonic clock. The table of
//! these records is in memory and bounded; an access whose record it forgot is recorded once more.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use countersign_schemas::event::Event;
use countersign_schemas::event::audit::v1::OperatorAct;
use countersign_schemas::ids::{AccountId, Reason};
use countersign_schemas::refusal::{ErrorCode, Refusal};

use crate::account::service;
use crate::engine::Queries;
use crate::engine::message::Message;
use crate::engine::message::PendingAccess;
use crate::engine::request::Viewer;
use crate::engine::shared::access_records::{Recorded, key_of};

/// How long an answer waits for its access record to be durable.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
const TOO_MANY: &str = "each caller has 60 requests a minute that leave a new access record: one for each account, username or list that it did not query in the ten minutes before, and one for each act";

/// The access that a record describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// One account, or several at once, viewed by the query of this name.
    Viewed(Option<&'a AccountId>, &'static str),
    /// Events exported in this form; the filter beside the account is JSON.
    Exported(Option<&'a AccountId>, &'static str, String),
}

impl Access<'_> {
    /// Returns the query's name.
    pub fn query(&self) -> &'static str {
        match self {
            Self::Viewed(_, query) => query,
            Self::Exported(_, "records", _) => "audit-records",
            Self::Exported(..) => "audit-export",
        }
    }

    fn event(&self) -> Event {
        match self {
            Self::Viewed(account, query) => service::subject_viewed(*account, query),
            Self::Exported(account, format, filter) => {
                service::audit_exported(*account, format, filter)
            }
        }
    }
}

impl Queries {
    /// Admits or refuses a query: a caller may name at most sixty subjects a minute that have no
    /// access record, whether they exist or not. `access` is given if the request alone
    /// shows its subject. Refused queries are counted, and `look-ups-counted` reports their number.
    ///
    /// # Errors
    /// `quota.exceeded`, with the seconds to wait.
    pub fn admit_access(
        &self,
        viewer: &Viewer,
        query: &'static str,
        access: Option<&Access>,
    ) -> Result<(), Refusal> {
        let now = (self.shared.monotonic)();
        let mut records = self.shared.access_records();
        records.forget_old(now);
        let is_on_record = |access: &Access| {
            let key = key_of(viewer, &access.event());
            records.recent.contains_key(&key)
        };
        if access.is_some_and(is_on_record) {
            return Ok(());
        }
        let caller = (viewer.caller.role, viewer.caller.name.as_str());
        records.rates.take(caller, now).map_err(|seconds| {
            records.refused(viewer, query, now);
            Refusal {
                detail: Some(TOO_MANY),
                ..Refusal::after(ErrorCode::QuotaExceeded, seconds)
            }
        })
    }

    /// Makes sure that an access is recorded before its answer leaves; waits for a commit if no
    /// record of the last ten minutes covers it. To be called once the answer is known to be a
    /// success.
    ///
    /// # Errors
    /// `store.unavailable` if the record did not become durable in time: the answer must not leave.
    pub fn record_access(&self, viewer: &Viewer, access: &Access) -> Result<(), Refusal> {
        let event = access.event();
        let key = key_of(viewer, &event);
        let now = (self.shared.monotonic)();
        if self.shared.access_records().counts(&key, now) {
            return Ok(());
        }
        self.record(viewer, event.clone())?;
        let record = Recorded {
            event,
            viewer: viewer.clone(),
            further: 0,
        };
        self.shared.access_records().insert(key, record, now);
        Ok(())
    }

    /// Records an operator's act with its reason, before the act begins. Each act has a record of
    /// its own; one operator may cause sixty records a minute, accesses included.
    ///
    /// # Errors
    /// `quota.exceeded`, with the seconds to wait. `store.unavailable` if the record did not become
    /// durable in time: the act must not begin.
    pub fn record_act(
        &self,
        viewer: &Viewer,
        (act, view): (OperatorAct, Option<&str>),
        reason: &Reason,
    ) -> Result<(), Refusal> {
        self.admit_access(viewer, act.as_str(), None)?;
        self.record(viewer, service::operator_acted(act, view, reason.as_str()))
    }

    /// Waits until the event is durable.
    fn record(&self, viewer: &Viewer, event: Event) -> Result<(), Refusal> {
        let unavailable = || Refusal::new(ErrorCode::StoreUnavailable);
        let (durable, recorded) = sync_channel(1);
        let pending = PendingAccess {
            event,
            viewer: viewer.clone(),
            durable,
        };
        // Each query thread has at most one under way.
        let sent = self.queue.send(Message::Accessed(Box::new(pending)));
        sent.map_err(|_| unavailable())?;
        recorded
            .recv_timeout(COMMIT_WAIT)
            .map_err(|_| unavailable())
    }
}
