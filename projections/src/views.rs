//! The file of the views: opening, catching up, checkpoints, halts.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use countersign_schemas::record::Record;
use redb::{Database, DatabaseError, Durability, TableHandle, WriteTransaction};

use crate::account_card::AccountCards;
use crate::audit_trail::AuditTrail;
use crate::checkpoint::{Checkpoint, Progress, advance, make_tables, tables_prefix};
use crate::login_view::LoginStatusView;
use crate::reset_queue::ResetQueue;
use crate::{Entry, Projection, ViewError};

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
}

/// The login view, the audit trail, the account cards, the reset queue.
const VIEWS: usize = 4;

struct State {
    /// In that order.
    views: [Progress; VIEWS],
    /// Entries in commits that a crash would take back.
    unflushed: usize,
}

/// The views and their file.
///
/// Commits are not durable one by one: a crash takes the file back to the last [`flush`](Self::flush),
/// rows and checkpoints alike, and the log makes up for it. One thread catches up, any thread reads.
pub struct Views {
    login_status: LoginStatusView,
    audit_trail: AuditTrail,
    account_cards: AccountCards,
    reset_queue: ResetQueue,
    state: Mutex<State>,
    db: Arc<Database>,
}

impl Views {
    /// Opens the file; one that is missing, damaged or of another format is made anew.
    ///
    /// `cache_bytes` bounds the page cache. Queries are to be answered only once
    /// [`catch_up`](Self::catch_up) has reached the log's head.
    ///
    /// Errors: [`ViewError::Storage`] when another process has the file open, or when it can
    /// neither be opened nor replaced.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<(Self, Opened), ViewError> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        // Every page's checksum is read (0.1 s for 270 MB in the page cache): without it redb takes
        // most altered files for good, then answers wrongly or panics.
        builder.set_check_integrity_on_open(true);
        Self::open_with(path, |path| builder.create(path))
    }

    /// Opens the file as [`open`](Self::open) does, by a function of the caller's: harnesses that
    /// break disks have their own.
    ///
    /// Errors: as [`open`](Self::open).
    pub fn open_with(
        path: &Path,
        open: impl Fn(&Path) -> Result<Database, DatabaseError>,
    ) -> Result<(Self, Opened), ViewError> {
        let found = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let open = || Self::of(open(path)?);
        let reason = match open() {
            Ok(views) if found => return Ok((views, Opened::Existing)),
            Ok(views) => return Ok((views, Opened::Created)),
            Err(error) if !found || is_in_use(&error) => return Err(error),
            Err(error) => error.to_string(),
        };
        std::fs::remove_file(path).map_err(redb::StorageError::Io)?;
        Ok((open()?, Opened::Rebuilt { reason }))
    }

    /// Takes a database that is open, and makes the views in it that it lacks.
    fn of(db: Database) -> Result<Self, ViewError> {
        let db = Arc::new(db);
        let txn = durable(&db)?;
        let ours = [
            tables_prefix(LoginStatusView::NAME, LoginStatusView::VERSION),
            tables_prefix(AuditTrail::NAME, AuditTrail::VERSION),
            tables_prefix(AccountCards::NAME, AccountCards::VERSION),
            tables_prefix(ResetQueue::NAME, ResetQueue::VERSION),
        ];
        drop_tables(&txn, |table| !ours.iter().any(|p| table.starts_with(p)))?;
        let login_status = LoginStatusView::new(db.clone());
        let audit_trail = AuditTrail::new(db.clone());
        let account_cards = AccountCards::new(db.clone());
        let reset_queue = ResetQueue::new(db.clone());
        let views = [
            make_tables(&login_status, &txn)?,
            make_tables(&audit_trail, &txn)?,
            make_tables(&account_cards, &txn)?,
            make_tables(&reset_queue, &txn)?,
        ];
        txn.commit()?;
        login_status.persisted(views[0].checkpoint.position)?;
        let unflushed = 0;
        let state = Mutex::new(State { views, unflushed });
        Ok(Self {
            login_status,
            audit_trail,
            account_cards,
            reset_queue,
            state,
            db,
        })
    }

    /// Brings every running view forward, all of them in one transaction.
    ///
    /// `entries` are whole groups in ascending order. Large slices share the pages they touch: a
    /// rebuild took 3.2 µs an entry with slices of 50,000 and 6.1 µs with slices of 10,000.
    /// Entries that a view already has are passed over. A view that cannot go on is halted and
    /// keeps nothing of the slice; the others go on.
    ///
    /// Errors: [`ViewError::SplitGroup`], and [`ViewError::Storage`] when nothing was committed.
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

    /// The lowest position among the running views: entries up to it need not be read again.
    ///
    /// When every view has halted, the lowest of all.
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

    /// The halted views, each with why.
    pub fn halted(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let views = state.views.iter();
        views
            .filter_map(|v| Some((v.name, v.halted.clone()?)))
            .collect()
    }

    /// Every view with its version and how far it is.
    pub fn list(&self) -> Vec<ViewState> {
        let state = self.state();
        let views = state.views.iter();
        views
            .map(|v| ViewState {
                name: v.name,
                version: v.version,
                checkpoint: v.checkpoint.position,
                halted: v.halted.clone(),
            })
            .collect()
    }

    /// Empties one view, so that it begins at position 1 again and runs; false for an unknown name.
    ///
    /// Durable when it returns. The login view does not answer until it has caught up.
    ///
    /// Errors: [`ViewError::Storage`].
    pub fn rebuild(&self, name: &str) -> Result<bool, ViewError> {
        let mut state = self.state();
        let Some(view) = state.views.iter_mut().find(|v| v.name == name) else {
            return Ok(false);
        };
        if view.name == LoginStatusView::NAME {
            self.login_status.rebuilding();
        }
        let txn = durable(&self.db)?;
        let prefix = tables_prefix(view.name, view.version);
        drop_tables(&txn, |table| table.starts_with(&prefix))?;
        make_tables(&self.login_status, &txn)?;
        make_tables(&self.audit_trail, &txn)?;
        make_tables(&self.account_cards, &txn)?;
        make_tables(&self.reset_queue, &txn)?;
        txn.commit()?;
        view.checkpoint = Checkpoint::default();
        view.halted = None;
        state.unflushed = 0;
        Ok(true)
    }

    /// Rebuilds every view whose last entry is not the log's entry at that position, as after a
    /// restored backup or a new epoch; returns their names. Asked once at start.
    ///
    /// `record_at` reads the log; none past its head.
    ///
    /// Errors: [`ViewError::Storage`].
    pub fn rebuild_forked(
        &self,
        record_at: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<Vec<&'static str>, ViewError> {
        let held = self.state().views.clone().map(|v| (v.name, v.checkpoint));
        let mut forked = Vec::new();
        for (name, checkpoint) in held {
            let position = checkpoint.position;
            let same = |record: Record| Checkpoint::at(position, &record) == checkpoint;
            if position > 0 && !record_at(position).is_some_and(same) {
                self.rebuild(name)?;
                forked.push(name);
            }
        }
        Ok(forked)
    }

    /// Makes every commit so far durable; called every few seconds. Reopening after a crash needs
    /// no repair.
    ///
    /// Errors: [`ViewError::Storage`].
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
    /// Errors: [`ViewError::Storage`].
    pub fn close(self) -> Result<(), ViewError> {
        self.flush()?;
        let db = self.db;
        drop((self.login_status, self.audit_trail));
        drop((self.account_cards, self.reset_queue));
        let db = Arc::into_inner(db).expect("the views alone share the database");
        Ok(db.close()?)
    }

    /// The login view.
    pub fn login_status(&self) -> &LoginStatusView {
        &self.login_status
    }

    /// The audit trail.
    pub fn audit_trail(&self) -> &AuditTrail {
        &self.audit_trail
    }

    /// The account cards.
    pub fn account_cards(&self) -> &AccountCards {
        &self.account_cards
    }

    /// The reset queue.
    pub fn reset_queue(&self) -> &ResetQueue {
        &self.reset_queue
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked had committed nothing that the state does not say.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Commits the slice for the running views; false when one halted and nothing was committed.
    fn commit_slice(&self, state: &mut State, entries: &[Entry]) -> Result<bool, ViewError> {
        let unflushed = state.unflushed + entries.len();
        let is_durable = unflushed > UNFLUSHED_ENTRIES_MAX;
        let mut txn = durable(&self.db)?;
        if !is_durable {
            txn.set_quick_repair(false);
            txn.set_durability(Durability::None)?;
        }
        let [login, audit, cards, queue] = &state.views;
        let next = [
            advance(&self.login_status, login, &txn, entries)?,
            advance(&self.audit_trail, audit, &txn, entries)?,
            advance(&self.account_cards, cards, &txn, entries)?,
            advance(&self.reset_queue, queue, &txn, entries)?,
        ];
        let mut pairs = state.views.iter().zip(&next);
        if pairs.any(|(before, after)| before.halted != after.halted) {
            txn.abort()?;
            for (view, after) in state.views.iter_mut().zip(next) {
                view.halted = after.halted;
            }
            return Ok(false);
        }
        txn.commit()?;
        state.views = next;
        state.unflushed = if is_durable { 0 } else { unflushed };
        Ok(true)
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

fn is_in_use(error: &ViewError) -> bool {
    matches!(error, ViewError::Storage(e) if matches!(**e, redb::Error::DatabaseAlreadyOpen))
}

/// A transaction whose commit survives a crash and needs no repair after one.
fn durable(db: &Database) -> Result<WriteTransaction, ViewError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

fn drop_tables(txn: &WriteTransaction, doomed: impl Fn(&str) -> bool) -> Result<(), ViewError> {
    let tables: Vec<_> = txn.list_tables()?.collect();
    for table in tables {
        if doomed(table.name()) {
            txn.delete_table(table)?;
        }
    }
    Ok(())
}
