//! The event log: an append-only list of record bytes in redb segments, and the only way to it.
//!
//! ```text
//!   EventLog (one, owned by the writer)            LogReader (any number)
//!   append(expected head, records) ──┐             head · read(from…) · get
//!                                    ▼                     │ one page per transaction
//!   log/00000001.redb   00000002.redb   00000003.redb      ▼
//!       sealed, read-only   sealed          takes writes
//! ```
//!
//! The log knows positions (gapless, from 1) and bytes, not what the bytes mean. A log on another
//! engine can replace it, so no code outside this room may depend on an append being local.
//!
//! What holds after every crash, and why:
//! - An acknowledged batch is in one durable redb commit; a batch is there completely or not at
//!   all.
//! - A segment's file gets its name only once its first batch is durable in it, so a named file
//!   without records is damage, never an empty log.
//! - A segment is closed before the next one is made, so only the last can need a repair.

mod backup;
mod backup_manifest;
mod checkpoint_copy;
mod checkpoint_refusal;
pub mod checkpoints;
mod error;
mod files;
mod folder;
pub mod hashes;
mod history;
pub mod index;
pub mod offline;
mod options;
mod page;
pub mod proof;
mod reader;
mod sealed;
mod segment;
mod shared;
pub mod tiles;
pub mod tree;
pub mod verify;

use std::path::Path;
use std::sync::Arc;

use crate::crash_point::reached;
use crate::durable;
pub use backup::{Backup, BackupError, SegmentState, StagedCopy};
pub use backup_manifest::{MANIFEST, Manifest, ManifestError, Part};
pub use error::{AppendError, OpenLogError, ReadLogError, SegmentFault};
pub use files::FileId;
use files::Files;
use folder::FolderLock;
pub(crate) use folder::private_folder;
pub use options::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, LogOptions, PAGE_BYTES_MAX, PAGE_RECORDS_MAX,
    RECORD_BYTES_MAX,
};
pub use page::Page;
pub use reader::LogReader;
use sealed::SealedSegments;
pub use segment::Storage;
use shared::{Active, Segment, Shared};

/// The log, open for appending; only one process may have a folder open.
///
/// Dropping it closes it as [`EventLog::close`] does, but hides an error.
#[derive(Debug)]
pub struct EventLog {
    shared: Arc<Shared>,
    poisoned: bool,
    /// Whether a crash now would need a repair at the next open.
    repair_due: bool,
    /// Released after the segments, which `Drop` closes first.
    _folder_lock: FolderLock,
}

impl EventLog {
    /// Creates a log that begins with the records `first`, and opens it.
    ///
    /// A log without records is never valid, so creation and first append are one step: after a
    /// crash there is either no log at `folder` or one with all of `first`, durable.
    ///
    /// # Errors
    /// [`OpenLogError::AlreadyExists`] if anything is at `folder`; [`OpenLogError::FirstRecords`]
    /// if `first` is empty or exceeds a bound of [`EventLog::append`]; the rest as
    /// [`EventLog::open`].
    pub fn create(
        folder: &Path,
        options: LogOptions,
        first: &[Vec<u8>],
    ) -> Result<EventLog, OpenLogError> {
        check_bounds(first).map_err(|error| OpenLogError::FirstRecords(Box::new(error)))?;
        let staging = folder::begin(folder)?;
        let path = folder::segment_path(&staging, 1);
        let storage = &options.storage;
        storage
            .create(&path, options.active_cache_bytes)
            .and_then(|db| {
                segment::commit(&db, 1, first)?;
                segment::close(db)
            })
            .map_err(|fault| fault.refuse_open(path))?;
        durable::sync_folder(&staging)
            .and_then(|()| durable::publish(folder))
            .map_err(|error| folder::io_error(folder, &error))?;
        EventLog::open(folder, options)
    }

    /// Opens the log at `folder`, and repairs the last segment if the process or the machine
    /// crashed.
    ///
    /// # Errors
    /// Every variant of [`OpenLogError`] but `AlreadyExists` and `FirstRecords`: a log that is
    /// absent, has a gap, is damaged, in use or not writable is refused, never created again.
    pub fn open(folder: &Path, options: LogOptions) -> Result<EventLog, OpenLogError> {
        folder::check(folder)?;
        let lock = folder::lock(folder)?;
        let count = folder::count_segments(folder)?;
        let files = Files::found(folder, count);
        let path = folder::segment_path(folder, count);
        let opened = options.storage.open(&path, options.active_cache_bytes);
        let db = opened.map_err(|fault| fault.refuse_open(path.clone()))?;
        let extent = segment::extent(&db).map_err(|fault| fault.refuse_open(path.clone()))?;
        let sealed = SealedSegments::new(folder, &options);
        for number in 1..count {
            sealed.add_existing(number)?;
        }
        if *extent.start() != sealed.end() + 1 {
            return Err(OpenLogError::Gap {
                segment: path,
                expected: sealed.end() + 1,
                found: *extent.start(),
            });
        }
        folder::sweep(folder)?;
        let segment = Segment {
            number: count,
            first: *extent.start(),
        };
        Ok(EventLog {
            shared: Arc::new(Shared::new(
                folder,
                options,
                *extent.end(),
                files,
                sealed,
                Active::Open { segment, db },
            )),
            poisoned: false,
            repair_due: true,
            _folder_lock: lock,
        })
    }

    /// Returns the position of the last durable record; at least 1.
    pub fn head(&self) -> u64 {
        self.shared.head()
    }

    /// Returns a handle for reading, which any number of threads may use beside the writer.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Appends the records after `expected_head` and returns the new head.
    ///
    /// When it returns `Ok`, all records are durable and readers see them. The batch is in one
    /// commit, so it is never there in part. An empty list appends nothing.
    ///
    /// # Errors
    /// [`AppendError::Conflict`], `BatchTooLarge` (over [`BATCH_RECORDS_MAX`] or
    /// [`BATCH_BYTES_MAX`]) and `RecordTooLarge` (over [`RECORD_BYTES_MAX`]) leave the log as it
    /// was. After `Io` the outcome is unknown, and every later append is refused with `Poisoned`.
    pub fn append(&mut self, expected_head: u64, records: &[Vec<u8>]) -> Result<u64, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        let head = self.head();
        if expected_head != head {
            return Err(AppendError::Conflict { head });
        }
        if records.is_empty() {
            return Ok(head);
        }
        check_bounds(records)?;
        // Until the commit has returned, nothing in memory is known to match the disk.
        self.poisoned = true;
        if let Some(next) = self.seal_if_full(head)? {
            self.begin_segment(next, records)?;
        } else {
            self.shared
                .write(|db| segment::commit(db, head + 1, records))?;
        }
        self.poisoned = false;
        self.repair_due = true;
        let head = head + records.len() as u64;
        self.shared.publish(head);
        Ok(head)
    }

    /// Spends one commit so that a later crash needs no repair; called when the writer has no work.
    ///
    /// Does nothing unless something was appended since the last call.
    ///
    /// # Errors
    /// The same as [`EventLog::append`]: `Io` poisons the log, and `Poisoned` reports that it is
    /// poisoned.
    pub fn idle(&mut self) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.repair_due {
            self.poisoned = true;
            self.shared.write(segment::commit_quick_repair)?;
            self.poisoned = false;
            self.repair_due = false;
        }
        Ok(())
    }

    /// Makes a durable commit without a record, which takes as long as one with a record.
    ///
    /// # Errors
    /// The same as [`EventLog::append`]: `Io` poisons the log, and `Poisoned` reports that it is
    /// poisoned.
    pub fn commit_nothing(&mut self) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        self.poisoned = true;
        let next = self.head() + 1;
        self.shared.write(|db| segment::commit(db, next, &[]))?;
        self.poisoned = false;
        self.repair_due = true;
        Ok(())
    }

    /// Closes every segment cleanly, after the pages being read; later reads are refused.
    ///
    /// # Errors
    /// [`AppendError::Io`] if the segments could not be closed cleanly; the next open then repairs
    /// them.
    pub fn close(self) -> Result<(), AppendError> {
        self.shared.close()
    }

    /// Seals the active segment if it is full, and returns the one to begin next.
    fn seal_if_full(&self, head: u64) -> Result<Option<Segment>, AppendError> {
        let shared = &self.shared;
        let mut active = shared.active_mut();
        let Active::Open { segment, .. } = *active else {
            return Err(AppendError::Poisoned);
        };
        if head - segment.first + 1 < shared.options.segment_records.get() {
            return Ok(None);
        }
        let Active::Open { db, .. } = std::mem::replace(&mut *active, Active::Between) else {
            return Err(AppendError::Poisoned);
        };
        segment::close(db)
            .and_then(|()| shared.sealed.add(segment.number, head))
            .map_err(|fault| shared.append_error(segment.number, fault))?;
        reached("segment-closed");
        Ok(Some(Segment {
            number: segment.number + 1,
            first: head + 1,
        }))
    }

    /// Makes the next segment with the batch in it; it gets its name only when both are durable.
    fn begin_segment(&self, segment: Segment, records: &[Vec<u8>]) -> Result<(), AppendError> {
        let shared = &self.shared;
        let path = folder::segment_path(&shared.folder, segment.number);
        let storage = &shared.options.storage;
        let cache_bytes = shared.options.active_cache_bytes;
        let unpublished = durable::staging(&path);
        let mut file = None;
        let db = storage
            .create(&unpublished, cache_bytes)
            .and_then(|db| {
                file = FileId::at(&unpublished);
                segment::commit(&db, segment.first, records)?;
                reached("segment-unpublished");
                durable::publish(&path)
                    .map_err(|error| redb::Error::Io(error).into())
                    .map(|()| db)
            })
            .map_err(|fault| shared.append_error(segment.number, fault))?;
        shared.files.add(file);
        reached("segment-published");
        *shared.active_mut() = Active::Open { segment, db };
        Ok(())
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // The next open repairs a segment that could not be closed, and reports it if it cannot.
        let _ = self.shared.close();
    }
}

fn check_bounds(records: &[Vec<u8>]) -> Result<(), AppendError> {
    let bytes = records.iter().map(Vec::len).sum();
    if records.is_empty() || records.len() > BATCH_RECORDS_MAX || bytes > BATCH_BYTES_MAX {
        return Err(AppendError::BatchTooLarge {
            records: records.len(),
            bytes,
        });
    }
    let too_large = records
        .iter()
        .map(Vec::len)
        .find(|&bytes| bytes > RECORD_BYTES_MAX);
    too_large.map_or(Ok(()), |bytes| Err(AppendError::RecordTooLarge { bytes }))
}
#[cfg(test)]
mod tests;
