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

/// Entries after which a commit is durable even if nobody asked: pages that were freed since the
/// last durable commit cannot be used again before the next one.
const UNFLUSHED_ENTRIES_MAX: usize = 262_144;

/// How the file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// As it was left.
    Existing,
    /// Not there: it is made, and every view begins at position 1.
    Created,
    /// Damaged, or of another format: it was removed, and every view begins at position 1.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
    },
}

/// One view as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewState {
    /// Kebab-case name.
    pub name: &'static str,
    /// The version that this build folds.
    pub version: u32,
    /// Position of the last entry in it, 0 when empty.
    pub checkpoint: u64,
    /// Why it no longer follows the log; none while it does.
    pub halted: Option<String>,
    /// Position of the last entry in the tables that are built anew beside; none where none are.
    pub building: Option<u64>,
    /// Why the last building anew was given up; none where it was not, or since this start.
    pub given_up: Option<String>,
}

/// Where one view stands.
struct Standing {
    serving: Progress,
    /// The same view where it is built anew beside.
    building: Option<Progress>,
    /// Why the one that was built anew was given up.
    given_up: Option<String>,
}

struct State {
    /// In the order of the list.
    views: Vec<Standing>,
    /// Entries in commits that a crash would take back.
    unflushed: usize,
}

/// The views and their file.
///
/// Commits are not durable one by one: a crash takes the file back to the last [`flush`](Self::flush),
/// rows and checkpoints alike, and the log makes up for it. One thread catches up, any thread reads.
pub struct Views {
    list: List,
    state: Mutex<State>,
    /// Names of the views that were not as they were sealed, and begin at position 1 again.
    changed: Vec<&'static str>,
    seal: Seal,
    db: Arc<Database>,
}

impl Views {
    /// The views that were changed by something else than this service since they were last written,
    /// as they were found when the file was opened; they begin at position 1 again.
    pub fn changed(&self) -> &[&'static str] {
        &self.changed
    }

    /// Brings every running view forward, all of them in one transaction.
    ///
    /// `entries` are whole groups in ascending order. Large slices share the pages they touch: a
    /// rebuild took 3.2 µs an entry with slices of 50,000 and 6.1 µs with slices of 10,000.
    /// Entries that a view already has are passed over. A view that cannot go on is halted and
    /// keeps nothing of the slice; the others go on.
    ///
    /// # Errors
    /// [`ViewError::SplitGroup`], and [`ViewError::Storage`] when nothing was committed.
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

    /// The lowest position among the running views: entries up to it need not be read again.
    ///
    /// When every view has halted, the lowest of all.
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

    /// The halted views, each with why.
    pub fn halted(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let views = state.views.iter().map(|standing| &standing.serving);
        views
            .filter_map(|v| Some((v.name, v.halted.clone()?)))
            .collect()
    }

    /// Every view with its version and how far it is.
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

    /// Makes every commit so far durable; called every few seconds. Reopening after a crash needs
    /// no repair.
    ///
    /// # Errors
    /// [`ViewError::Storage`].
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
    /// [`ViewError::Storage`].
    pub fn close(self) -> Result<(), ViewError> {
        self.flush()?;
        let db = self.db;
        drop(self.list);
        let db = Arc::into_inner(db).expect("the views alone share the database");
        Ok(db.close()?)
    }

    /// Sets the audit trail back to an entry, as a view that had halted earlier would stand.
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

    /// Every row of every view, as text.
    #[cfg(test)]
    pub(crate) fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        let views = self.list.all().into_iter();
        views.flat_map(|view| view.dump(read)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked had committed nothing that the state does not say.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Commits the slice for the running views; false when one halted and nothing was committed.
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

    /// Begins a transaction for so many entries, behind those held that a crash can take back;
    /// gives how many it can take back afterwards.
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

/// A transaction whose commit survives a crash and needs no repair after one.
fn durable(db: &Database) -> Result<WriteTransaction, ViewError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}
