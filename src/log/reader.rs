//! Reading the log beside its writer: one page, one short transaction.
//!
//! A reader that knows the Merkle tree compares every record with its leaf: a segment may hold
//! another record than the one that was appended, with correct checksums.

use std::sync::Arc;

use super::error::ReadLogError;
use super::hashes::{TILE_HASHES, TileError, tile_hashes};
use super::index::{Finding, Index, Place};
use super::options::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX};
use super::page::Page;
use super::shared::Shared;
use super::tree::leaf_hash;

/// Reads committed records; it can be cloned and sent to any thread.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// Has the leaf of every pushed record; `None` if records are not compared.
    leaves: Option<Arc<Index>>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        LogReader {
            shared,
            leaves: None,
        }
    }

    /// Returns the same reader, which now compares each record with its leaf and reports a
    /// difference to the index. A record that this process has appended and not yet pushed does not
    /// have a leaf.
    pub fn checked_by(mut self, index: &Arc<Index>) -> Self {
        self.leaves = Some(Arc::clone(index));
        self
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the position of the last durable record; at least 1.
    pub fn head(&self) -> u64 {
        self.shared.head()
    }

    /// Reads one page: the records from position `from` on, in order, up to the head.
    ///
    /// The page ends before either bound is passed, but holds at least one record if there is one.
    /// `records_max` and `bytes_max` above [`PAGE_RECORDS_MAX`] and [`PAGE_BYTES_MAX`] are lowered
    /// to these. An empty page means that `from` is beyond the head; position 0 counts as 1. No
    /// transaction outlives the call, so a long read never keeps the file from reusing space.
    ///
    /// # Errors
    /// [`ReadLogError::Segment`] if the disk fails or a record is not at its position;
    /// [`ReadLogError::Closed`] after [`EventLog::close`](super::EventLog::close).
    pub fn read(
        &self,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, ReadLogError> {
        let head = self.head();
        let from = from.max(1);
        let ahead = usize::try_from((head + 1).saturating_sub(from)).unwrap_or(usize::MAX);
        let mut page = Page::new(
            from,
            records_max.min(PAGE_RECORDS_MAX).min(ahead),
            bytes_max.min(PAGE_BYTES_MAX),
        );
        while page.next() <= head && self.shared.read(page.next()..=head, &mut page)? {}
        let mut leaves = Leaves::of(self.leaves.as_deref());
        for (position, record) in page.iter() {
            leaves.compare(position, record)?;
        }
        Ok(page)
    }

    /// Reads a stream's record at the place that the index gives, and compares it with the hash
    /// there.
    ///
    /// # Errors
    /// The same as [`LogReader::read`]; [`ReadLogError::Altered`] if the record differs or is
    /// missing.
    pub fn at(&self, place: &Place) -> Result<Vec<u8>, ReadLogError> {
        let position = place.position;
        let mut found = Vec::new();
        if (1..=self.head()).contains(&position) {
            self.shared
                .read_each(&[position], &mut |_, record| found = record.to_vec())?;
        }
        if Place::of(position, &leaf_hash(&found)) == *place {
            return Ok(found);
        }
        if let Some(index) = &self.leaves {
            index.met(Finding::Record { position });
        }
        Err(ReadLogError::Altered { position })
    }

    /// Reads the record at one position; `None` beyond the head and at 0.
    ///
    /// # Errors
    /// The same as [`LogReader::read`].
    pub fn get(&self, position: u64) -> Result<Option<Vec<u8>>, ReadLogError> {
        if position == 0 {
            return Ok(None);
        }
        let page = self.read(position, 1, PAGE_BYTES_MAX)?;
        Ok(page.iter().next().map(|(_, record)| record.to_vec()))
    }

    /// Hands over the records at ascending positions, all of them at or below the head, with one
    /// short transaction for each [`PAGE_RECORDS_MAX`] records and for each segment.
    ///
    /// # Errors
    /// The same as [`LogReader::read`]; the records handed over before are correct.
    pub fn read_each(
        &self,
        positions: &[u64],
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<(), ReadLogError> {
        let mut rest = positions;
        let mut leaves = Leaves::of(self.leaves.as_deref());
        let mut wrong = None;
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(PAGE_RECORDS_MAX)];
            let mut compared = |position, record: &[u8]| {
                match leaves.compare(position, record) {
                    Ok(()) if wrong.is_none() => take(position, record),
                    Ok(()) => {}
                    Err(error) => wrong = wrong.take().or(Some(error)),
                };
            };
            rest = &rest[self.shared.read_each(some, &mut compared)?..];
            if let Some(error) = wrong {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// The leaves that records are compared with, one tile at a time.
struct Leaves<'i> {
    index: Option<&'i Index>,
    /// The last position that has a leaf.
    through: u64,
    /// The tile that was used last, with its number.
    tile: Option<(u64, Vec<u8>)>,
}

impl<'i> Leaves<'i> {
    fn of(index: Option<&'i Index>) -> Self {
        Self {
            index,
            through: index.map_or(0, |index| index.tail().position),
            tile: None,
        }
    }

    fn compare(&mut self, position: u64, record: &[u8]) -> Result<(), ReadLogError> {
        let Some(index) = self.index.filter(|_| position <= self.through) else {
            return Ok(());
        };
        let number = (position - 1) / TILE_HASHES as u64;
        let at = usize::try_from((position - 1) % TILE_HASHES as u64).expect("below 256");
        let tile = match self.tile.take() {
            Some((held, tile)) if held == number => tile,
            _ => index.tile(0, number)?,
        };
        let leaf = tile_hashes(&tile).get(at).copied();
        let leaf = leaf.ok_or_else(|| TileError::new(0, number, "it is too short"))?;
        self.tile = Some((number, tile));
        if leaf == leaf_hash(record) {
            return Ok(());
        }
        index.met(Finding::Record { position });
        Err(ReadLogError::Altered { position })
    }
}
