//! Verification of a log's folder from outside: nothing in it is changed, repaired or locked.

use std::fs;
use std::path::{Path, PathBuf};

use redb::ReadOnlyDatabase;

use super::error::{OpenLogError, SegmentFault};
use super::folder;
use super::page::Page;
use super::segment::{self, Storage};
use super::verify::{BadLog, Fault, Verified, Verifier};
use super::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX};
use crate::crypto::note::Checkpoint;

/// The page cache, in bytes, while a segment is read once from end to end.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Why a folder was not verified, or what is wrong with its log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log could be read and is wrong.
    #[error(transparent)]
    Bad(#[from] BadLog),
    /// The log could not be read at all; nothing is known about it.
    #[error(transparent)]
    Unreadable(#[from] OpenLogError),
}

/// Verifies the log in a folder on which no service is running: a stopped one's or a copy.
///
/// Nothing in the folder is changed or even locked for writing: a segment that a crash left unclean
/// is copied to the empty folder `scratch` and repaired there. `progress` gets the position reached
/// and the last one after each page; `each` gets every record that follows from those before it.
///
/// # Errors
/// [`VerifyError::Bad`] with the first fault; [`VerifyError::Unreadable`] if there is no log, it is
/// in use, or the system refused.
pub fn verify_folder(
    folder: &Path,
    scratch: &Path,
    checkpoints: &[Checkpoint],
    mut progress: impl FnMut(u64, u64),
    mut each: impl FnMut(u64, &[u8]),
) -> Result<Verified, VerifyError> {
    let count = count_segments(folder)?;
    let mut verifier = Verifier::new(checkpoints);
    let last = OpenSegment::open(folder, count, scratch);
    // A damaged last segment is reported after the earlier ones have been read.
    let head = last.as_ref().map_or(0, |last| last.end);
    for number in 1..count {
        let segment = OpenSegment::open(folder, number, scratch);
        read_segment(
            segment,
            &mut verifier,
            |done| progress(done, head),
            &mut each,
        )?;
    }
    read_segment(last, &mut verifier, |done| progress(done, head), &mut each)?;
    Ok(verifier.finish()?)
}

/// A segment opened for reading only.
struct OpenSegment {
    path: PathBuf,
    db: ReadOnlyDatabase,
    start: u64,
    end: u64,
}

impl OpenSegment {
    fn open(folder: &Path, number: u32, scratch: &Path) -> Result<Self, (PathBuf, SegmentFault)> {
        let path = folder::segment_path(folder, number);
        let storage = Storage::default();
        let opened = match storage.open_read_only(&path, CACHE_BYTES) {
            Err(SegmentFault::Unclean) => {
                let copy = folder::segment_path(scratch, number);
                fs::copy(&path, &copy)
                    .map_err(|error| SegmentFault::from(redb::Error::Io(error)))
                    .and_then(|_| storage.open_sealed(&copy, CACHE_BYTES))
            }
            opened => opened,
        };
        let found = opened.and_then(|db| Ok((segment::extent(&db)?, db)));
        match found {
            Ok((extent, db)) => Ok(Self {
                path,
                db,
                start: *extent.start(),
                end: *extent.end(),
            }),
            Err(fault) => Err((path, fault)),
        }
    }
}

/// Feeds a segment to the verifier, page by page.
fn read_segment(
    segment: Result<OpenSegment, (PathBuf, SegmentFault)>,
    verifier: &mut Verifier,
    mut progress: impl FnMut(u64),
    each: &mut impl FnMut(u64, &[u8]),
) -> Result<(), VerifyError> {
    let mut next = verifier.position() + 1;
    let segment = segment.map_err(|(path, fault)| match fault {
        SegmentFault::Damaged(_) => VerifyError::Bad(damaged(next, path, fault)),
        SegmentFault::Locked | SegmentFault::Unclean | SegmentFault::Io(_) => {
            fault.refuse_open(path).into()
        }
    })?;
    if segment.start != next {
        let (position, fault) = (next, Fault::Gap);
        return Err(BadLog { position, fault }.into());
    }
    while next <= segment.end {
        let mut page = Page::new(next, PAGE_RECORDS_MAX, PAGE_BYTES_MAX);
        let read = segment::read(&segment.db, next..=segment.end, &mut page);
        // The records before the damage are verified first, so that the first bad position is
        // reported.
        for (position, record) in page.iter() {
            verifier.push(position, record)?;
            each(position, record);
        }
        next = verifier.position() + 1;
        read.map_err(|fault| damaged(next, segment.path.clone(), fault))?;
        progress(next - 1);
    }
    Ok(())
}

fn damaged(position: u64, segment: PathBuf, fault: SegmentFault) -> BadLog {
    let fault = Fault::Segment { segment, fault };
    BadLog { position, fault }
}

/// Counts the segments, which must be numbered 1, 2, … without a gap; they may be read-only.
fn count_segments(folder: &Path) -> Result<u32, OpenLogError> {
    let io_error = |error| match folder::io_error(folder, &error) {
        _ if error.kind() == std::io::ErrorKind::NotFound => OpenLogError::Missing(folder.into()),
        other => other,
    };
    let mut found = 0;
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name();
        found += u32::from(
            name.to_str()
                .is_some_and(|name| name.len() == 13 && name.ends_with(".redb")),
        );
    }
    let present = |number: &u32| folder::segment_path(folder, *number).is_file();
    let count = (1..).take_while(present).last().unwrap_or(0);
    if count == 0 || count != found {
        return Err(OpenLogError::MissingSegment {
            folder: folder.to_owned(),
            number: count + 1,
        });
    }
    Ok(count)
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
