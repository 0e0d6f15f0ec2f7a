//! What is met on the disk that the service did not leave so.

use super::Index;
use super::file::Cursor;
use super::layers::IndexError;

// BUG: changed-index-stops: a row of the index that is changed later stops the service.
/// Something on the disk is not what the service left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A record of the log.
    #[error(
        "the record at position {position} of the log was changed after it was appended: run `countersign audit verify --data`, find out who could write the data folder, and restore the log from a backup"
    )]
    Record {
        /// Its position.
        position: u64,
    },
    /// A record that no checkpoint covers.
    #[error(
        "the record at position {position} was not written by this service, or not there: somebody changed the log while it was stopped, or an older build wrote it and no checkpoint covers it; bring back the newest `checkpoint` and `checkpoint-history` beside the keyring, find out who could write the data folder, and restore the log from a backup"
    )]
    Appended {
        /// Its position.
        position: u64,
    },
    /// Some record before a signed checkpoint.
    #[error(
        "the first {size} records of the log are not those that were signed for: run `countersign audit verify --data`, find out who could write the data folder, and restore the log from a backup"
    )]
    Root {
        /// The size of the checkpoint.
        size: u64,
    },
    /// Rows of the index.
    #[error(
        "index.redb was changed by something other than this service: find out who could write the data folder, and start again; it is rebuilt from the log then"
    )]
    Index,
}

impl Index {
    /// Notes what was met that the service did not leave so; the first is kept.
    pub fn met(&self, finding: Finding) {
        let mut met = self.finding.lock().expect("no holder of this lock panics");
        met.get_or_insert(finding);
    }

    /// What was met that the service did not leave so, and what to do about it; none where nothing
    /// was. Nothing may be decided then.
    pub fn finding(&self) -> Option<Finding> {
        let met = *self.finding.lock().expect("no holder of this lock panics");
        met.or(self.file.is_changed().then_some(Finding::Index))
    }

    /// Makes the next open build the file from the log again.
    ///
    /// # Errors
    /// [`IndexError`] when the file cannot be written.
    pub fn distrust(&self) -> Result<(), IndexError> {
        self.file.distrust()
    }

    /// Passes a result on. With an error, the next open builds the file from the log again: rows that
    /// were taken from what is refused must not speak for the log that takes its place.
    ///
    /// # Errors
    /// Those of the result.
    pub fn distrust_with<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err()
            && let Err(error) = self.distrust()
        {
            tracing::error!(%error, "the next start may take the index for right");
        }
        result
    }

    /// Reads the rows of so many buckets, from one of them on, and holds them to what the service
    /// left; gives where to go on, none after the last.
    ///
    /// # Errors
    /// [`IndexError`] when a row was changed, or the file cannot be read.
    pub fn check_buckets(&self, from: Cursor, count: usize) -> Result<Option<Cursor>, IndexError> {
        self.file.check_buckets(from, count)
    }
}
