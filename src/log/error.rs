//! The errors of the log, one sentence each: what happened, why, and what to do.

use std::path::PathBuf;

use super::hashes::TileError;

/// The reasons why one segment file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFault {
    /// Another handle holds the file.
    #[error("another process has the file open")]
    Locked,
    /// The file was not closed cleanly, so it cannot be opened read-only.
    #[error("the file was not closed cleanly and needs a repair")]
    Unclean,
    /// The file's bytes are not those that the log wrote.
    #[error("the file is damaged ({0})")]
    Damaged(String),
    /// The disk or the operating system refused.
    #[error("{0}")]
    Io(#[source] Box<redb::Error>),
}

/// The reasons why the log was not created or opened; nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// There is no log where one was expected.
    #[error(
        "there is no log at {0}: check the data folder in the configuration, or run `countersign init` for a new installation"
    )]
    Missing(PathBuf),
    /// A log, or something else, is already where a new one was to be created.
    #[error(
        "{0} already exists, so no new log was created: start the service on it, or name another data folder"
    )]
    AlreadyExists(PathBuf),
    /// The path is a symbolic link, or not the kind of file that the log writes.
    #[error(
        "{0} is a symbolic link or not a plain folder or file, which the log does not follow because its target can change unseen: name the real path"
    )]
    NotPlain(PathBuf),
    /// The folder or a file in it cannot be written.
    #[error(
        "{0} is read-only, but the log must be able to write to it: make it writable for the service's user"
    )]
    ReadOnly(PathBuf),
    /// Another process has the log open.
    #[error("the log at {0} is in use by another process: stop that process first")]
    AlreadyOpen(PathBuf),
    /// A segment file is absent although a later one exists, or there is none at all.
    #[error(
        "segment {number:08} is missing from {folder}, so events would be lost: restore the file from a backup"
    )]
    MissingSegment {
        /// The log's folder.
        folder: PathBuf,
        /// The number of the first missing segment, from 1.
        number: u32,
    },
    /// A segment does not continue where the previous one ended.
    #[error(
        "{segment} should begin at position {expected} but begins at {found}, so it belongs to another log or was copied at another time: restore all segments from one backup"
    )]
    Gap {
        /// The segment that does not fit.
        segment: PathBuf,
        /// The position after the last one of the previous segment.
        expected: u64,
        /// The position that the segment begins at.
        found: u64,
    },
    /// A file does not hold what the log wrote; it is never treated as an empty log.
    #[error(
        "{segment} is damaged ({reason}), and continuing without its events would make used codes valid again: restore the file from a backup"
    )]
    Damaged {
        /// The damaged segment.
        segment: PathBuf,
        /// What does not fit, without any of the contents.
        reason: String,
    },
    /// The first records of a new log were refused.
    #[error("the new log's first records were refused: {0}")]
    FirstRecords(#[source] Box<AppendError>),
    /// The disk or the operating system refused.
    #[error(
        "the log could not use {path} ({reason}): check the disk, its free space and the permissions, then start again"
    )]
    Io {
        /// The path that was read or written.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },
}

/// The reasons why records were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer's records are at these positions; nothing was written.
    #[error("the log's head is {head}, not the expected one: catch up to it and decide again")]
    Conflict {
        /// The position of the last durable record.
        head: u64,
    },
    /// The batch exceeds a bound; nothing was written.
    #[error(
        "a batch of {records} records and {bytes} bytes is over the limit of {records_max} records and {bytes_max} bytes: split it between two commands",
        records_max = super::options::BATCH_RECORDS_MAX,
        bytes_max = super::options::BATCH_BYTES_MAX
    )]
    BatchTooLarge {
        /// The number of records in the batch.
        records: usize,
        /// The sum of their lengths, in bytes.
        bytes: usize,
    },
    /// One record exceeds its bound; nothing was written.
    #[error(
        "a record of {bytes} bytes is over the limit of {bytes_max} bytes: refuse the command that made it",
        bytes_max = super::options::RECORD_BYTES_MAX
    )]
    RecordTooLarge {
        /// The record's length, in bytes.
        bytes: usize,
    },
    /// The write failed midway; after a restart the records may or may not be there.
    #[error(
        "writing {segment} failed ({fault}), so the outcome is unknown: stop the process, check the disk and start again"
    )]
    Io {
        /// The segment that was being written.
        segment: PathBuf,
        /// The storage's error.
        #[source]
        fault: SegmentFault,
    },
    /// An earlier write failed, so the state in memory cannot be trusted any more.
    #[error(
        "the log refuses writes because an earlier one failed: stop the process and start again"
    )]
    Poisoned,
}

/// The reasons why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// The segment could not be used.
    #[error(
        "reading {segment} failed ({fault}): stop the process, check the disk, and restore the file from a backup if it is damaged"
    )]
    Segment {
        /// The segment that was being read.
        segment: PathBuf,
        /// The storage's error.
        #[source]
        fault: SegmentFault,
    },
    /// The log was closed.
    #[error("the log is closed because the service is stopping: start it again to read")]
    Closed,
    /// The record is not the one that was appended.
    #[error(
        "the record at position {position} was changed after it was appended: stop the service, run `countersign audit verify --data`, and restore the log from a backup"
    )]
    Altered {
        /// The record's position.
        position: u64,
    },
    /// The hash that the record is compared with cannot be read.
    #[error(transparent)]
    Tile(#[from] TileError),
}

impl SegmentFault {
    /// Turns the fault into the refusal to open the log.
    pub(super) fn refuse_open(self, path: PathBuf) -> OpenLogError {
        match self {
            SegmentFault::Locked => OpenLogError::AlreadyOpen(path),
            SegmentFault::Damaged(reason) => OpenLogError::Damaged {
                segment: path,
                reason,
            },
            SegmentFault::Io(error) if is_read_only(&error) => OpenLogError::ReadOnly(path),
            fault @ (SegmentFault::Unclean | SegmentFault::Io(_)) => OpenLogError::Io {
                path,
                reason: fault.to_string(),
            },
        }
    }
}

impl From<redb::Error> for SegmentFault {
    fn from(error: redb::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                SegmentFault::Locked
            }
            redb::Error::RepairAborted => SegmentFault::Unclean,
            redb::Error::Io(io) if matches!(io.kind(), InvalidData | UnexpectedEof) => {
                SegmentFault::Damaged(io.to_string())
            }
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::UnorderedKey => SegmentFault::Damaged(error.to_string()),
            other => SegmentFault::Io(Box::new(other)),
        }
    }
}

fn is_read_only(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, redb::Error::Io(io) if matches!(io.kind(), PermissionDenied | ReadOnlyFilesystem))
}
