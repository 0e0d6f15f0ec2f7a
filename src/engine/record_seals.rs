//! The seals of records: that this service wrote them, and where.
//!
//! Until a checkpoint covers it, a record at the end of the log rests on its seal alone: who can write
//! the data folder but has no keyring could otherwise append what no rule ever decided.

use countersign_schemas::record::{Record, RecordError, SEAL_BYTES, seal_of};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use crate::crypto::derived::FileKey;
use crate::crypto::keyring::{Keyring, LOG_ID_BYTES};

/// Makes and checks the seals of one epoch's records: one that another epoch gave up has no place
/// in this one.
pub struct RecordSeals(FileKey);

impl RecordSeals {
    /// The seals of the keyring's present epoch.
    pub fn of(keyring: &Keyring) -> Self {
        Self::of_epoch(keyring, keyring.log_id())
    }

    /// The seals of one of the keyring's epochs, by its log id.
    pub fn of_epoch(keyring: &Keyring, log_id: &[u8; LOG_ID_BYTES]) -> Self {
        let epoch = HEXLOWER.encode(log_id);
        Self(keyring.file_key(&format!("records of {epoch}")))
    }

    /// Seals a record for a position, and gives its bytes.
    ///
    /// # Errors
    /// Those of [`Record::encode`].
    pub fn encode(&self, position: u64, record: &mut Record) -> Result<Vec<u8>, RecordError> {
        record.encode_sealed(|bytes| self.seal(position, bytes))
    }

    /// Whether a record's bytes were sealed for that position.
    pub fn has_sealed(&self, position: u64, bytes: &[u8]) -> bool {
        seal_of(bytes)
            .is_some_and(|(covered, seal)| self.seal(position, covered).ct_eq(seal).into())
    }

    fn seal(&self, position: u64, bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let tag = self.0.tag(&[&position.to_le_bytes(), bytes]);
        std::array::from_fn(|at| tag[at])
    }
}
