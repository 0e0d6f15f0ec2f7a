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

use super::{
    ACCOUNT_CARDS, AUDIT_TRAIL, LOGIN_STATUS, RESET_QUEUE, VIEWS, Views, durable,
    require_whole_groups,
};
use crate::checkpoint::{Checkpoint, Progress, advance, make_tables, read_tables, tables_prefix};
use crate::cover::Tally;
use crate::login_view::LoginStatusView;
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
        let Some(at) = state.views.iter().position(|v| v.name == name) else {
            return Ok(false);
        };
        let txn = durable(&self.db)?;
        let begun = match at {
            LOGIN_STATUS => begin(&self.login_status, &txn, &self.seal)?,
            AUDIT_TRAIL => begin(&self.audit_trail, &txn, &self.seal)?,
            ACCOUNT_CARDS => begin(&self.account_cards, &txn, &self.seal)?,
            RESET_QUEUE => begin(&self.reset_queue, &txn, &self.seal)?,
            _ => unreachable!("there are four views"),
        };
        txn.commit()?;
        state.building[at] = Some(begun);
        state.given_up[at] = None;
        state.unflushed = 0;
        Ok(true)
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
        let views = self.state().views.clone();
        for (at, view) in views.iter().enumerate() {
            if is_forked(&view.checkpoint) {
                self.restart(at)?;
                forked.push(view.name);
            }
        }
        let building = self.state().building.clone();
        for building in building.iter().flatten() {
            if is_forked(&building.checkpoint) {
                self.rebuild(building.name)?;
                forked.push(building.name);
            }
        }
        Ok(forked)
    }

    /// Returns the lowest position of the running rebuilds; `None` if there are none.
    pub fn building(&self) -> Option<u64> {
        let state = self.state();
        let building = state.building.iter().flatten();
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
        for at in 0..VIEWS {
            let Some(before) = state.building[at].clone() else {
                continue;
            };
            let (txn, unflushed) = self.begin(&state, entries.len())?;
            let seal = &self.seal;
            let after = match at {
                LOGIN_STATUS => build(&self.login_status, &before, &txn, entries, seal)?,
                AUDIT_TRAIL => build(&self.audit_trail, &before, &txn, entries, seal)?,
                ACCOUNT_CARDS => build(&self.account_cards, &before, &txn, entries, seal)?,
                RESET_QUEUE => build(&self.reset_queue, &before, &txn, entries, seal)?,
                _ => unreachable!("there are four views"),
            };
            match after.halted {
                Some(why) => {
                    state.building[at] = None;
                    state.given_up[at] = Some(why.clone());
                    given_up.push((after.name, why));
                    txn.abort()?;
                    self.give_up(&before)?;
                }
                None => {
                    txn.commit()?;
                    state.building[at] = Some(after);
                    state.unflushed = unflushed;
                }
            }
        }
        Ok(given_up)
    }

    fn give_up(&self, building: &Progress) -> Result<(), ViewError> {
        let txn = durable(&self.db)?;
        let next = next_prefix(building.name, building.version);
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
        for at in 0..VIEWS {
            let caught_up = |building: &&Progress| has_caught_up(building, &state.views);
            let Some(building) = state.building[at].as_ref().filter(caught_up).cloned() else {
                continue;
            };
            let txn = durable(&self.db)?;
            switch(&building, &txn)?;
            txn.commit()?;
            switched.push(building.name);
            state.views[at] = building;
            state.building[at] = None;
            state.unflushed = 0;
        }
        if switched.contains(&LoginStatusView::NAME) {
            let position = state.views[LOGIN_STATUS].checkpoint.position;
            self.login_status.persisted(position)?;
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
            let is_of = |v: &Progress| {
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
fn begin<P: Projection>(
    projection: &P,
    txn: &WriteTransaction,
    seal: &Seal,
) -> Result<Progress, ViewError> {
    drop_tables(txn, |table| {
        table.starts_with(&next_prefix(P::NAME, P::VERSION))
    })?;
    let own = tables_prefix(P::NAME, P::VERSION);
    let aside = ASIDE.to_owned() + &own;
    move_tables(txn, &own, &aside)?;
    let begun = make_tables(projection, txn, seal)?;
    move_tables(txn, &own, &next_prefix(P::NAME, P::VERSION))?;
    move_tables(txn, &aside, &own)?;
    Ok(begun)
}

/// Folds a slice into the tables of a rebuild.
fn build<P: Projection>(
    projection: &P,
    before: &Progress,
    txn: &WriteTransaction,
    entries: &[Entry],
    seal: &Seal,
) -> Result<Progress, ViewError> {
    let own = tables_prefix(P::NAME, P::VERSION);
    let (next, aside) = (next_prefix(P::NAME, P::VERSION), ASIDE.to_owned() + &own);
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
pub(super) fn resumed<P: Projection>(
    projection: &P,
    txn: &WriteTransaction,
    seal: &Seal,
    changed: &mut Vec<&'static str>,
) -> Result<Option<Progress>, ViewError> {
    let next = next_prefix(P::NAME, P::VERSION);
    let own = tables_prefix(P::NAME, P::VERSION);
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
            changed.push(P::NAME);
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

/// Returns whether a rebuild may replace the serving view: it holds everything that every view
/// holds.
fn has_caught_up(building: &Progress, views: &[Progress]) -> bool {
    let position = |view: &Progress| view.checkpoint.position;
    views.iter().map(position).max() <= Some(building.checkpoint.position)
}

impl Progress {
    /// Returns the same view before its first entry.
    pub(crate) fn at_zero(&self) -> Self {
        Self {
            checkpoint: Checkpoint::default(),
            tally: Tally::default(),
            halted: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
#[path = "building_tests.rs"]
mod tests;
