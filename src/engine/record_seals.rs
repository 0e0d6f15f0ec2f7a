//! The seals of records: each proves that this service wrote the record, at which position, and
//! behind which record.
//!
//! Until a checkpoint covers it, a record at the end of the log rests on its seal alone. Without
//! seals, an attacker who can write the data folder but has no keyring could append events that no
//! rule decided. A seal covers the leaf of the preceding record, which contains that record's own
//! seal. So if one seal is right, every sealed record before it is right too, and records of two
//! histories of an epoch do not mix.

use countersign_schemas::record::{Record, RecordError, SEAL_BYTES, seal_of};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use crate::crypto::derived::FileKey;
use crate::crypto::keyring::{Keyring, LOG_ID_BYTES};
use crate::log::tree::{Hash, NOTHING_BEFORE, leaf_hash};
use crate::log::{LogReader, ReadLogError};

// BUG: seal-of-8-bytes: 8 bytes are all that speaks for a record without checkpoint and index.
/// Makes and checks the seals of one epoch's records: a record of a given-up epoch does not fit
/// into this one.
pub struct RecordSeals(FileKey);

impl RecordSeals {
    /// Returns the seals of the keyring's present epoch.
    pub fn of(keyring: &Keyring) -> Self {
        Self::of_epoch(keyring, keyring.log_id())
    }

    /// Returns the seals of one of the keyring's epochs, by its log id.
    pub fn of_epoch(keyring: &Keyring, log_id: &[u8; LOG_ID_BYTES]) -> Self {
        let epoch = HEXLOWER.encode(log_id);
        Self(keyring.file_key(&format!("records of {epoch}")))
    }

    /// Seals a record for a position, behind the record with the leaf `before`, and returns its
    /// bytes.
    ///
    /// # Errors
    /// Those of [`Record::encode`].
    pub fn encode(
        &self,
        position: u64,
        before: &Hash,
        record: &mut Record,
    ) -> Result<Vec<u8>, RecordError> {
        record.encode_sealed(|bytes| self.seal(position, before, bytes))
    }

    /// Whether a record's bytes were sealed for that position, behind the record with the leaf
    /// `before`.
    pub fn has_sealed(&self, position: u64, before: &Hash, bytes: &[u8]) -> bool {
        seal_of(bytes)
            .is_some_and(|(covered, seal)| self.seal(position, before, covered).ct_eq(seal).into())
    }

    fn seal(&self, position: u64, before: &Hash, bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let tag = self.0.tag(&[&position.to_le_bytes(), before, bytes]);
        std::array::from_fn(|at| tag[at])
    }
}

/// Returns the position of the first record after a position that bears none of the seals, or one
/// for another preceding record.
///
/// # Errors
/// [`ReadLogError`] if a record cannot be read.
pub fn first_unsealed(
    reader: &LogReader,
    after: u64,
    head: u64,
    seals: &[&RecordSeals],
) -> Result<Option<u64>, ReadLogError> {
    if after >= head {
        return Ok(None);
    }
    let mut before = match reader.get(after)? {
        Some(bytes) => leaf_hash(&bytes),
        None => NOTHING_BEFORE,
    };
    let is_sealed = |position: u64, before: &Hash, bytes: &[u8]| {
        seals
            .iter()
            .any(|seals| seals.has_sealed(position, before, bytes))
    };
    let mut next = after + 1;
    while next <= head {
        let page = reader.read(next, usize::MAX, usize::MAX)?;
        for (position, bytes) in page.iter() {
            if !is_sealed(position, &before, bytes) {
                return Ok(Some(position));
            }
            before = leaf_hash(bytes);
        }
        next = page.next();
    }
    Ok(None)
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "unchecked_tests.rs"]
mod unchecked_tests;
