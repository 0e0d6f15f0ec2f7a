//! Covered tables, the buckets of their keys, and the tally of a bucket's rows.

use std::ops::RangeInclusive;

use redb::{TableDefinition, Value};

/// How many leading bits of a key name its bucket: with three million rows a bucket has some 180,
/// and the seals of a table are 16,384 rows at most.
const BUCKET_BITS: u32 = 14;
/// The most buckets that a table has.
pub(super) const BUCKETS: u16 = 1 << BUCKET_BITS;

/// A table with covered rows.
pub(super) struct Covered<K: Bucketed + 'static, V: Value + 'static> {
    /// The table's number, which distinguishes it from the other tables of the file.
    pub id: u8,
    pub definition: TableDefinition<'static, K, V>,
}

/// A key that belongs to a bucket.
pub(super) trait Bucketed: redb::Key {
    /// Returns the bucket of a key.
    fn bucket(key: &Self::SelfType<'_>) -> u16;

    /// Returns the first and the last possible key of a bucket.
    fn bounds(ends: &Ends) -> RangeInclusive<Self::SelfType<'_>>;
}

/// The first bytes of the first and the last key of a bucket.
pub(super) struct Ends {
    first: [u8; 16],
    last: [u8; 16],
}

impl Ends {
    pub fn of(bucket: u16) -> Self {
        let shift = u16::BITS - BUCKET_BITS;
        let begin = (bucket << shift).to_be_bytes();
        let end = (bucket << shift | ((1 << shift) - 1)).to_be_bytes();
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        first[..2].copy_from_slice(&begin);
        last[..2].copy_from_slice(&end);
        Self { first, last }
    }
}

fn bucket_of(key: &[u8; 16]) -> u16 {
    u16::from_be_bytes([key[0], key[1]]) >> (u16::BITS - BUCKET_BITS)
}

impl Bucketed for &'static [u8; 16] {
    fn bucket(key: &Self::SelfType<'_>) -> u16 {
        bucket_of(key)
    }

    fn bounds(ends: &Ends) -> RangeInclusive<Self::SelfType<'_>> {
        &ends.first..=&ends.last
    }
}

impl Bucketed for (&'static [u8; 16], u32) {
    fn bucket(key: &Self::SelfType<'_>) -> u16 {
        bucket_of(key.0)
    }

    fn bounds(ends: &Ends) -> RangeInclusive<Self::SelfType<'_>> {
        (&ends.first, 0)..=(&ends.last, u32::MAX)
    }
}

impl Bucketed for (&'static [u8; 16], u64) {
    fn bucket(key: &Self::SelfType<'_>) -> u16 {
        bucket_of(key.0)
    }

    fn bounds(ends: &Ends) -> RangeInclusive<Self::SelfType<'_>> {
        (&ends.first, 0)..=(&ends.last, u64::MAX)
    }
}

/// Few rows: all are in one bucket.
impl Bucketed for u16 {
    fn bucket(_: &Self::SelfType<'_>) -> u16 {
        0
    }

    fn bounds(_: &Ends) -> RangeInclusive<Self::SelfType<'_>> {
        0..=u16::MAX
    }
}

/// Few rows: all are in one bucket.
impl Bucketed for (u16, u64) {
    fn bucket(_: &Self::SelfType<'_>) -> u16 {
        0
    }

    fn bounds(_: &Ends) -> RangeInclusive<Self::SelfType<'_>> {
        (0, 0)..=(u16::MAX, u64::MAX)
    }
}

/// The sum and number of rows. The sum reveals nothing without the key, and is stored nowhere.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    sum: u128,
    pub rows: u64,
}

impl Tally {
    pub fn add(&mut self, row: u128) {
        self.sum = self.sum.wrapping_add(row);
        self.rows = self.rows.wrapping_add(1);
    }

    pub fn take(&mut self, row: u128) {
        self.sum = self.sum.wrapping_sub(row);
        self.rows = self.rows.wrapping_sub(1);
    }

    pub fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.sum.to_le_bytes());
        bytes[16..].copy_from_slice(&self.rows.to_le_bytes());
        bytes
    }
}
