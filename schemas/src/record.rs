//! One record of the log: a fixed little-endian header that is readable without serde, a meta block
//! and the payload. The position is not part of the bytes, so a record is the same wherever it is
//! kept.
//!
//! ```text
//! offset  size  field
//!      0     1  format (1)
//!      1     1  flags (1: a seal is at the end)
//!      2     2  event type
//!      4     2  schema version of the payload
//!      6     2  stream kind (0 log-wide, 1 account)
//!      8    16  stream key
//!     24     4  stream version, from 1
//!     28     8  recorded at, microseconds since 1970
//!     36    16  command key
//!     52     2  index in the group, from 0
//!     54     2  length of the group
//!     56     4  length of the meta block
//!     60     4  length of the payload
//!     64        meta block (postcard, and 16 bytes that bind a sealed source), then payload (postcard)
//!            8  with flag 1: the seal, a keyed tag over the position, the leaf of the record before and every byte before it
//! ```
//!
//! The seal shows that this log's own service wrote the record at that position. It protects the
//! end of the log that no signed checkpoint covers yet.

use std::borrow::Cow;

use crate::event::{Event, EventError};
use crate::ids::{AccountId, CommandKey, StreamKey};
use crate::time::Micros;

pub use crate::meta::{COMMITMENT_BYTES, Meta, Role, SALT_BYTES, SourceFacts};

/// The length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 64;
/// The size of the largest record, in bytes, header included.
pub const RECORD_MAX: usize = 60 * 1024;
/// The length of a seal, in bytes.
pub const SEAL_BYTES: usize = 8;
/// The format that this build writes.
const FORMAT: u8 = 1;
/// The flag of a record that ends with a seal.
const SEALED: u8 = 1;
/// The field number of the sealed source in the associated data; payload fields count from 1.
pub const SOURCE_FIELD: u16 = 0;

/// The history that an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// The log's own history.
    Log,
    /// The history of one account.
    Account,
}

/// One record of the log; a decoded record borrows from the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The event type's number.
    pub event_type: u16,
    /// The schema version of the payload.
    pub schema_version: u16,
    /// The history that the record belongs to.
    pub stream_kind: StreamKind,
    /// The key of the stream that the record belongs to.
    pub stream_key: StreamKey,
    /// The stream's version after this record, from 1.
    pub version: u32,
    /// When the event was recorded; never runs backwards along the log.
    pub recorded_at: Micros,
    /// The key of the command that caused the event.
    pub command_key: CommandKey,
    /// The record's index among the command's events, from 0.
    pub group_index: u16,
    /// How many events the command had.
    pub group_len: u16,
    /// Who caused the event, and by which command.
    pub meta: Meta<'a>,
    /// The encoded event.
    pub payload: Cow<'a, [u8]>,
    /// The seal; records of older builds do not have one.
    pub seal: Option<[u8; SEAL_BYTES]>,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The format byte is unknown to this build.
    #[error(
        "record format {0} is unknown to this build: run the build that wrote it, or a later one"
    )]
    Format(u8),
    /// A length, a number or the meta block does not follow the format.
    #[error("the record is damaged: its {0} does not follow the format")]
    Damaged(&'static str),
    /// The record would be larger than [`RECORD_MAX`].
    #[error("a record of {0} bytes is over the bound of {RECORD_MAX}")]
    TooLarge(usize),
    /// The event in it cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl<'a> Record<'a> {
    /// Encodes the record; the Merkle tree covers these bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if the record is larger than [`RECORD_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let meta = self.meta.encode();
        let meta = meta.ok_or(RecordError::Damaged("meta block"))?;
        let total = HEADER_LEN + meta.len() + self.payload.len();
        if total > RECORD_MAX {
            return Err(RecordError::TooLarge(total));
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend([FORMAT, 0]);
        bytes.extend(self.event_type.to_le_bytes());
        bytes.extend(self.schema_version.to_le_bytes());
        bytes.extend(kind_code(self.stream_kind).to_le_bytes());
        bytes.extend(self.stream_key.0);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.recorded_at.0.to_le_bytes());
        bytes.extend(self.command_key.0);
        bytes.extend(self.group_index.to_le_bytes());
        bytes.extend(self.group_len.to_le_bytes());
        bytes.extend((meta.len() as u32).to_le_bytes());
        bytes.extend((self.payload.len() as u32).to_le_bytes());
        bytes.extend(meta);
        bytes.extend(&*self.payload);
        if let Some(seal) = self.seal {
            bytes[1] = SEALED;
            bytes.extend(seal);
        }
        Ok(bytes)
    }

    /// Seals the record and returns its bytes; `seal` makes the tag over the bytes before it.
    ///
    /// # Errors
    /// The same as [`Record::encode`].
    pub fn encode_sealed(
        &mut self,
        seal: impl FnOnce(&[u8]) -> [u8; SEAL_BYTES],
    ) -> Result<Vec<u8>, RecordError> {
        self.seal = None;
        let mut bytes = self.encode()?;
        bytes[1] = SEALED;
        let seal = seal(&bytes);
        bytes.extend(seal);
        self.seal = Some(seal);
        Ok(bytes)
    }

    /// Decodes a record; every byte must be accounted for.
    ///
    /// # Errors
    /// [`RecordError::Format`] for an unknown format byte, [`RecordError::Damaged`] for anything
    /// else that does not follow the format.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.len() < HEADER_LEN || bytes.len() > RECORD_MAX + SEAL_BYTES {
            return Err(RecordError::Damaged("length"));
        }
        if bytes[0] != FORMAT {
            return Err(RecordError::Format(bytes[0]));
        }
        let (bytes, seal) = match (bytes[1], bytes.split_last_chunk::<SEAL_BYTES>()) {
            (0, _) => (bytes, None),
            (SEALED, Some((bytes, seal))) if bytes.len() >= HEADER_LEN => (bytes, Some(*seal)),
            _ => return Err(RecordError::Damaged("flags")),
        };
        let meta_len = u32::from_le_bytes(array(bytes, 56)) as usize;
        let payload_len = u32::from_le_bytes(array(bytes, 60)) as usize;
        if HEADER_LEN
            .checked_add(meta_len)
            .and_then(|n| n.checked_add(payload_len))
            != Some(bytes.len())
        {
            return Err(RecordError::Damaged("length"));
        }
        let record = Self {
            event_type: u16::from_le_bytes(array(bytes, 2)),
            schema_version: u16::from_le_bytes(array(bytes, 4)),
            stream_kind: kind_of(u16::from_le_bytes(array(bytes, 6)))?,
            stream_key: StreamKey(array(bytes, 8)),
            version: u32::from_le_bytes(array(bytes, 24)),
            recorded_at: Micros(u64::from_le_bytes(array(bytes, 28))),
            command_key: CommandKey(array(bytes, 36)),
            group_index: u16::from_le_bytes(array(bytes, 52)),
            group_len: u16::from_le_bytes(array(bytes, 54)),
            meta: Meta::decode(&bytes[HEADER_LEN..HEADER_LEN + meta_len])
                .ok_or(RecordError::Damaged("meta block"))?,
            payload: bytes[HEADER_LEN + meta_len..].into(),
            seal,
        };
        if record.version == 0 || record.group_index >= record.group_len {
            return Err(RecordError::Damaged("version or group"));
        }
        if record.stream_kind == StreamKind::Account
            && AccountId::check(&record.meta.account_id).is_err()
        {
            return Err(RecordError::Damaged("account id"));
        }
        Ok(record)
    }

    /// Decodes the event in the record.
    ///
    /// # Errors
    /// [`EventError`] if the type is unknown to this build or the payload does not match it.
    pub fn event(&self) -> Result<Event, EventError> {
        Event::decode(self.event_type, self.schema_version, &self.payload)
    }

    /// Returns the record with its own copy of the bytes that it borrows.
    pub fn into_owned(self) -> Record<'static> {
        Record {
            meta: self.meta.into_owned(),
            payload: self.payload.into_owned().into(),
            ..self
        }
    }
}

/// Returns the bytes that a record's seal covers, and the seal; `None` if the record has no seal.
pub fn seal_of(bytes: &[u8]) -> Option<(&[u8], &[u8; SEAL_BYTES])> {
    let is_sealed = bytes.get(1) == Some(&SEALED);
    bytes.split_last_chunk().filter(|_| is_sealed)
}

fn kind_code(kind: StreamKind) -> u16 {
    match kind {
        StreamKind::Log => 0,
        StreamKind::Account => 1,
    }
}

fn kind_of(code: u16) -> Result<StreamKind, RecordError> {
    match code {
        0 => Ok(StreamKind::Log),
        1 => Ok(StreamKind::Account),
        _ => Err(RecordError::Damaged("stream kind")),
    }
}

/// Returns the `N` bytes at an offset of the header, whose length the caller has checked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::log::v1::UnknownNameRefused;

    fn sample() -> Record<'static> {
        let event = Event::UnknownNameRefused(UnknownNameRefused { count: 3 });
        Record {
            event_type: event.type_code(),
            schema_version: event.schema_version(),
            stream_kind: StreamKind::Account,
            stream_key: StreamKey([1; 16]),
            version: 7,
            recorded_at: Micros(1_771_837_200_000_000),
            command_key: CommandKey([2; 16]),
            group_index: 0,
            group_len: 1,
            meta: Meta {
                account_id: "ada".into(),
                command_id: "c-1".into(),
                caller: "login-gw".into(),
                verified: true,
                role: Role::Platform,
                trace_id: Some([3; 16]),
                body_tag: [4; 16],
                source_key: [5; 8],
                source: None,
                source_commitment: None,
            },
            payload: event.encode().unwrap().into(),
            seal: None,
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let bytes = sample().encode().unwrap();
        assert_eq!(Record::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn a_sealed_record_reads_back_and_its_seal_covers_every_other_byte() {
        let mut record = sample();
        let bytes = record.encode_sealed(|covered| {
            assert_eq!(covered.len(), sample().encode().unwrap().len());
            [7; SEAL_BYTES]
        });
        let bytes = bytes.unwrap();
        assert_eq!(record.seal, Some([7; SEAL_BYTES]));
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        assert_eq!(record.encode().unwrap(), bytes);
        let (covered, seal) = seal_of(&bytes).unwrap();
        assert_eq!(
            (covered.len() + SEAL_BYTES, seal),
            (bytes.len(), &[7; SEAL_BYTES])
        );
        assert_eq!(seal_of(&sample().encode().unwrap()), None);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample().encode().unwrap();
        for cut in 0..bytes.len() {
            Record::decode(&bytes[..cut]).unwrap_err();
        }
    }

    #[test]
    fn every_flipped_byte_is_refused_or_read_as_another_record() {
        let bytes = sample().encode().unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            assert_ne!(Record::decode(&bad), Ok(sample()), "byte {at}");
        }
    }

    #[test]
    fn an_account_without_an_id_that_an_account_can_have_is_refused() {
        let mut record = sample();
        record.meta.account_id = "a.b".into();
        let bytes = record.encode().unwrap();
        assert_eq!(
            Record::decode(&bytes),
            Err(RecordError::Damaged("account id"))
        );
    }

    #[test]
    fn a_record_over_the_bound_is_not_written() {
        let record = Record {
            payload: vec![0; RECORD_MAX].into(),
            ..sample()
        };
        assert!(matches!(record.encode(), Err(RecordError::TooLarge(_))));
    }
}
