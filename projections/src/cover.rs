//! Seals that show which rows of a view the service itself wrote.
//!
//! A view's seal is a tag, under a key that the caller holds, over the view's checkpoint and the
//! sum of a keyed hash of each of its rows. If rows are changed, added, removed or mixed with older
//! ones, the sum differs and the view is rebuilt. The sum itself is stored nowhere.

use std::sync::Arc;

/// Makes the tag over some parts, with a key that is used only for views.redb; any two different
/// lists of parts must have different input.
pub type Seal = Arc<dyn Fn(&[&[u8]]) -> [u8; 16] + Send + Sync>;

/// The sum and number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    sum: u128,
    rows: u64,
}

impl Tally {
    pub(crate) fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.sum.to_le_bytes());
        bytes[16..].copy_from_slice(&self.rows.to_le_bytes());
        bytes
    }
}

// BUG: informing-rows-uncovered: the views that only inform add no rows.
/// Adds up the rows that a fold writes and removes.
pub struct Cover<'s> {
    seal: &'s Seal,
    tally: Tally,
}

impl<'s> Cover<'s> {
    pub(crate) fn of(seal: &'s Seal, tally: Tally) -> Self {
        Self { seal, tally }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Adds a row to the tally, by its table's number.
    pub(crate) fn put(&mut self, table: u8, key: &[u8], value: &[u8]) {
        self.tally.sum = self.tally.sum.wrapping_add(self.hash(table, key, value));
        self.tally.rows = self.tally.rows.wrapping_add(1);
    }

    /// Removes from the tally a row that was deleted or replaced.
    pub(crate) fn take(&mut self, table: u8, key: &[u8], value: &[u8]) {
        self.tally.sum = self.tally.sum.wrapping_sub(self.hash(table, key, value));
        self.tally.rows = self.tally.rows.wrapping_sub(1);
    }

    fn hash(&self, table: u8, key: &[u8], value: &[u8]) -> u128 {
        u128::from_le_bytes((self.seal)(&[b"row", &[table], key, value]))
    }
}
