//! A rebuild of a view beside the one that serves, which takes its place in one transaction.
//!
//! ```text
//!   NAME@V/…        serves, and goes on following the log
//!   next:NAME@V/…   is folded from position 1 on, from its own checkpoint after a crash
//!                   │ has caught up
//!                   └─▶ one transaction: the old tables go, the new ones take their names
//! ```
//! A projection knows each of its tables by one name. So while a slice is folded into the tables of
//! the rebuild, those tables have that name inside the transaction and the serving tables are
//! renamed; readers never see this.

use countersign_schemas::record::Record;
use redb::{ReadableDatabase, TableDefinition, TableHandle, UntypedTableHandle, WriteTransaction};

use super::{Standing, State, Views, durable, require_whole_groups};
use crate::checkpoint::{Checkpoint, Progress, advance, make_tables, read_tables, tables_prefix};
use crate::{Entry, Projection, Seal, ViewError};

const NEXT: &str = "next:";
const ASIDE: &str = "aside:";

impl Views {
    /// Begins to rebuild one view beside itself. The view serves and follows the log until
    /// [`switch`](Self::switch). Returns false for an unknown name. Called again, it restarts at
    /// position 1.
    ///
    /// Durable when it returns: after a crash, the rebuild continues from its last flush.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be written.
    pub fn rebuild(&self, name: &str) -> Result<bool, ViewError> {
        let mut state = self.state();
        let State { views, unflushed } = &mut *state;
        let mut views = self.list.all().into_iter().zip(views);
        let Some((view, standing)) = views.find(|(view, _)| view.name() == name) else {
            return Ok(false);
        };
        self.begin_beside(view, standing)?;
        *unflushed = 0;
        Ok(true)
    }

    fn begin_beside(
        &self,
        view: &dyn Projection,
        standing: &mut Standing,
    ) -> Result<(), ViewError> {
        let txn = durable(&self.db)?;
        let begun = begin(view, &txn, &self.seal)?;
        txn.commit()?;
        standing.building = Some(begun);
        standing.given_up = None;
        Ok(())
    }

    /// Empties every view whose last entry is not the log's entry at that position, as after a
    /// restored backup or a new epoch, and restarts a rebuild for which the same is true. Returns
    /// their names. Called once at the start.
    ///
    /// `record_at` reads the log; it returns `None` past the log's head.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be read or written.
    pub fn rebuild_forked(
        &self,
        record_at: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<Vec<&'static str>, ViewError> {
        let is_forked = |held: &Checkpoint| {
            let same = |record: Record| Checkpoint::at(held.position, &record) == *held;
            held.position > 0 && !record_at(held.position).is_some_and(same)
        };
        let mut forked = Vec::new();
        let mut state = self.state();
        let State { views, unflushed } = &mut *state;
        for (view, standing) in self.list.all().into_iter().zip(&mut *views) {
            if is_forked(&standing.serving.checkpoint) {
                self.restart(view, standing)?;
                *unflushed = 0;
                forked.push(view.name());
            }
        }
        for (view, standing) in self.list.all().into_iter().zip(views) {
            let building = standing.building.as_ref();
            if building.is_some_and(|building| is_forked(&building.checkpoint)) {
                self.begin_beside(view, standing)?;
                *unflushed = 0;
                forked.push(view.name());
            }
        }
        Ok(forked)
    }

    /// Returns the lowest position of the running rebuilds; `None` if there are none.
    pub fn building(&self) -> Option<u64> {
        let state = self.state();
        let building = state.views.iter().filter_map(|s| s.building.as_ref());
        building.map(|b| b.checkpoint.position).min()
    }

    /// Advances every rebuild, as [`catch_up`](Self::catch_up) advances the serving views. A
    /// rebuild that cannot continue is given up; returns which and why.
    ///
    /// # Errors
    /// The same as [`catch_up`](Self::catch_up).
    pub fn build(&self, entries: &[Entry]) -> Result<Vec<(&'static str, String)>, ViewError> {
        require_whole_groups(entries)?;
        let mut state = self.state();
        let mut given_up = Vec::new();
        let State { views, unflushed } = &mut *state;
        for (view, standing) in self.list.all().into_iter().zip(views) {
            let Some(before) = &standing.building else {
                continue;
            };
            let (txn, unflushed_after) = self.begin(*unflushed, entries.len())?;
            let after = build(view, before, &txn, entries, &self.seal)?;
            match after.halted {
                Some(why) => {
                    standing.building = None;
                    standing.given_up = Some(why.clone());
                    given_up.push((view.name(), why));
                    txn.abort()?;
                    self.give_up(view)?;
                }
                None => {
                    txn.commit()?;
                    standing.building = Some(after);
                    *unflushed = unflushed_after;
                }
            }
        }
        Ok(given_up)
    }

    fn give_up(&self, view: &dyn Projection) -> Result<(), ViewError> {
        let txn = durable(&self.db)?;
        let next = next_prefix(view.name(), view.version());
        drop_tables(&txn, |table| table.starts_with(&next))?;
        Ok(txn.commit()?)
    }

    /// Replaces each view by its rebuild once the rebuild has caught up with every serving view,
    /// each in one transaction; a halt of the view ends. Returns their names. Durable.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be written.
    pub fn switch(&self) -> Result<Vec<&'static str>, ViewError> {
        let mut state = self.state();
        let mut switched = Vec::new();
        let State { views, unflushed } = &mut *state;
        let position = |standing: &Standing| standing.serving.checkpoint.position;
        // The rebuild that replaces it holds at least as much.
        let mut furthest = views.iter().map(position).max().unwrap_or(0);
        for (view, standing) in self.list.all().into_iter().zip(views) {
            let caught_up = |building: &&Progress| building.checkpoint.position >= furthest;
            let Some(building) = standing.building.as_ref().filter(caught_up).cloned() else {
                continue;
            };
            let txn = durable(&self.db)?;
            switch(&building, &txn)?;
            txn.commit()?;
            furthest = building.checkpoint.position;
            standing.serving = building;
            standing.building = None;
            *unflushed = 0;
            switched.push(view.name());
            view.persisted(furthest)?;
        }
        Ok(switched)
    }

    /// Drops the tables of other versions of the views and of former views. It must be called only
    /// once this build's views have caught up, so that a previous build still finds its own tables
    /// until then.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be written.
    pub fn drop_superseded(&self) -> Result<(), ViewError> {
        let state = self.state();
        let own = |table: &str| {
            let is_of = |Standing { serving: v, .. }: &Standing| {
                table.starts_with(&tables_prefix(v.name, v.version))
                    || table.starts_with(&next_prefix(v.name, v.version))
            };
            state.views.iter().any(is_of)
        };
        let is_superseded = |table: UntypedTableHandle| !own(table.name());
        if !self.db.begin_read()?.list_tables()?.any(is_superseded) {
            return Ok(());
        }
        let txn = durable(&self.db)?;
        drop_tables(&txn, |table| !own(table))?;
        Ok(txn.commit()?)
    }
}

/// Returns the prefix of the names of a rebuild's tables.
pub(super) fn next_prefix(name: &str, version: u32) -> String {
    NEXT.to_owned() + &tables_prefix(name, version)
}

/// Makes empty tables for a rebuild, replacing any that were there.
fn begin(
    projection: &dyn Projection,
    txn: &WriteTransaction,
    seal: &Seal,
) -> Result<Progress, ViewError> {
    drop_tables(txn, |table| {
        table.starts_with(&next_prefix(projection.name(), projection.version()))
    })?;
    let own = tables_prefix(projection.name(), projection.version());
    let aside = ASIDE.to_owned() + &own;
    move_tables(txn, &own, &aside)?;
    let begun = make_tables(projection, txn, seal)?;
    move_tables(
        txn,
        &own,
        &next_prefix(projection.name(), projection.version()),
    )?;
    move_tables(txn, &aside, &own)?;
    Ok(begun)
}

/// Folds a slice into the tables of a rebuild.
fn build(
    projection: &dyn Projection,
    before: &Progress,
    txn: &WriteTransaction,
    entries: &[Entry],
    seal: &Seal,
) -> Result<Progress, ViewError> {
    let own = tables_prefix(projection.name(), projection.version());
    let (next, aside) = (
        next_prefix(projection.name(), projection.version()),
        ASIDE.to_owned() + &own,
    );
    move_tables(txn, &own, &aside)?;
    move_tables(txn, &next, &own)?;
    let after = advance(projection, before, txn, entries, seal)?;
    // A transaction in which the fold halted, or even panicked, is not kept.
    if after.halted.is_none() {
        move_tables(txn, &own, &next)?;
        move_tables(txn, &aside, &own)?;
    }
    Ok(after)
}

/// Gives the tables of a rebuild the names of the view's own tables.
fn switch(progress: &Progress, txn: &WriteTransaction) -> Result<(), ViewError> {
    let own = tables_prefix(progress.name, progress.version);
    drop_tables(txn, |table| table.starts_with(&own))?;
    move_tables(txn, &next_prefix(progress.name, progress.version), &own)
}

/// Returns how far a rebuild is; `None` without one. It restarts at position 1 if its tables do not
/// match their seal.
pub(super) fn resumed(
    projection: &dyn Projection,
    txn: &WriteTransaction,
    seal: &Seal,
    changed: &mut Vec<&'static str>,
) -> Result<Option<Progress>, ViewError> {
    let next = next_prefix(projection.name(), projection.version());
    let own = tables_prefix(projection.name(), projection.version());
    let aside = ASIDE.to_owned() + &own;
    // Tables set aside at an open were not put there by this service.
    drop_tables(txn, |table| table.starts_with(&aside))?;
    if !txn
        .list_tables()?
        .any(|table| table.name().starts_with(&next))
    {
        return Ok(None);
    }
    move_tables(txn, &own, &aside)?;
    move_tables(txn, &next, &own)?;
    let found = read_tables(projection, txn, seal)?;
    move_tables(txn, &own, &next)?;
    move_tables(txn, &aside, &own)?;
    match found {
        Some(found) => Ok(Some(found)),
        None => {
            changed.push(projection.name());
            begin(projection, txn, seal).map(Some)
        }
    }
}

fn move_tables(txn: &WriteTransaction, from: &str, to: &str) -> Result<(), ViewError> {
    let tables: Vec<_> = txn.list_tables()?.collect();
    for table in tables {
        if let Some(rest) = table.name().strip_prefix(from) {
            let name = to.to_owned() + rest;
            // Only the names matter: a table keeps its types.
            txn.rename_table(table, TableDefinition::<u8, u8>::new(&name))?;
        }
    }
    Ok(())
}

/// Drops the tables that a function selects.
pub(super) fn drop_tables(
    txn: &WriteTransaction,
    doomed: impl Fn(&str) -> bool,
) -> Result<(), ViewError> {
    let tables: Vec<_> = txn.list_tables()?.collect();
    for table in tables {
        if doomed(table.name()) {
            txn.delete_table(table)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "building_tests.rs"]
mod tests;
