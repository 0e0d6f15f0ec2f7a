//! Reading the log beside its writer: one page, one short transaction.

use std::sync::Arc;

use super::error::ReadLogError;
use super::page::Page;
use super::shared::Shared;
use super::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX};

/// Reads what has been committed; it can be cloned and sent anywhere.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        LogReader { shared }
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
    /// The page ends before either bound is passed, but holds at least one record if there is one;
    /// `records_max` and `bytes_max` above [`PAGE_RECORDS_MAX`] and [`PAGE_BYTES_MAX`] count as
    /// those. An empty page means that `from` is beyond the head; position 0 counts as 1.
    /// No transaction outlives the call, so a long read never keeps the file from reusing space.
    ///
    /// # Errors
    /// [`ReadLogError::Segment`] if the disk fails or a record is not where it must be;
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
        Ok(page)
    }

    /// Reads the record at one position, or `None` beyond the head and at 0.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn get(&self, position: u64) -> Result<Option<Vec<u8>>, ReadLogError> {
        if position == 0 {
            return Ok(None);
        }
        let page = self.read(position, 1, PAGE_BYTES_MAX)?;
        Ok(page.iter().next().map(|(_, record)| record.to_vec()))
    }

    /// Hands over the records at ascending positions, all of them at or below the head; one short
    /// transaction for each [`PAGE_RECORDS_MAX`] of them and for each segment.
    ///
    /// # Errors
    /// As [`LogReader::read`]; what was handed over before is right.
    pub fn read_each(
        &self,
        positions: &[u64],
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<(), ReadLogError> {
        let mut rest = positions;
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(PAGE_RECORDS_MAX)];
            rest = &rest[self.shared.read_each(some, &mut take)?..];
        }
        Ok(())
    }
}
