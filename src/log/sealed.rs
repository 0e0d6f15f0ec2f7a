//! The segments before the last one: read-only, opened on demand, a few at a time.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::ReadOnlyDatabase;

use super::error::{OpenLogError, ReadLogError, SegmentFault};
use super::folder;
use super::options::LogOptions;
use super::page::Page;
use super::segment::{self, Storage};

/// How many sealed segments are kept open; they share the cache equally.
const OPEN_MAX: usize = 4;

/// All sealed segments: segment `n` holds the positions after `ends[n - 2]` up to `ends[n - 1]`.
pub(super) struct SealedSegments {
    folder: PathBuf,
    storage: Storage,
    cache_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ends: Vec<u64>,
    /// The least recently used one is first.
    open: Vec<(u32, Arc<ReadOnlyDatabase>)>,
}

impl std::fmt::Debug for SealedSegments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSegments").finish_non_exhaustive()
    }
}

impl SealedSegments {
    pub(super) fn new(folder: &Path, options: &LogOptions) -> Self {
        SealedSegments {
            folder: folder.to_owned(),
            storage: options.storage.clone(),
            cache_bytes: options.sealed_cache_bytes / OPEN_MAX,
            state: Mutex::default(),
        }
    }

    /// Returns the last position of each sealed segment.
    pub(super) fn ends(&self) -> Vec<u64> {
        self.state().ends.clone()
    }

    /// Returns the last sealed position, or 0 if no segment is sealed.
    pub(super) fn end(&self) -> u64 {
        self.state().ends.last().copied().unwrap_or(0)
    }

    /// Adds a segment that was found at the start, which must continue the previous one.
    pub(super) fn add_existing(&self, number: u32) -> Result<(), OpenLogError> {
        let path = folder::segment_path(&self.folder, number);
        let extent = self
            .storage
            .open_sealed(&path, self.cache_bytes)
            .and_then(|db| segment::extent(&db))
            .map_err(|fault| fault.refuse_open(path.clone()))?;
        let expected = self.end() + 1;
        if *extent.start() != expected {
            return Err(OpenLogError::Gap {
                segment: path,
                expected,
                found: *extent.start(),
            });
        }
        self.state().ends.push(*extent.end());
        Ok(())
    }

    /// Adds the segment that was just closed, after checking that it opens read-only.
    pub(super) fn add(&self, number: u32, end: u64) -> Result<(), SegmentFault> {
        let mut state = self.state();
        self.open_one(&mut state, number)?;
        state.ends.push(end);
        Ok(())
    }

    /// Adds records to the page from the one segment that holds the first position; returns `false`
    /// once the page is full.
    pub(super) fn read(
        &self,
        positions: RangeInclusive<u64>,
        page: &mut Page,
    ) -> Result<bool, ReadLogError> {
        let mut state = self.state();
        let index = state.ends.partition_point(|end| end < positions.start());
        let Some(&end) = state.ends.get(index) else {
            return Err(ReadLogError::Closed);
        };
        let number = u32::try_from(index + 1).expect("segments are counted in 32 bits");
        let read = self.open_one(&mut state, number).and_then(|db| {
            drop(state);
            let last = end.min(*positions.end());
            segment::read(&*db, *positions.start()..=last, page)
        });
        read.map_err(|fault| ReadLogError::Segment {
            segment: folder::segment_path(&self.folder, number),
            fault,
        })
    }

    /// Hands over the records of the segment that holds the first of these ascending positions, and
    /// returns how many of them there were.
    pub(super) fn read_each(
        &self,
        positions: &[u64],
        take: &mut impl FnMut(u64, &[u8]),
    ) -> Result<usize, ReadLogError> {
        let mut state = self.state();
        let index = state.ends.partition_point(|end| *end < positions[0]);
        let Some(&end) = state.ends.get(index) else {
            return Err(ReadLogError::Closed);
        };
        let number = u32::try_from(index + 1).expect("segments are counted in 32 bits");
        let count = positions.partition_point(|position| *position <= end);
        let read = self.open_one(&mut state, number).and_then(|db| {
            drop(state);
            segment::read_each(&*db, &positions[..count], take)
        });
        let count = read.map(|()| count);
        count.map_err(|fault| ReadLogError::Segment {
            segment: folder::segment_path(&self.folder, number),
            fault,
        })
    }

    /// Forgets every segment; a page being read ends first, as it holds its own handle.
    pub(super) fn close(&self) {
        *self.state() = State::default();
    }

    /// Returns the open segment, opening it in place of the least recently used one.
    fn open_one(
        &self,
        state: &mut State,
        number: u32,
    ) -> Result<Arc<ReadOnlyDatabase>, SegmentFault> {
        let known = state.open.iter().position(|(open, _)| *open == number);
        let db = match known {
            Some(index) => state.open.remove(index).1,
            None => {
                let path = folder::segment_path(&self.folder, number);
                Arc::new(self.storage.open_read_only(&path, self.cache_bytes)?)
            }
        };
        if state.open.len() == OPEN_MAX {
            state.open.remove(0);
        }
        state.open.push((number, Arc::clone(&db)));
        Ok(db)
    }

    // Only a check in this module can panic here, and after it the values are still consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
