//! The file of the views: opening, catching up, checkpoints, halts.

mod building;
mod list;
mod opening;

use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, Durability, WriteTransaction};

#[cfg(test)]
use crate::checkpoint::Checkpoint;
use crate::checkpoint::{Progress, advance, make_tables, tables_prefix};
use crate::{Entry, Projection, Seal, ViewError};
use building::{drop_tables, next_prefix};
use list::List;

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

/// The progress of one view.
struct Standing {
    serving: Progress,
    /// The rebuild beside the view.
    building: Option<Progress>,
    /// Why the last rebuild was given up.
    given_up: Option<String>,
}

struct State {
    /// In the order of the list.
    views: Vec<Standing>,
    /// How many committed entries a crash would take back.
    unflushed: usize,
}

/// The views and their file.
///
/// Commits are not durable one by one: a crash takes the file back to the last
/// [`flush`](Self::flush), rows and checkpoints alike, and the missing entries are folded again
/// from the log. One thread catches up, any thread reads.
pub struct Views {
    list: List,
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
        let wants = |Standing { serving: v, .. }: &Standing| {
            v.halted.is_none() && v.checkpoint.position < last.position
        };
        while state.views.iter().any(wants) {
            if self.commit_slice(&mut state, entries)? {
                break;
            }
        }
        for (view, standing) in self.list.all().into_iter().zip(&state.views) {
            view.persisted(standing.serving.checkpoint.position)?;
        }
        Ok(())
    }

    /// Returns the lowest position among the running views: entries up to it need not be read
    /// again.
    ///
    /// If every view has halted, it is the lowest position of all.
    pub fn checkpoint(&self) -> u64 {
        let state = self.state();
        let positions = |halted: bool| {
            let views = state.views.iter().map(|standing| &standing.serving);
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
        let views = state.views.iter().map(|standing| &standing.serving);
        views
            .filter_map(|v| Some((v.name, v.halted.clone()?)))
            .collect()
    }

    /// Returns every view with its version and its position.
    pub fn list(&self) -> Vec<ViewState> {
        let state = self.state();
        let shown = |standing: &Standing| {
            let (v, building) = (&standing.serving, standing.building.as_ref());
            ViewState {
                name: v.name,
                version: v.version,
                checkpoint: v.checkpoint.position,
                halted: v.halted.clone(),
                building: building.map(|b| b.checkpoint.position),
                given_up: standing.given_up.clone(),
            }
        };
        state.views.iter().map(shown).collect()
    }

    /// Empties one view, so that it begins at position 1 again and runs.
    ///
    /// Durable when it returns. The login view does not answer until it has caught up.
    fn restart(&self, view: &dyn Projection, standing: &mut Standing) -> Result<(), ViewError> {
        view.rebuilding();
        let txn = durable(&self.db)?;
        let prefixes = [
            tables_prefix(view.name(), view.version()),
            next_prefix(view.name(), view.version()),
        ];
        drop_tables(&txn, |table| prefixes.iter().any(|p| table.starts_with(p)))?;
        standing.serving = make_tables(view, &txn, &self.seal)?;
        txn.commit()?;
        standing.building = None;
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
        drop(self.list);
        let db = Arc::into_inner(db).expect("the views alone share the database");
        Ok(db.close()?)
    }

    /// Sets the audit trail back to an entry, as if the view had halted there.
    #[cfg(test)]
    pub(crate) fn set_audit_trail_back(&self, entry: &Entry) {
        let mut state = self.state();
        let is_it = |standing: &&mut Standing| standing.serving.name == "audit-trail";
        let view = &mut state.views.iter_mut().find(is_it).unwrap().serving;
        view.checkpoint = Checkpoint::at(entry.position, &entry.record);
        let txn = self.db.begin_write().unwrap();
        crate::checkpoint::write_checkpoint(&txn, view, &self.seal).unwrap();
        txn.commit().unwrap();
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// Returns every row of every view, as text.
    #[cfg(test)]
    pub(crate) fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        let views = self.list.all().into_iter();
        views.flat_map(|view| view.dump(read)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked had committed nothing that the state does not include.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Commits the slice for the running views; returns false if one halted and nothing was
    /// committed.
    fn commit_slice(&self, state: &mut State, entries: &[Entry]) -> Result<bool, ViewError> {
        let (txn, unflushed) = self.begin(state.unflushed, entries.len())?;
        let mut next = Vec::with_capacity(state.views.len());
        for (view, standing) in self.list.all().into_iter().zip(&mut state.views) {
            let before = &mut standing.serving;
            let after = advance(view, before, &txn, entries, &self.seal)?;
            if before.halted != after.halted {
                // Nothing more is done in a transaction in which a fold may have panicked.
                before.halted = after.halted;
                txn.abort()?;
                return Ok(false);
            }
            next.push(after);
        }
        txn.commit()?;
        for (standing, after) in state.views.iter_mut().zip(next) {
            standing.serving = after;
        }
        state.unflushed = unflushed;
        Ok(true)
    }

    /// Begins a transaction for this many entries, after the held ones that a crash can take back;
    /// returns how many a crash can take back after it.
    fn begin(&self, held: usize, entries: usize) -> Result<(WriteTransaction, usize), ViewError> {
        let unflushed = held + entries;
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
