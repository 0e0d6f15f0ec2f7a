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
use crate::engine::message::Looking;
use crate::engine::message::Message;
use crate::engine::request::Viewer;
use crate::engine::shared::recorded_looks::{Recorded, key_of};

/// How long an answer waits for its access record to be durable.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
const TOO_MANY: &str = "each caller has 60 requests a minute that leave a new access record: one for each account, username or list that it did not query in the ten minutes before, and one for each act";

/// The access that a record describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookUp<'a> {
    /// One account, or several at once, viewed by the query of this name.
    Viewed(Option<&'a AccountId>, &'static str),
    /// Events exported in this form; the filter beside the account is JSON.
    Exported(Option<&'a AccountId>, &'static str, String),
}

impl LookUp<'_> {
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
    /// access record, whether they exist or not. `look_up` is the access, if the request alone
    /// shows its subject. Refused queries are counted, and `look-ups-counted` reports their number.
    ///
    /// # Errors
    /// `quota.exceeded`, with the seconds to wait.
    pub fn admit_look_up(
        &self,
        viewer: &Viewer,
        query: &'static str,
        look_up: Option<&LookUp>,
    ) -> Result<(), Refusal> {
        let now = (self.shared.monotonic)();
        let mut looks = self.shared.look_ups();
        looks.forget_old(now);
        let is_on_record = |look_up: &LookUp| {
            let key = key_of(viewer, &look_up.event());
            looks.looks.contains_key(&key)
        };
        if look_up.is_some_and(is_on_record) {
            return Ok(());
        }
        let caller = (viewer.caller.role, viewer.caller.name.as_str());
        looks.rates.take(caller, now).map_err(|seconds| {
            looks.refused(viewer, query, now);
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
    pub fn record_look_up(&self, viewer: &Viewer, look_up: &LookUp) -> Result<(), Refusal> {
        let event = look_up.event();
        let key = key_of(viewer, &event);
        let now = (self.shared.monotonic)();
        if self.shared.look_ups().counts(&key, now) {
            return Ok(());
        }
        self.record(viewer, event.clone())?;
        let look = Recorded {
            event,
            viewer: viewer.clone(),
            further: 0,
        };
        self.shared.look_ups().insert(key, look, now);
        Ok(())
    }

    /// Records an operator's act with its reason, before the act begins. Each act has a record of
    /// its own; one operator may ask for sixty in a minute, look-ups included.
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
        self.admit_look_up(viewer, act.as_str(), None)?;
        self.record(viewer, service::operator_acted(act, view, reason.as_str()))
    }

    /// Waits until the event is durable.
    fn record(&self, viewer: &Viewer, event: Event) -> Result<(), Refusal> {
        let unavailable = || Refusal::new(ErrorCode::StoreUnavailable);
        let (durable, recorded) = sync_channel(1);
        let looking = Looking {
            event,
            viewer: viewer.clone(),
            durable,
        };
        // Each query thread has at most one under way.
        let sent = self.queue.send(Message::LookedUp(Box::new(looking)));
        sent.map_err(|_| unavailable())?;
        recorded
            .recv_timeout(COMMIT_WAIT)
            .map_err(|_| unavailable())
    }
}
