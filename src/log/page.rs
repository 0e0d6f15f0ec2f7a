//! A page: consecutive records in one buffer, as a reader gets them.

/// Records at consecutive positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The position of the first record.
    first: u64,
    /// The records, one after the other: a separate allocation would cost more than reading a
    /// record.
    bytes: Vec<u8>,
    /// Where each record ends in the bytes.
    ends: Vec<usize>,
    records_max: usize,
    bytes_max: usize,
}

impl Page {
    /// Makes an empty page that begins at a position.
    pub(super) fn new(first: u64, records_max: usize, bytes_max: usize) -> Self {
        Page {
            first,
            bytes: Vec::new(),
            ends: Vec::new(),
            records_max,
            bytes_max,
        }
    }

    /// Adds the next record, unless that exceeds a bound; the first one is always added, so that a
    /// reader advances whatever its bounds are.
    pub(super) fn take(&mut self, record: &[u8]) -> bool {
        let fits =
            self.len() < self.records_max && self.bytes.len() + record.len() <= self.bytes_max;
        if !fits && !self.is_empty() {
            return false;
        }
        if self.is_empty() {
            // Room for all records that may follow, if they are about as long: growing would copy
            // each record once more.
            let bytes = record.len().saturating_mul(self.records_max);
            self.bytes.reserve(bytes.min(self.bytes_max));
            self.ends.reserve(self.records_max);
        }
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
        true
    }

    /// Returns the position after the last record, where the next page begins.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Returns how many records the page has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the page has no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the records with their positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let records = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end]);
        // The records come first: the position after the last possible one does not exist.
        records
            .zip(self.first..)
            .map(|(record, position)| (position, record))
    }
}
