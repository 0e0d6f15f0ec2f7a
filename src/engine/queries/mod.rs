//! Answers from the views; nothing here decides.

pub(super) mod access;
pub(super) mod admin;
pub(super) mod audit;
pub(super) mod explain;
pub(super) mod explain_across;
pub(super) mod export;
pub(super) mod page_room;
pub(super) mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign_projections::{Entry, Filter, Projection, audit_event};
use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery, page_limit};
use countersign_schemas::record::SourceFacts;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::{AuditPage, LoginStatus};
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;

use super::keys::vault::{OpenedSource, VaultError};
use super::message::ToWriter;
use super::shared::Shared;
use crate::engine::request::PasswordsBy;
use crate::log::LogReader;
use page_room::PageRoom;

/// How long a query waits for a view (docs/reference/contract.md#deadlines-and-positions).
const VIEW_WAIT: Duration = Duration::from_millis(500);
/// Events beyond a page's limit that are read to find where a group ends; no command has more.
const GROUP_ROOM: usize = 8;

/// The queries; every call may block for [`VIEW_WAIT`].
#[derive(Clone)]
pub struct Queries {
    pub(super) shared: Arc<Shared>,
    /// The writer's queue, for access records.
    pub(super) queue: ToWriter,
    pub(in crate::engine) log: LogReader,
}

impl Queries {
    /// Waits until the log has the position that a caller names. The readers of a view wait for the
    /// view themselves.
    ///
    /// # Errors
    /// `projection.behind` if the log does not reach it in time.
    pub fn reached(&self, min_position: Option<u64>) -> Result<(), Refusal> {
        let wanted = min_position.unwrap_or(0);
        in_time(self.shared.progress.wait_committed(wanted, VIEW_WAIT))
    }

    /// Whether the log has the position that a caller names, without waiting.
    pub fn has_reached(&self, min_position: Option<u64>) -> bool {
        min_position.is_none_or(|wanted| self.shared.progress.committed() >= wanted)
    }

    /// Returns what a login check may know of an account.
    ///
    /// # Errors
    /// `account.not_found`, `projection.behind`, `store.unavailable`.
    pub fn login_status(
        &self,
        account: &AccountId,
        min_position: Option<u64>,
    ) -> Result<LoginStatus, Refusal> {
        self.reached(min_position)?;
        let view = self.shared.views.login_status();
        let position = view.position();
        let row = view
            .get(&StreamKey::of(account))
            .map_err(|error| unavailable(&error))?;
        match row {
            Some(row) => Ok(row.status(self.shared.now(), position, self.shared.policy.low_codes)),
            None if self.shared.passwords_by != PasswordsBy::Countersign => {
                Ok(unseen(account, position))
            }
            None => Err(Refusal::new(ErrorCode::AccountNotFound)),
        }
    }

    /// Returns a page of one account's history, ascending.
    ///
    /// # Errors
    /// `request.invalid`, `account.not_found`, `projection.behind`, `store.unavailable`.
    pub fn audit_timeline(
        &self,
        account: &AccountId,
        query: &AuditTimelineQuery,
        min_position: Option<u64>,
    ) -> Result<AuditPage, Refusal> {
        let limit = page_limit(query.limit);
        self.wait_for(self.shared.views.audit_trail(), min_position)?;
        let stream = StreamKey::of(account);
        let version = self
            .shared
            .index
            .version(&stream)
            .map_err(|error| unavailable(&error))?;
        if version == 0 {
            return Err(Refusal::new(ErrorCode::AccountNotFound));
        }
        let filter = Filter {
            account: Some(stream),
            ..Filter::default()
        };
        self.page(
            &filter,
            &AuditPageQuery::default(),
            query.after.unwrap_or(0),
            limit,
        )
    }

    /// Returns a page of the whole history, filtered, ascending.
    ///
    /// # Errors
    /// Those of [`Queries::audit_timeline`], without `account.not_found`.
    pub fn audit_page(
        &self,
        query: &AuditPageQuery,
        min_position: Option<u64>,
    ) -> Result<AuditPage, Refusal> {
        let limit = page_limit(query.limit);
        let types = type_codes(query.types.as_deref())?;
        self.wait_for(self.shared.views.audit_trail(), min_position)?;
        let filter = Filter {
            account: query.account_id.as_ref().map(StreamKey::of),
            types,
            caller: query.caller.clone(),
        };
        let from = match query.from {
            Some(from) => self.first_at_or_after(from)?.saturating_sub(1),
            None => 0,
        };
        self.page(&filter, query, query.after.unwrap_or(0).max(from), limit)
    }

    /// Reads the events of one page and shows them. The events of a command stay together: a page
    /// ends before the limit of events or bytes rather than inside a group, and exceeds it only for
    /// a single group that is larger.
    fn page(
        &self,
        filter: &Filter,
        query: &AuditPageQuery,
        after: u64,
        limit: usize,
    ) -> Result<AuditPage, Refusal> {
        let trail = self.shared.views.audit_trail();
        let page = trail
            .positions(filter, after, limit + GROUP_ROOM)
            .map_err(|error| unavailable(&error))?;
        let mut entries = Vec::with_capacity(page.positions.len());
        for position in &page.positions {
            entries.push(self.entry(*position)?);
        }
        let in_time = |entry: &Entry| query.to.is_none_or(|to| entry.record.recorded_at < to);
        let within = entries.iter().take_while(|entry| in_time(entry)).count();
        let ended = within < entries.len();
        entries.truncate(within);
        let mut events = Vec::new();
        let mut room = PageRoom::default();
        // The room that a group takes is known only once it is written out.
        for group in entries[..whole_groups(&entries, limit)].chunk_by(is_same_group) {
            let group: Vec<_> = group
                .iter()
                .map(|entry| audit_event(entry, self.source(entry)))
                .collect();
            if !room.takes(&group) {
                break;
            }
            events.extend(group);
        }
        let shown = events.len();
        let next = match () {
            () if shown < entries.len() => entries[..shown].last().map(|entry| entry.position),
            () if ended => None,
            () => page.next_after,
        };
        Ok(AuditPage { events, next })
    }

    pub(super) fn entry(&self, position: u64) -> Result<Entry<'static>, Refusal> {
        let record = self
            .shared
            .accounts
            .record(position)
            .map_err(|error| unavailable(&error))?;
        Entry::decode(position, record).map_err(|error| unavailable(&error))
    }

    /// Returns the source of an event's request; a source that cannot be opened is left out and
    /// logged.
    pub(super) fn source(&self, entry: &Entry) -> Option<SourceFacts> {
        self.opened_source(entry).map(|opened| opened.facts)
    }

    /// Returns the same source with what proves it against the record.
    pub(super) fn opened_source(&self, entry: &Entry) -> Option<OpenedSource> {
        let record = &entry.record;
        let sealed = record.meta.source.as_ref()?;
        let opened = self.shared.vault.open_source(
            record.stream_key,
            record.version,
            record.event_type,
            sealed,
        );
        match opened {
            Ok(source) => Some(source),
            Err(VaultError::Erased) => None,
            Err(error) => {
                tracing::warn!(position = entry.position, %error, "a source stays sealed");
                None
            }
        }
    }

    /// Returns the first position recorded at or after a time: times ascend along the log.
    pub(super) fn first_at_or_after(&self, from: Micros) -> Result<u64, Refusal> {
        let (mut low, mut high) = (1, self.shared.progress.committed() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.record.recorded_at < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Waits until a view shows what was committed when the query came, and the position that the
    /// caller names: readers would take a page with a gap for the whole. A view that has halted
    /// does not answer.
    pub(super) fn wait_for(
        &self,
        view: &dyn Projection,
        min_position: Option<u64>,
    ) -> Result<(), Refusal> {
        let progress = &self.shared.progress;
        let wanted = min_position.unwrap_or(0).max(progress.committed());
        in_time(progress.wait_shown(wanted, VIEW_WAIT))?;
        let halted = self.shared.views.halted();
        in_time(!halted.iter().any(|(halted, _)| *halted == view.name()))
    }
}

fn in_time(reached: bool) -> Result<(), Refusal> {
    match reached {
        true => Ok(()),
        false => Err(Refusal::after(ErrorCode::ProjectionBehind, 1)),
    }
}

fn is_same_group(a: &Entry, b: &Entry) -> bool {
    a.record.command_key == b.record.command_key
}

/// Returns how many of these entries a page of `limit` shows without splitting a group.
fn whole_groups(entries: &[Entry], limit: usize) -> usize {
    if entries.len() <= limit {
        return entries.len();
    }
    let mut end = limit;
    while end > 0 && is_same_group(&entries[end - 1], &entries[end]) {
        end -= 1;
    }
    if end > 0 {
        return end;
    }
    entries
        .iter()
        .take_while(|entry| is_same_group(entry, &entries[0]))
        .count()
}

/// Returns the numbers of event types given by name.
pub(super) fn type_codes(names: Option<&[String]>) -> Result<Vec<u16>, Refusal> {
    let code = |name: &String| {
        Event::ALL
            .iter()
            .find(|(_, _, known)| known == name)
            .map(|e| e.0)
    };
    names
        .unwrap_or_default()
        .iter()
        .map(|name| {
            code(name)
                .ok_or(DecodeError::at("/types", "there is no event type with this name").into())
        })
        .collect()
}

/// Returns the status of an unknown id, where accounts need no registration.
fn unseen(account: &AccountId, position: u64) -> LoginStatus {
    LoginStatus {
        account_id: account.clone(),
        second_factor: countersign_schemas::reply::FactorState::Off,
        methods: Vec::new(),
        throttled_until: None,
        double_code: false,
        backup_codes_left: 0,
        backup_codes_low: false,
        authenticator_suspended: false,
        set_no: 0,
        enabled_at: None,
        after_reset_days: None,
        position,
    }
}

pub(super) fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a query cannot be answered");
    Refusal::new(ErrorCode::StoreUnavailable)
}
