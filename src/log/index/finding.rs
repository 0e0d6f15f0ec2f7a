//! Findings: data on the disk that the service did not leave there.

use super::Index;
use super::file::Cursor;
use super::layers::IndexError;

// BUG: changed-index-stops: a row of the index that is changed later stops the service.
/// Data on the disk that differs from what the service wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A record of the log was changed.
    #[error(
        "the record at position {position} of the log was changed after it was appended: run `countersign audit verify --data`, find out who could write the data folder, and restore the log from a backup"
    )]
    Record {
        /// The record's position.
        position: u64,
    },
    /// A record that no checkpoint covers was not written by this service.
    #[error(
        "the record at position {position} is missing or was not written by this service: the log was changed while the service was stopped, or an older build wrote the record and no checkpoint covers it; restore the newest `checkpoint` and `checkpoint-history` beside the keyring, find out who could write the data folder, and restore the log from a backup"
    )]
    Appended {
        /// The record's position.
        position: u64,
    },
    /// A record before a signed checkpoint was changed.
    #[error(
        "the first {size} records of the log are not those that the signed checkpoint covers: run `countersign audit verify --data`, find out who could write the data folder, and restore the log from a backup"
    )]
    Root {
        /// The size of the checkpoint, in records.
        size: u64,
    },
    /// Rows of the index were changed.
    #[error(
        "index.redb was changed by something other than this service: find out who could write the data folder, and start again; it is rebuilt from the log then"
    )]
    Index,
}

impl Index {
    /// Keeps a finding; only the first one is kept.
    pub fn met(&self, finding: Finding) {
        let mut met = self.finding.lock().expect("no holder of this lock panics");
        met.get_or_insert(finding);
    }

    /// Returns the first finding, with its remedy; `None` if there is none. After a finding,
    /// nothing may be decided.
    pub fn finding(&self) -> Option<Finding> {
        let met = *self.finding.lock().expect("no holder of this lock panics");
        met.or(self.file.is_changed().then_some(Finding::Index))
    }

    /// Marks the file, so that the next open rebuilds it from the log.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be written.
    pub fn distrust(&self) -> Result<(), IndexError> {
        self.file.distrust()
    }

    /// Passes a result on. After an error, the next open rebuilds the file from the log: rows from
    /// a refused log must not count for the log that replaces it.
    ///
    /// # Errors
    /// The error of the result.
    pub fn distrust_with<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err()
            && let Err(error) = self.distrust()
        {
            tracing::error!(%error, "the next start may trust the index although it should not");
        }
        result
    }

    /// Reads the rows of this many buckets, from one of them on, and checks them against their
    /// seals. Returns where to continue; `None` after the last bucket.
    ///
    /// # Errors
    /// [`IndexError`] if a row was changed, or the file cannot be read.
    pub fn check_buckets(&self, from: Cursor, count: usize) -> Result<Option<Cursor>, IndexError> {
        self.file.check_buckets(from, count)
    }
}
