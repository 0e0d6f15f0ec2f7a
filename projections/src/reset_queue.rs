//! The reset queue: every case with its state, oldest first.

use std::sync::Arc;

use countersign_schemas::event::reset::v1::{self as stored, ResetRequested};
use countersign_schemas::event::{Event, Reader};
use countersign_schemas::ids::{AccountId, CaseId, StreamKey};
use countersign_schemas::sealed::Protected;
use countersign_schemas::support::{CaseState, Lost};
use countersign_schemas::time::Micros;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{Cover, Entry, Projection, ViewError};

const NAME: &str = "reset-queue";
const VERSION: u32 = 1;

/// Position of the request → postcard [`CaseRow`].
pub(crate) const CASES: TableDefinition<u64, &[u8]> = TableDefinition::new("reset-queue@1/cases");
/// (stream key, position of the request).
pub(crate) const BY_ACCOUNT: TableDefinition<(&[u8; 16], u64), ()> =
    TableDefinition::new("reset-queue@1/by-account");
/// (state, position of the request); expired cases without a closing event are among the open ones.
pub(crate) const BY_STATE: TableDefinition<(u8, u64), ()> =
    TableDefinition::new("reset-queue@1/by-state");
const OPEN: [CaseState; 2] = [CaseState::WaitingApproval, CaseState::CoolingOff];

/// One case, stored as postcard; a change of its shape is a new version of the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseRow {
    /// The case's id.
    pub case_id: CaseId,
    /// The account's id.
    pub account_id: AccountId,
    /// The version of the account at the request, where the sealed fields were sealed.
    pub version: u32,
    /// The case's state without regard to time; see [`CaseRow::state_at`].
    pub state: CaseState,
    /// The agent who asked for the reset.
    pub requested_by: String,
    /// When the agent asked for it.
    pub requested_at: Micros,
    /// When the case expires.
    pub expires_at: Micros,
    /// The agent who approved the reset.
    pub approved_by: Option<String>,
    /// When the reset may be executed.
    pub execute_after: Option<Micros>,
    /// When the case was ended, and by which caller.
    pub closed: Option<(Micros, String)>,
    /// What the owner says is lost.
    pub lost: Option<Lost>,
    /// The requester's reason, sealed.
    pub reason: Protected,
    /// The ticket, sealed.
    pub ticket: Protected,
}

impl CaseRow {
    fn of(e: &ResetRequested, entry: &Entry) -> Option<Self> {
        let record = &entry.record;
        Some(Self {
            case_id: CaseId::parse(&e.case_id).ok()?,
            account_id: AccountId::parse(&record.meta.account_id).ok()?,
            version: record.version,
            state: CaseState::WaitingApproval,
            requested_by: record.meta.caller.clone().into_owned(),
            requested_at: record.recorded_at,
            expires_at: e.expires_at,
            approved_by: None,
            execute_after: None,
            closed: None,
            lost: e.lost.map(|lost| match lost {
                stored::Lost::App => Lost::App,
                stored::Lost::BackupCodes => Lost::BackupCodes,
                stored::Lost::Both => Lost::Both,
            }),
            reason: e.reason.clone(),
            ticket: e.ticket.clone(),
        })
    }

    /// Returns the state at an instant of log time: an open case past its time shows
    /// `expired`.
    pub fn state_at(&self, now: Micros) -> CaseState {
        match self.state {
            CaseState::WaitingApproval | CaseState::CoolingOff if now >= self.expires_at => {
                CaseState::Expired
            }
            state => state,
        }
    }

    fn close(&mut self, state: CaseState, entry: &Entry) {
        self.state = state;
        let by = entry.record.meta.caller.clone().into_owned();
        self.closed = Some((entry.record.recorded_at, by));
    }
}

/// The reset cases.
pub struct ResetQueue {
    db: Arc<Database>,
}

impl ResetQueue {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Returns at most `limit` cases after a position that are in one of the states at `now`,
    /// oldest first, each with its position, and whether there are more.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] if a case does not decode, [`ViewError::Storage`] if the file cannot
    /// be read.
    pub fn cases(
        &self,
        states: &[CaseState],
        now: Micros,
        (after, limit): (u64, usize),
    ) -> Result<(Vec<(u64, CaseRow)>, bool), ViewError> {
        let read = self.db.begin_read()?;
        let (by_state, table) = (read.open_table(BY_STATE)?, read.open_table(CASES)?);
        let mut found = Vec::new();
        for state in stored_states(states) {
            // Each list alone ascends, so that the newest cases are the ones left out.
            let room = found.len() + limit + 1;
            let first = (code(state), after.saturating_add(1));
            for row in by_state.range(first..=(code(state), u64::MAX))? {
                if found.len() == room {
                    break;
                }
                let position = row?.0.value().1;
                let case = required(&table, position)?;
                if states.contains(&case.state_at(now)) {
                    found.push((position, case));
                }
            }
        }
        found.sort_unstable_by_key(|(position, _)| *position);
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Returns the newest case of an account, open or not.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] if the case does not decode, [`ViewError::Storage`] if the file
    /// cannot be read.
    pub fn newest(&self, stream: &StreamKey) -> Result<Option<CaseRow>, ViewError> {
        let read = self.db.begin_read()?;
        let by_account = read.open_table(BY_ACCOUNT)?;
        let last = by_account
            .range((&stream.0, 0)..=(&stream.0, u64::MAX))?
            .next_back();
        let Some(row) = last else { return Ok(None) };
        let position = row?.0.value().1;
        required(&read.open_table(CASES)?, position).map(Some)
    }
}

/// Returns the states under which cases in these states are filed.
fn stored_states(states: &[CaseState]) -> Vec<CaseState> {
    let mut stored = states.to_vec();
    if states.contains(&CaseState::Expired) {
        stored.extend(OPEN);
    }
    stored.sort_unstable_by_key(|state| code(*state));
    stored.dedup();
    stored
}

fn code(state: CaseState) -> u8 {
    match state {
        CaseState::WaitingApproval => 0,
        CaseState::CoolingOff => 1,
        CaseState::Executed => 2,
        CaseState::Rejected => 3,
        CaseState::Cancelled => 4,
        CaseState::Expired => 5,
    }
}

/// The tables of one transaction.
struct Tables<'txn> {
    cases: Table<'txn, u64, &'static [u8]>,
    by_account: Table<'txn, (&'static [u8; 16], u64), ()>,
    by_state: Table<'txn, (u8, u64), ()>,
}

impl Tables<'_> {
    fn put(&mut self, position: u64, row: &CaseRow) -> Result<(), ViewError> {
        let bytes = postcard::to_allocvec(row).map_err(|_| damaged(position))?;
        self.cases.insert(position, bytes.as_slice())?;
        self.by_state.insert((code(row.state), position), ())?;
        Ok(())
    }

    /// Changes the account's newest case, if it is open.
    fn change(
        &mut self,
        stream: &StreamKey,
        change: impl FnOnce(&mut CaseRow),
    ) -> Result<(), ViewError> {
        let key = (&stream.0, 0)..=(&stream.0, u64::MAX);
        let last = self.by_account.range(key)?.next_back().transpose()?;
        match last.map(|row| row.0.value().1) {
            Some(position) => self.change_at(position, change),
            None => Ok(()),
        }
    }

    fn change_at(
        &mut self,
        position: u64,
        change: impl FnOnce(&mut CaseRow),
    ) -> Result<(), ViewError> {
        let mut row = required(&self.cases, position)?;
        if OPEN.contains(&row.state) {
            self.by_state.remove((code(row.state), position))?;
            change(&mut row);
            self.put(position, &row)?;
        }
        Ok(())
    }

    /// A lost event may have ended any of the open cases, so the account forgets them too.
    fn void_open(&mut self, entry: &Entry) -> Result<(), ViewError> {
        let mut open = Vec::new();
        for state in OPEN {
            for row in self
                .by_state
                .range((code(state), 0)..=(code(state), u64::MAX))?
            {
                open.push(row?.0.value().1);
            }
        }
        for position in open {
            self.change_at(position, |row| row.close(CaseState::Cancelled, entry))?;
        }
        Ok(())
    }

    /// Removes an erased account's cases, which cannot be read any more.
    fn erase(&mut self, stream: &StreamKey) -> Result<(), ViewError> {
        let key = (&stream.0, 0)..=(&stream.0, u64::MAX);
        let rows = self.by_account.range(key)?;
        let positions: Result<Vec<_>, _> = rows.map(|row| Ok(row?.0.value().1)).collect();
        for position in positions.map_err(|e: redb::StorageError| ViewError::from(e))? {
            let row = required(&self.cases, position)?;
            self.by_state.remove((code(row.state), position))?;
            self.by_account.remove((&stream.0, position))?;
            self.cases.remove(position)?;
        }
        Ok(())
    }

    fn absorb(&mut self, entry: &Entry) -> Result<(), ViewError> {
        let stream = entry.record.stream_key;
        let closed = |row: &mut CaseRow, state| row.close(state, entry);
        match &entry.event {
            Event::ResetRequested(e) => {
                let row = CaseRow::of(e, entry).ok_or_else(|| damaged(entry.position))?;
                self.by_account.insert((&stream.0, entry.position), ())?;
                self.put(entry.position, &row)
            }
            Event::ResetApproved(e) => self.change(&stream, |row| {
                row.state = CaseState::CoolingOff;
                row.approved_by = Some(entry.record.meta.caller.clone().into_owned());
                row.execute_after = Some(e.execute_after);
            }),
            Event::ResetRejected(_) => self.change(&stream, |row| closed(row, CaseState::Rejected)),
            Event::ResetCancelled(_) => {
                self.change(&stream, |row| closed(row, CaseState::Cancelled))
            }
            Event::ResetExpired(_) => self.change(&stream, |row| closed(row, CaseState::Expired)),
            Event::ResetExecuted(_) => self.change(&stream, |row| closed(row, CaseState::Executed)),
            Event::AccountErased(_) => self.erase(&stream),
            Event::EpochStarted(e) if e.lost_from.is_some() => self.void_open(entry),
            _ => Ok(()),
        }
    }
}

impl Projection for ResetQueue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(
        &self,
        txn: &WriteTransaction,
        entries: &[Entry],
        _: &mut Cover,
    ) -> Result<(), ViewError> {
        let mut tables = Tables {
            cases: txn.open_table(CASES)?,
            by_account: txn.open_table(BY_ACCOUNT)?,
            by_state: txn.open_table(BY_STATE)?,
        };
        for entry in entries {
            if entry.event.is_read_by(Reader::Queue) {
                tables.absorb(entry)?;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        use crate::testing::rows;
        [
            rows(read, CASES),
            rows(read, BY_ACCOUNT),
            rows(read, BY_STATE),
        ]
        .concat()
    }
}

fn required(
    table: &impl ReadableTable<u64, &'static [u8]>,
    position: u64,
) -> Result<CaseRow, ViewError> {
    let bytes = table.get(position)?.ok_or_else(|| damaged(position))?;
    match postcard::take_from_bytes(bytes.value()) {
        Ok((row, [])) => Ok(row),
        Ok(_) | Err(_) => Err(damaged(position)),
    }
}

fn damaged(position: u64) -> ViewError {
    ViewError::Damaged {
        view: NAME,
        what: "case",
        at: format!("position {position}"),
    }
}

#[cfg(test)]
#[path = "reset_queue_tests.rs"]
mod tests;
