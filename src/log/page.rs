//! A page: consecutive records in one buffer, as a reader gets them.

/// Records at consecutive positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Position of the first record.
    first: u64,
    /// The records, one after the other: an allocation for each would cost more than reading it.
    bytes: Vec<u8>,
    /// Where in the bytes each record ends.
    ends: Vec<usize>,
    records_max: usize,
    bytes_max: usize,
}

impl Page {
    /// An empty page that begins at a position.
    pub(super) fn new(first: u64, records_max: usize, bytes_max: usize) -> Self {
        Page {
            first,
            bytes: Vec::new(),
            ends: Vec::new(),
            records_max,
            bytes_max,
        }
    }

    /// Takes the next record unless it is over a bound; the first one is always taken, so that a
    /// reader moves on whatever its bounds are.
    pub(super) fn take(&mut self, record: &[u8]) -> bool {
        let fits =
            self.len() < self.records_max && self.bytes.len() + record.len() <= self.bytes_max;
        if !fits && !self.is_empty() {
            return false;
        }
        if self.is_empty() {
            // Room for all that may follow, if they are about as long: growing would copy each
            // record once more.
            let bytes = record.len().saturating_mul(self.records_max);
            self.bytes.reserve(bytes.min(self.bytes_max));
            self.ends.reserve(self.records_max);
        }
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
        true
    }

    /// The position after the last record, which is where the next page begins.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there was no record to read.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records with their positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let records = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end]);
        // The records first: the position after the last one there can be does not exist.
        records
            .zip(self.first..)
            .map(|(record, position)| (position, record))
    }
}
