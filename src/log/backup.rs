//! Backup: a copy of the log that opens as a log, taken beside the writer.
//!
//! Sealed segments never change, so each is copied once. The records of the segment that takes
//! writes are read page by page and written anew, since an open file cannot be copied; that copy is
//! replaced by every later backup. Nothing is pinned, so the live file does not grow.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::{ReadLogError, SegmentFault};
use super::reader::LogReader;
use super::shared::Active;
use super::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX, folder, segment};

/// Page cache for the copy that is written anew.
const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A segment as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// Its file's name.
    pub name: String,
    /// The positions in it.
    pub positions: RangeInclusive<u64>,
    /// Whether it is closed for good.
    pub sealed: bool,
    /// The file's size.
    pub file_bytes: u64,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last position in it.
    pub position: u64,
    /// Its files, those that an earlier backup had copied already included.
    pub files: Vec<PathBuf>,
}

/// Why there is no new backup; what an earlier one left is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target cannot be written.
    #[error(
        "the backup folder cannot be written at {path} ({source}): free space or name another folder"
    )]
    Target {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A copy cannot be written or does not read back.
    #[error("the copy {path} was not made ({fault}): free space or name another folder")]
    Copy {
        /// The copy.
        path: PathBuf,
        /// Why.
        fault: SegmentFault,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadLogError),
}

impl LogReader {
    /// The segments, oldest first.
    ///
    /// # Errors
    /// [`ReadLogError::Closed`] after the log was closed.
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
        // Held over both lists, so that a segment that is being sealed is in exactly one of them.
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

    /// Copies the log into a folder, incrementally; the copy opens as a log.
    ///
    /// Every file has its name only once it is complete and durable. The log goes on being written.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn back_up(&self, target: &Path) -> Result<Backup, BackupError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(target);
        made.map_err(|source| target_error(target, source))?;
        let mut backup = Backup {
            position: 0,
            files: Vec::new(),
        };
        for segment in self.segments()? {
            let path = target.join(&segment.name);
            if segment.sealed {
                self.copy_sealed(&segment, &path)?;
            } else {
                self.copy_active(&segment, &path)?;
            }
            // Also a copy that an earlier backup made.
            folder::narrow(&path).map_err(|source| target_error(&path, source))?;
            backup.position = *segment.positions.end();
            backup.files.push(path);
        }
        Ok(backup)
    }

    fn copy_sealed(&self, segment: &SegmentState, path: &Path) -> Result<(), BackupError> {
        let options = &self.shared().options;
        let extent_of = |path: &Path| {
            let db = options.storage.open_read_only(path, COPY_CACHE_BYTES)?;
            segment::extent(&db)
        };
        if extent_of(path).is_ok_and(|extent| extent == segment.positions) {
            return Ok(());
        }
        let copy = folder::unpublished(path);
        fs::copy(self.shared().folder.join(&segment.name), &copy)
            .and_then(|_| fs::File::open(&copy)?.sync_all())
            .map_err(|source| target_error(&copy, source))?;
        match extent_of(&copy) {
            Ok(extent) if extent == segment.positions => {}
            Ok(_) => {
                return Err(copy_error(
                    &copy,
                    SegmentFault::Damaged("it ends elsewhere".into()),
                ));
            }
            Err(fault) => return Err(copy_error(&copy, fault)),
        }
        folder::publish(path).map_err(|source| target_error(path, source))
    }

    fn copy_active(&self, segment: &SegmentState, path: &Path) -> Result<(), BackupError> {
        let copy = folder::unpublished(path);
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(target_error(&copy, error));
            }
            Ok(()) | Err(_) => {}
        }
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
        segment::close(db).map_err(failed)?;
        folder::publish(path).map_err(|source| target_error(path, source))
    }
}

fn target_error(path: &Path, source: std::io::Error) -> BackupError {
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
mod tests {
    use std::num::NonZeroU64;

    use super::super::{EventLog, LogOptions};
    use super::*;

    fn options() -> LogOptions {
        LogOptions {
            segment_records: NonZeroU64::new(10).unwrap(),
            ..LogOptions::default()
        }
    }

    fn record(position: u64) -> Vec<u8> {
        format!("record {position}").into_bytes()
    }

    fn append(log: &mut EventLog, count: u64) {
        for _ in 0..count {
            let head = log.head();
            log.append(head, &[record(head + 1)]).unwrap();
        }
    }

    fn assert_holds(folder: &Path, head: u64) {
        let log = EventLog::open(folder, options()).unwrap();
        let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
        let expected: Vec<_> = (1..=head)
            .map(|position| (position, record(position)))
            .collect();
        let found: Vec<_> = page
            .iter()
            .map(|(at, bytes)| (at, bytes.to_vec()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_backup_taken_while_the_log_is_written_opens_as_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
        let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
        for (more, head) in [(4, 5), (8, 13), (30, 43), (0, 43)] {
            append(&mut log, more);
            let backup = log.reader().back_up(&target).unwrap();
            assert_eq!(backup.position, head);
            assert_holds(&target, head);
        }
        append(&mut log, 7);
        assert_eq!(
            log.reader().segments().unwrap().last().unwrap().positions,
            41..=50
        );
    }

    #[test]
    fn a_sealed_segment_is_copied_once_and_a_damaged_copy_again() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("log"), folder.path().join("backup"));
        let mut log = EventLog::create(&source, options(), &[record(1)]).unwrap();
        append(&mut log, 14);
        log.reader().back_up(&target).unwrap();
        let first = target.join("00000001.redb");
        let written = || fs::metadata(&first).unwrap().modified().unwrap();
        let before = written();
        log.reader().back_up(&target).unwrap();
        assert_eq!(written(), before);
        fs::write(&first, b"damaged").unwrap();
        log.reader().back_up(&target).unwrap();
        assert_holds(&target, 15);
    }
}
