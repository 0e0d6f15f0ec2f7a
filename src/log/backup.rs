//! Backup: a copy of the log that opens as a log, taken beside the writer.
//!
//! ```text
//!   stage: NNNNNNNN.redb.new for what is new ─▶ (the keys are copied) ─▶ publish: names, in order
//! ```
//!
//! Sealed segments never change, so each is copied once; every later backup replaces the copy of
//! the segment that takes writes. No file is copied as it is: its records are read page by page,
//! and a reader that knows the Merkle tree compares each with its leaf, so a changed record
//! replaces no good one. Nothing is pinned, so the live file does not grow.
//!
//! A copy gets its name only once the keys that its records need are copied too, so a crash never
//! leaves a log that its keys do not open.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::error::{OpenLogError, ReadLogError, SegmentFault};
use super::reader::LogReader;
use super::shared::Active;
use super::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX, folder, segment};
use crate::durable;

/// The page cache, in bytes, for reading or writing one copy.
const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A segment as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// The file's name.
    pub name: String,
    /// The positions in it.
    pub positions: RangeInclusive<u64>,
    /// Whether the segment is closed for good.
    pub sealed: bool,
    /// The file's size, in bytes.
    pub file_bytes: u64,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last position in the backup.
    pub position: u64,
    /// The backup's files, including those that an earlier backup copied.
    pub files: Vec<PathBuf>,
}

/// Copies of segments, complete and durable, that do not have their names yet.
#[derive(Debug)]
pub struct StagedCopy {
    /// All files of the copy, and whether each is new.
    files: Vec<(PathBuf, bool)>,
    /// The last position in them.
    position: u64,
    /// The last position of the copy that was read again.
    read_through: u64,
}

/// Why there is no new backup; an earlier backup stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target cannot be written.
    #[error(
        "{path} in the backup folder cannot be written ({source}): free space there, or name another folder"
    )]
    Target {
        /// The path that cannot be written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A copy cannot be written, or cannot be read back.
    #[error("the copy {path} was not made ({fault}): free space there, or name another folder")]
    Copy {
        /// The copy's path.
        path: PathBuf,
        /// The fault of the copy.
        fault: SegmentFault,
    },
    /// The target's copies cannot be listed.
    #[error("the copies in the backup folder cannot be read: {0}")]
    Copies(#[source] OpenLogError),
    /// The target holds records that the present log does not have.
    #[error(
        "the copy {path} has a record at position {position} that this log does not have: keep that folder, since nothing else may have that record, and name another folder"
    )]
    KnowsMore {
        /// The copy's path.
        path: PathBuf,
        /// The first position that the log does not have.
        position: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadLogError),
}

impl LogReader {
    /// Returns the segments, oldest first.
    ///
    /// # Errors
    /// [`ReadLogError::Closed`] if the log was closed.
    pub fn segments(&self) -> Result<Vec<SegmentState>, ReadLogError> {
        let shared = self.shared();
        let mut first = 1;
        let mut segments = Vec::new();
        let mut state = |number: u32, positions: RangeInclusive<u64>, sealed: bool| {
            let path = folder::segment_path(&shared.folder, number);
            segments.push(SegmentState {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                positions,
                sealed,
                file_bytes: fs::metadata(&path).map_or(0, |meta| meta.len()),
            });
        };
        // The lock is held over both lists, so that a segment that is being sealed is in exactly
        // one of them.
        let active = shared.active();
        for (number, end) in (1..).zip(shared.sealed.ends()) {
            state(number, first..=end, true);
            first = end + 1;
        }
        match &*active {
            Active::Open { segment, .. } => {
                state(segment.number, segment.first..=shared.head(), false);
            }
            Active::Between => {}
            Active::Closed => return Err(ReadLogError::Closed),
        }
        Ok(segments)
    }

    /// Copies the records up to `through` into a folder, incrementally; the copy opens as a log
    /// once it is published. `proven` is the position up to which the folder is known to be a copy
    /// of this log; later records in the folder are copied again. Of the sealed segments in the
    /// folder, the first one after `read_through` is compared with the log, and copied again if it
    /// has rotted.
    ///
    /// Every file is complete and durable. The log may be written meanwhile.
    ///
    /// # Errors
    /// [`BackupError`]; the existing copies stay as they were.
    pub fn stage_copy(
        &self,
        target: &Path,
        proven: u64,
        through: u64,
        read_through: u64,
    ) -> Result<StagedCopy, BackupError> {
        folder::private_folder(target).map_err(|source| target_error(target, source))?;
        self.refuse_loss(target, proven)?;
        let mut staged = StagedCopy {
            files: Vec::new(),
            position: 0,
            read_through: 0,
        };
        for mut segment in self.segments()? {
            if *segment.positions.start() > through {
                break;
            }
            let is_whole = segment.sealed && *segment.positions.end() <= through;
            segment.positions = *segment.positions.start()..=through.min(*segment.positions.end());
            let path = target.join(&segment.name);
            let mut is_there = is_whole
                && *segment.positions.end() <= proven
                && self
                    .extent_of(&path)
                    .is_ok_and(|found| found == segment.positions);
            if is_there && staged.read_through == 0 && *segment.positions.end() > read_through {
                staged.read_through = *segment.positions.end();
                is_there = self.is_copied(&segment, &path)?;
            }
            if is_there {
                // This includes a copy that an earlier backup made.
                folder::narrow(&path).map_err(|source| target_error(&path, source))?;
            } else {
                self.copy_records(&segment, &path)?;
            }
            staged.position = *segment.positions.end();
            staged.files.push((path, !is_there));
        }
        Ok(staged)
    }

    /// Returns whether a copy has every record of a segment as the log has it.
    fn is_copied(&self, segment: &SegmentState, path: &Path) -> Result<bool, BackupError> {
        let storage = &self.shared().options.storage;
        let end = *segment.positions.end();
        let mut next = *segment.positions.start();
        let copy = storage.open_read_only(path, COPY_CACHE_BYTES);
        while let Ok(copy) = &copy
            && next <= end
        {
            let mut page = super::Page::new(next, PAGE_RECORDS_MAX, PAGE_BYTES_MAX);
            if segment::read(copy, next..=end, &mut page).is_err() || page.is_empty() {
                break;
            }
            for (position, record) in page.iter() {
                if self.get(position)?.as_deref() != Some(record) {
                    break;
                }
                next = position + 1;
            }
            if next < page.next() {
                break;
            }
        }
        let is_copied = next > end;
        if !is_copied {
            tracing::error!(
                path = %path.display(),
                position = next,
                "ALARM: a copy in the backup folder has changed since it was made, so it is copied again: check that disk, and verify the whole backup"
            );
        }
        Ok(is_copied)
    }

    fn extent_of(&self, path: &Path) -> Result<RangeInclusive<u64>, SegmentFault> {
        let storage = &self.shared().options.storage;
        segment::extent(&storage.open_read_only(path, COPY_CACHE_BYTES)?)
    }

    /// Refuses to replace copies of records that this log does not have. An interrupted backup
    /// leaves such copies if the log is set back afterwards. A copy that cannot be read holds
    /// nothing to lose.
    fn refuse_loss(&self, target: &Path, proven: u64) -> Result<(), BackupError> {
        let storage = &self.shared().options.storage;
        let mut names = folder::names(target).map_err(BackupError::Copies)?;
        names.sort_unstable();
        for name in names
            .iter()
            .filter(|name| folder::segment_number(name).is_some())
        {
            let path = target.join(name);
            let Ok(db) = storage.open_read_only(&path, COPY_CACHE_BYTES) else {
                continue;
            };
            let Ok(extent) = segment::extent(&db) else {
                continue;
            };
            let mut next = (*extent.start()).max(proven + 1);
            while next <= *extent.end() {
                let mut page = super::Page::new(next, PAGE_RECORDS_MAX, PAGE_BYTES_MAX);
                if segment::read(&db, next..=*extent.end(), &mut page).is_err() && page.is_empty() {
                    break;
                }
                for (position, record) in page.iter() {
                    if self.get(position)?.as_deref() != Some(record) {
                        return Err(BackupError::KnowsMore { path, position });
                    }
                }
                next = page.next();
            }
        }
        Ok(())
    }

    fn copy_records(&self, segment: &SegmentState, path: &Path) -> Result<(), BackupError> {
        let copy = durable::staging(path);
        durable::remove_if_there(&copy).map_err(|source| target_error(&copy, source))?;
        let failed = |fault| copy_error(&copy, fault);
        let storage = &self.shared().options.storage;
        let db = storage.create(&copy, COPY_CACHE_BYTES).map_err(failed)?;
        let end = *segment.positions.end();
        let mut next = *segment.positions.start();
        while next <= end {
            let room = usize::try_from(end - next + 1).unwrap_or(usize::MAX);
            let page = self.read(next, room.min(PAGE_RECORDS_MAX), PAGE_BYTES_MAX)?;
            let records: Vec<_> = page.iter().map(|(_, record)| record.to_vec()).collect();
            segment::commit(&db, next, &records).map_err(failed)?;
            next += records.len() as u64;
        }
        segment::close(db).map_err(failed)
    }
}

impl StagedCopy {
    /// Returns the last position in the copies.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the last position of the segment that was read again, 0 if a round is complete.
    pub fn read_through(&self) -> u64 {
        self.read_through
    }

    /// Gives every copy its name, durably, the oldest first.
    ///
    /// # Errors
    /// [`BackupError::Target`] if the folder cannot be written; the copies that already have their
    /// names stay.
    pub fn publish(self) -> Result<Backup, BackupError> {
        for (path, _) in self.files.iter().filter(|(_, is_new)| *is_new) {
            durable::publish(path).map_err(|source| target_error(path, source))?;
        }
        Ok(Backup {
            position: self.position,
            files: self.files.into_iter().map(|(path, _)| path).collect(),
        })
    }
}

fn target_error(path: &Path, source: io::Error) -> BackupError {
    BackupError::Target {
        path: path.into(),
        source,
    }
}

fn copy_error(path: &Path, fault: SegmentFault) -> BackupError {
    BackupError::Copy {
        path: path.into(),
        fault,
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
