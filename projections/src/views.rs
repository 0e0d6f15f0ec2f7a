//! The file of the views: opening, catching up, checkpoints, halts.

mod building;
mod opening;

use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, Durability, WriteTransaction};

use crate::account_card::AccountCards;
use crate::audit_trail::AuditTrail;
#[cfg(test)]
use crate::checkpoint::Checkpoint;
use crate::checkpoint::{Progress, advance, make_tables, tables_prefix};
use crate::login_view::LoginStatusView;
use crate::reset_queue::ResetQueue;
use crate::{Entry, Seal, ViewError};
use building::{drop_tables, next_prefix};

/// The number of entries after which a commit is made durable without a request: pages that were
/// freed since the last durable commit cannot be used again before the next one.
const UNFLUSHED_ENTRIES_MAX: usize = 262_144;

/// How the file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The file was as it was left.
    Existing,
    /// The file did not exist: it is made, and every view begins at position 1.
    Created,
    /// The file was damaged or of another format: it was removed, and every view begins at position
    /// 1.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
    },
}

/// One view as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewState {
    /// The view's kebab-case name.
    pub name: &'static str,
    /// The version that this build folds.
    pub version: u32,
    /// The position of the last entry in the view, 0 when empty.
    pub checkpoint: u64,
    /// Why the view no longer follows the log; `None` while it does.
    pub halted: Option<String>,
    /// The position of the last entry in the rebuild beside the view; `None` without a rebuild.
    pub building: Option<u64>,
    /// Why the last rebuild was given up; `None` if it was not given up since this start.
    pub given_up: Option<String>,
}

/// The indexes of the views in every list of them.
const LOGIN_STATUS: usize = 0;
const AUDIT_TRAIL: usize = 1;
const ACCOUNT_CARDS: usize = 2;
const RESET_QUEUE: usize = 3;
/// The number of views.
const VIEWS: usize = 4;

struct State {
    /// The progress of the views, in that order.
    views: [Progress; VIEWS],
    /// The progress of rebuilds, in the same order.
    building: [Option<Progress>; VIEWS],
    /// Why rebuilds were given up.
    given_up: [Option<String>; VIEWS],
    /// How many committed entries a crash would take back.
    unflushed: usize,
}

/// The views and their file.
///
/// Commits are not durable one by one: a crash takes the file back to the last
/// [`flush`](Self::flush), rows and checkpoints alike, and the missing entries are folded again
/// from the log. One thread catches up, any thread reads.
pub struct Views {
    login_status: LoginStatusView,
    audit_trail: AuditTrail,
    account_cards: AccountCards,
    reset_queue: ResetQueue,
    state: Mutex<State>,
    /// The names of the views that did not match their seal and begin at position 1 again.
    changed: Vec<&'static str>,
    seal: Seal,
    db: Arc<Database>,
}

impl Views {
    /// Returns the views that something other than this service had changed when the file was
    /// opened; they begin at position 1 again.
    pub fn changed(&self) -> &[&'static str] {
        &self.changed
    }

    /// Advances every running view, all of them in one transaction.
    ///
    /// `entries` are whole groups in ascending order. Large slices share the pages that they touch:
    /// a rebuild took 3.2 µs an entry with slices of 50,000 and 6.1 µs with slices of 10,000.
    /// Entries that a view already has are skipped. A view that cannot continue is halted and keeps
    /// nothing of the slice; the others continue.
    ///
    /// # Errors
    /// [`ViewError::SplitGroup`] if the slice splits a group, and [`ViewError::Storage`] if nothing
    /// was committed.
    pub fn catch_up(&self, entries: &[Entry]) -> Result<(), ViewError> {
        require_whole_groups(entries)?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let mut state = self.state();
        let wants = |v: &Progress| v.halted.is_none() && v.checkpoint.position < last.position;
        while state.views.iter().any(wants) {
            if self.commit_slice(&mut state, entries)? {
                break;
            }
        }
        self.login_status
            .persisted(state.views[0].checkpoint.position)
    }

    /// Returns the lowest position among the running views: entries up to it need not be read
    /// again.
    ///
    /// If every view has halted, it is the lowest position of all.
    pub fn checkpoint(&self) -> u64 {
        let state = self.state();
        let positions = |halted: bool| {
            let views = state.views.iter();
            views
                .filter(move |v| v.halted.is_some() == halted)
                .map(|v| v.checkpoint.position)
                .min()
        };
        positions(false).or_else(|| positions(true)).unwrap_or(0)
    }

    /// Returns the halted views, each with its reason.
    pub fn halted(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let views = state.views.iter();
        views
            .filter_map(|v| Some((v.name, v.halted.clone()?)))
            .collect()
    }

    /// Returns every view with its version and its position.
    pub fn list(&self) -> Vec<ViewState> {
        let state = self.state();
        let views = state.views.iter().zip(&state.building);
        views
            .zip(&state.given_up)
            .map(|((v, building), given_up)| ViewState {
                name: v.name,
                version: v.version,
                checkpoint: v.checkpoint.position,
                halted: v.halted.clone(),
                building: building.as_ref().map(|b| b.checkpoint.position),
                given_up: given_up.clone(),
            })
            .collect()
    }

    /// Empties one view, so that it begins at position 1 again and runs.
    ///
    /// Durable when it returns. The login view does not answer until it has caught up.
    fn restart(&self, at: usize) -> Result<(), ViewError> {
        let mut state = self.state();
        let view = state.views[at].clone();
        if at == LOGIN_STATUS {
            self.login_status.rebuilding();
        }
        let txn = durable(&self.db)?;
        let prefixes = [
            tables_prefix(view.name, view.version),
            next_prefix(view.name, view.version),
        ];
        drop_tables(&txn, |table| prefixes.iter().any(|p| table.starts_with(p)))?;
        make_tables(&self.login_status, &txn, &self.seal)?;
        make_tables(&self.audit_trail, &txn, &self.seal)?;
        make_tables(&self.account_cards, &txn, &self.seal)?;
        make_tables(&self.reset_queue, &txn, &self.seal)?;
        txn.commit()?;
        state.views[at] = view.at_zero();
        state.building[at] = None;
        state.unflushed = 0;
        Ok(())
    }

    /// Makes every commit so far durable; called every few seconds. Opening again after a crash
    /// then needs no repair.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be written.
    pub fn flush(&self) -> Result<(), ViewError> {
        let mut state = self.state();
        if state.unflushed > 0 {
            durable(&self.db)?.commit()?;
            state.unflushed = 0;
        }
        Ok(())
    }

    /// Makes everything durable and closes the file.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be written.
    pub fn close(self) -> Result<(), ViewError> {
        self.flush()?;
        let db = self.db;
        drop((self.login_status, self.audit_trail));
        drop((self.account_cards, self.reset_queue));
        let db = Arc::into_inner(db).expect("the views alone share the database");
        Ok(db.close()?)
    }

    /// Returns the login view.
    pub fn login_status(&self) -> &LoginStatusView {
        &self.login_status
    }

    /// Returns the audit trail.
    pub fn audit_trail(&self) -> &AuditTrail {
        &self.audit_trail
    }

    /// Returns the account cards.
    pub fn account_cards(&self) -> &AccountCards {
        &self.account_cards
    }

    /// Returns the reset queue.
    pub fn reset_queue(&self) -> &ResetQueue {
        &self.reset_queue
    }

    /// Sets the audit trail back to an entry, as if the view had halted there.
    #[cfg(test)]
    pub(crate) fn set_audit_trail_back(&self, entry: &Entry) {
        let mut state = self.state();
        let view = &mut state.views[AUDIT_TRAIL];
        view.checkpoint = Checkpoint::at(entry.position, &entry.record);
        let txn = self.db.begin_write().unwrap();
        crate::checkpoint::write_checkpoint(&txn, view, &self.seal).unwrap();
        txn.commit().unwrap();
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked had committed nothing that the state does not include.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Commits the slice for the running views; returns false if one halted and nothing was
    /// committed.
    fn commit_slice(&self, state: &mut State, entries: &[Entry]) -> Result<bool, ViewError> {
        let (txn, unflushed) = self.begin(state, entries.len())?;
        let mut next = state.views.clone();
        for (at, view) in next.iter_mut().enumerate() {
            let (before, seal) = (view.clone(), &self.seal);
            *view = match at {
                LOGIN_STATUS => advance(&self.login_status, &before, &txn, entries, seal)?,
                AUDIT_TRAIL => advance(&self.audit_trail, &before, &txn, entries, seal)?,
                ACCOUNT_CARDS => advance(&self.account_cards, &before, &txn, entries, seal)?,
                RESET_QUEUE => advance(&self.reset_queue, &before, &txn, entries, seal)?,
                _ => unreachable!("there are four views"),
            };
            if before.halted != view.halted {
                // Nothing more is done in a transaction in which a fold may have panicked.
                state.views[at].halted.clone_from(&view.halted);
                txn.abort()?;
                return Ok(false);
            }
        }
        txn.commit()?;
        state.views = next;
        state.unflushed = unflushed;
        Ok(true)
    }

    /// Begins a transaction for this many entries; returns how many a crash can take back after it.
    fn begin(&self, state: &State, entries: usize) -> Result<(WriteTransaction, usize), ViewError> {
        let unflushed = state.unflushed + entries;
        let mut txn = durable(&self.db)?;
        if unflushed > UNFLUSHED_ENTRIES_MAX {
            return Ok((txn, 0));
        }
        txn.set_quick_repair(false);
        txn.set_durability(Durability::None)?;
        Ok((txn, unflushed))
    }
}

fn require_whole_groups(entries: &[Entry]) -> Result<(), ViewError> {
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let len = usize::from(first.record.group_len);
        let belongs = |(index, entry): (usize, &Entry)| {
            usize::from(entry.record.group_index) == index
                && usize::from(entry.record.group_len) == len
                && entry.record.command_key == first.record.command_key
        };
        let is_whole = len > 0 && rest.len() >= len;
        if !is_whole || !rest[..len].iter().enumerate().all(belongs) {
            let position = first.position;
            return Err(ViewError::SplitGroup { position });
        }
        rest = &rest[len..];
    }
    Ok(())
}

/// Begins a transaction that, once committed, survives a crash without a repair.
fn durable(db: &Database) -> Result<WriteTransaction, ViewError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}
