//! One record of the log: a fixed little-endian header readable without serde, a meta block, the
//! payload. The position is not in the bytes, so a record is the same wherever it is kept.
//!
//! ```text
//! offset  size  field
//!      0     1  format (1)
//!      1     1  flags (1: a seal stands at the end)
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
//! The seal says that this log's own service wrote the record at that position. It is what the end
//! of the log rests on that no signed checkpoint covers yet.

use std::borrow::Cow;

use crate::event::{Event, EventError};
use crate::ids::{AccountId, CommandKey, StreamKey};
use crate::time::Micros;

pub use crate::meta::{COMMITMENT_BYTES, Meta, Role, SALT_BYTES, SourceFacts};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 64;
/// The largest record, header included.
pub const RECORD_MAX: usize = 60 * 1024;
/// Bytes of a seal.
pub const SEAL_BYTES: usize = 8;
/// The format that this build writes.
const FORMAT: u8 = 1;
/// The flag of a record that ends with a seal.
const SEALED: u8 = 1;
/// Field number of the sealed source in the associated data; payload fields count from 1.
pub const SOURCE_FIELD: u16 = 0;

/// Whose history an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// The log's own.
    Log,
    /// One account's.
    Account,
}

/// One record of the log; decoded, it borrows from the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Event type number.
    pub event_type: u16,
    /// Schema version of the payload.
    pub schema_version: u16,
    /// Whose history it belongs to.
    pub stream_kind: StreamKind,
    /// Which stream.
    pub stream_key: StreamKey,
    /// The stream's version with it, from 1.
    pub version: u32,
    /// When it was recorded; never runs backwards along the log.
    pub recorded_at: Micros,
    /// The command that it came of.
    pub command_key: CommandKey,
    /// Index among the command's events, from 0.
    pub group_index: u16,
    /// How many events the command had.
    pub group_len: u16,
    /// Who and by which command.
    pub meta: Meta<'a>,
    /// The encoded event.
    pub payload: Cow<'a, [u8]>,
    /// The seal; records of older builds have none.
    pub seal: Option<[u8; SEAL_BYTES]>,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The format byte is not one that this build knows.
    #[error(
        "record format {0} is unknown to this build: run the build that wrote it, or a later one"
    )]
    Format(u8),
    /// A length, a number or the meta block is not as the format says.
    #[error("the record is damaged: its {0} is not as the format says")]
    Damaged(&'static str),
    /// The record would be larger than the bound.
    #[error("a record of {0} bytes is over the bound of {RECORD_MAX}")]
    TooLarge(usize),
    /// The event in it cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl<'a> Record<'a> {
    /// The record's bytes, which the Merkle tree covers.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] over [`RECORD_MAX`].
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

    /// Seals the record and gives its bytes; `seal` makes the tag over the bytes before it.
    ///
    /// # Errors
    /// As [`Record::encode`].
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

    /// Reads a record; every byte must be accounted for.
    ///
    /// # Errors
    /// [`RecordError::Format`], [`RecordError::Damaged`].
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

    /// The event in the record.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn event(&self) -> Result<Event, EventError> {
        Event::decode(self.event_type, self.schema_version, &self.payload)
    }

    /// The record without what it borrows from.
    pub fn into_owned(self) -> Record<'static> {
        Record {
            meta: self.meta.into_owned(),
            payload: self.payload.into_owned().into(),
            ..self
        }
    }
}

/// What the seal of a record's bytes covers, and the seal; none where they end without one.
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

/// The `N` bytes at an offset of the header, whose length the caller has checked.
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
