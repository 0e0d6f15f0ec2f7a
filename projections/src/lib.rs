//! Read models: folds of the event log that can be deleted at any time and rebuilt.
//!
//! ```text
//!            the log, whole groups, ascending
//!                 |                    |
//!   the writer    |                    |   the projector
//!   after commit  v                    v   behind
//!        LoginStatusView          Views::catch_up
//!        (overlay in memory)      one transaction: rows and checkpoints
//!                 |                    |
//!                 +--- get, positions -+--> views.redb
//! ```
//!
//! `views.rs` keeps the file, `views/list.rs` the list of the views, `checkpoint.rs` how far each
//! view is, `cover.rs` which rows the service wrote, `views/building.rs` rebuilds a view beside the
//! one that serves, `login_status.rs` the fold and its row, `login_view.rs` the overlay over the
//! table, `audit_trail.rs` the indexes, `account_card.rs` and `reset_queue.rs` what support sees,
//! `sentences.rs`, `access_sentences.rs` and `reset_sentences.rs` the words, `notices.rs` the
//! notices to the owner.
//! Absences: no clock, no thread, no randomness; nothing here is read while deciding.

mod access_sentences;
mod account_card;
mod audit_trail;
mod checkpoint;
mod cover;
mod login_status;
mod login_view;
mod notices;
#[cfg(test)]
mod rendering_tests;
mod reset_queue;
mod reset_sentences;
mod sentences;
mod views;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod readers_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod views_tests;

use countersign_schemas::event::{Event, EventError};
use countersign_schemas::record::Record;
use redb::WriteTransaction;

pub use account_card::{AccountCards, CardRow};
pub use audit_trail::{AuditTrail, Filter, Page};
pub use cover::{Cover, Seal};
pub use login_status::{Factor, Row, fold};
pub use login_view::LoginStatusView;
pub use notices::{NoticeKind, notice_of};
pub use reset_queue::{CaseRow, ResetQueue};
pub use sentences::{RENDERING, audit_event, sentence};
pub use views::{Opened, ViewState, Views};

/// One record of the log with its position and its event, decoded once for all readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The position in the log, from 1.
    pub position: u64,
    /// The record.
    pub record: Record<'a>,
    /// The record's event.
    pub event: Event,
}

impl<'a> Entry<'a> {
    /// Decodes the event of a record.
    ///
    /// # Errors
    /// [`EventError`] if this build cannot read it.
    pub fn decode(position: u64, record: Record<'a>) -> Result<Self, EventError> {
        let event = record.event()?;
        Ok(Self {
            position,
            record,
            event,
        })
    }
}

/// A fold of the log into tables of views.redb.
///
/// It is deterministic: no clock, no randomness, no IO but the transaction. Its tables are named
/// `name@version/…`; tables of another version are dropped once this version has caught up.
pub trait Projection: Send + Sync {
    /// Returns the view's kebab-case name.
    fn name(&self) -> &'static str;

    /// Returns the version, which rises with every change of the tables, the rows or the fold; a
    /// new version rebuilds the view.
    fn version(&self) -> u32;

    /// Folds entries that follow each other without a gap; an empty slice makes the tables.
    ///
    /// [`Views`] has asserted the order, and commits the rows together with the checkpoint. `cover`
    /// must get every change of a row that decisions depend on.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] halts this view alone; [`ViewError::Storage`] fails the whole
    /// transaction.
    fn apply(
        &self,
        txn: &WriteTransaction,
        entries: &[Entry],
        cover: &mut Cover,
    ) -> Result<(), ViewError>;

    /// Adds every row that [`apply`](Self::apply) covers to the tally; returns false if a look-up
    /// does not find one of them. The tables exist.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be read.
    fn count(&self, _: &WriteTransaction, _: &mut Cover) -> Result<bool, ViewError> {
        Ok(true)
    }

    /// Is called when the tables hold everything up to a position, so that the view can drop it
    /// from memory.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be read.
    fn persisted(&self, _: u64) -> Result<(), ViewError> {
        Ok(())
    }

    /// Is called before the tables are emptied.
    fn rebuilding(&self) {}

    /// Returns every row of every table of the view, as text.
    #[cfg(test)]
    fn dump(&self, read: &redb::ReadTransaction) -> Vec<String>;
}

/// Why a view could not be read or advanced.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The file cannot be read or written; nothing of the transaction was kept.
    #[error(
        "views.redb cannot be read or written ({0}): close it and open it again, and delete it if that does not help; it is rebuilt from the log"
    )]
    Storage(#[source] Box<redb::Error>),
    /// A row or an entry is not what the fold expects.
    #[error("view {view} met a damaged {what} at {at}: rebuild the view")]
    Damaged {
        /// The view's name.
        view: &'static str,
        /// Which part is damaged.
        what: &'static str,
        /// The position of the entry being folded, or the stream being read.
        at: String,
    },
    /// An entry does not follow the one before it.
    #[error(
        "view {view} expected position {expected} and got {found}: read the log again from {expected}"
    )]
    Gap {
        /// The view's name.
        view: &'static str,
        /// The checkpoint plus 1.
        expected: u64,
        /// The entry's position.
        found: u64,
    },
    /// A slice begins, ends or breaks inside a command's events.
    #[error("the slice splits the group of events at position {position}: hand over whole groups")]
    SplitGroup {
        /// The position of the group's first entry in the slice.
        position: u64,
    },
    /// The view does not hold the newest events and does not answer, so that no caller gets less
    /// than the log holds.
    #[error("the view is behind the log ({0}): try again when it has caught up")]
    Behind(String),
}

/// Converts each error that redb returns.
macro_rules! storage {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for ViewError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        })*
    };
}

storage! { DatabaseError TransactionError TableError StorageError CommitError SetDurabilityError }
