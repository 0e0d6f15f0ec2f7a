//! The state that writer and readers share: the head, the sealed segments and the active one.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::Database;

use super::error::{AppendError, ReadLogError, SegmentFault};
use super::files::Files;
use super::folder;
use super::options::LogOptions;
use super::page::Page;
use super::sealed::SealedSegments;
use super::segment;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) options: LogOptions,
    /// The position of the last durable record.
    head: AtomicU64,
    pub(super) files: Files,
    pub(super) sealed: SealedSegments,
    /// Readers hold this for one page; sealing and closing wait for them.
    active: RwLock<Active>,
}

/// The segment that takes writes.
#[derive(Debug)]
pub(super) enum Active {
    Open {
        segment: Segment,
        db: Database,
    },
    /// The previous segment is sealed, and the next one is not published yet.
    Between,
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) first: u64,
}

impl Shared {
    pub(super) fn new(
        folder: &Path,
        options: LogOptions,
        head: u64,
        files: Files,
        sealed: SealedSegments,
        active: Active,
    ) -> Self {
        Shared {
            folder: folder.to_owned(),
            options,
            head: AtomicU64::new(head),
            files,
            sealed,
            active: RwLock::new(active),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Shows readers the records up to `head`, which are durable.
    pub(super) fn publish(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    // Only a check in this module can panic here, and after it the values are still consistent.
    pub(super) fn active(&self) -> RwLockReadGuard<'_, Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active_mut(&self) -> RwLockWriteGuard<'_, Active> {
        self.active.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append_error(&self, number: u32, fault: SegmentFault) -> AppendError {
        AppendError::Io {
            segment: folder::segment_path(&self.folder, number),
            fault,
        }
    }

    /// Runs a commit while readers continue; only sealing and closing keep readers out.
    pub(super) fn write(
        &self,
        commit: impl FnOnce(&Database) -> Result<(), SegmentFault>,
    ) -> Result<(), AppendError> {
        match &*self.active() {
            Active::Open { segment, db } => {
                commit(db).map_err(|fault| self.append_error(segment.number, fault))
            }
            Active::Between | Active::Closed => Err(AppendError::Poisoned),
        }
    }

    /// Adds records to the page from the one segment that holds the first position; returns `false`
    /// once the page is full.
    pub(super) fn read(
        &self,
        positions: RangeInclusive<u64>,
        page: &mut Page,
    ) -> Result<bool, ReadLogError> {
        let active = self.active();
        match &*active {
            Active::Closed => Err(ReadLogError::Closed),
            Active::Open { segment, db } if segment.first <= *positions.start() => {
                segment::read(db, positions, page).map_err(|fault| ReadLogError::Segment {
                    segment: folder::segment_path(&self.folder, segment.number),
                    fault,
                })
            }
            Active::Open { .. } | Active::Between => {
                drop(active);
                self.sealed.read(positions, page)
            }
        }
    }

    /// Hands over the records of the segment that holds the first of these ascending positions, and
    /// returns how many of them there were.
    pub(super) fn read_each(
        &self,
        positions: &[u64],
        take: &mut impl FnMut(u64, &[u8]),
    ) -> Result<usize, ReadLogError> {
        let active = self.active();
        match &*active {
            Active::Closed => Err(ReadLogError::Closed),
            Active::Open { segment, db } if segment.first <= positions[0] => {
                let read = segment::read_each(db, positions, take);
                let count = read.map(|()| positions.len());
                count.map_err(|fault| ReadLogError::Segment {
                    segment: folder::segment_path(&self.folder, segment.number),
                    fault,
                })
            }
            Active::Open { .. } | Active::Between => {
                drop(active);
                self.sealed.read_each(positions, take)
            }
        }
    }

    pub(super) fn close(&self) -> Result<(), AppendError> {
        let active = std::mem::replace(&mut *self.active_mut(), Active::Closed);
        self.sealed.close();
        match active {
            Active::Open { segment, db } => {
                segment::close(db).map_err(|fault| self.append_error(segment.number, fault))
            }
            Active::Between | Active::Closed => Ok(()),
        }
    }
}
