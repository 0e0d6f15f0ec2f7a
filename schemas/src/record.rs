//! One record of the log: a fixed little-endian header readable without serde, a meta block, the
//! payload. The position is not in the bytes, so a record is the same wherever it is kept.
//!
//! ```text
//! offset  size  field
//!      0     1  format (1)
//!      1     1  flags (0)
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
//!     64        meta block (postcard), then payload (postcard)
//! ```

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::event::{Event, EventError};
use crate::ids::{CommandKey, StreamKey};
use crate::sealed::Sealed;
use crate::time::Micros;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 64;
/// The largest record, header included.
pub const RECORD_MAX: usize = 60 * 1024;
/// The format that this build writes.
const FORMAT: u8 = 1;
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

/// The role that the subject of a request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A platform service.
    Platform,
    /// A support agent.
    Support,
    /// An operator.
    Operator,
    /// An auditor.
    Audit,
    /// The service itself.
    Service,
}

impl Role {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Support => "support",
            Self::Operator => "operator",
            Self::Audit => "audit",
            Self::Service => "service",
        }
    }
}

/// Who caused an event, and by which command; the same in every record of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The account's id as text; empty for log-wide events.
    pub account_id: String,
    /// The command's id as text.
    pub command_id: String,
    /// The caller's name.
    pub caller: String,
    /// Whether the broker vouched for that name.
    pub verified: bool,
    /// The role that the subject stands for.
    pub role: Role,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// HMAC over caller, subject and payload, to tell a repeat from another body under the same id.
    pub body_tag: [u8; 16],
    /// Keyed hash of where the request came from (the address, else the caller), to count wrong
    /// passwords by source.
    pub source_key: [u8; 8],
    /// The sealed [`SourceFacts`].
    pub source: Option<Sealed>,
}

/// Where a request came from; stands in a record only sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// The user's address.
    pub ip: Option<String>,
    /// The user's agent.
    pub agent: Option<String>,
    /// For whom the caller said it acted.
    pub on_behalf_of: Option<String>,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
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
    pub meta: Meta,
    /// The encoded event.
    pub payload: Vec<u8>,
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

impl Record {
    /// The record's bytes, which the Merkle tree covers.
    ///
    /// Errors: [`RecordError::TooLarge`] over [`RECORD_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let meta =
            postcard::to_allocvec(&self.meta).map_err(|_| RecordError::Damaged("meta block"))?;
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
        bytes.extend(&self.payload);
        Ok(bytes)
    }

    /// Reads a record; every byte must be accounted for.
    ///
    /// Errors: [`RecordError::Format`], [`RecordError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() < HEADER_LEN || bytes.len() > RECORD_MAX {
            return Err(RecordError::Damaged("length"));
        }
        if bytes[0] != FORMAT {
            return Err(RecordError::Format(bytes[0]));
        }
        if bytes[1] != 0 {
            return Err(RecordError::Damaged("flags"));
        }
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
            meta: canonical::decode(&bytes[HEADER_LEN..HEADER_LEN + meta_len])
                .ok_or(RecordError::Damaged("meta block"))?,
            payload: bytes[HEADER_LEN + meta_len..].to_vec(),
        };
        if record.version == 0 || record.group_index >= record.group_len {
            return Err(RecordError::Damaged("version or group"));
        }
        Ok(record)
    }

    /// The event in the record.
    ///
    /// Errors: [`EventError`].
    pub fn event(&self) -> Result<Event, EventError> {
        Event::decode(self.event_type, self.schema_version, &self.payload)
    }
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::log::v1::UnknownNameRefused;

    fn sample() -> Record {
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
            },
            payload: event.encode().unwrap(),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let bytes = sample().encode().unwrap();
        assert_eq!(Record::decode(&bytes), Ok(sample()));
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
    fn a_record_over_the_bound_is_not_written() {
        let record = Record {
            payload: vec![0; RECORD_MAX],
            ..sample()
        };
        assert!(matches!(record.encode(), Err(RecordError::TooLarge(_))));
    }
}
