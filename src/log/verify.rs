//! Verification of a log by a reader who trusts only the log's public key.
//!
//! Every record is read and hashed again. The checks: positions without a gap, each record's form,
//! versions per stream, times, groups, that the log's epochs are those of the checkpoints, and the
//! root at the size of every checkpoint given. Without breaking SHA-256, no record up to the newest
//! of those checkpoints can be changed, removed, inserted or moved unnoticed. For later records
//! only the form is checked, and [`Verified::unsigned`] counts them.

use std::collections::HashMap;
use std::path::PathBuf;

use countersign_schemas::event::{Event, EventError};
use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::{Record, RecordError, StreamKind};
use countersign_schemas::time::Micros;

use super::error::SegmentFault;
use super::tree::{Frontier, Hash, leaf_hash};
use crate::crypto::note::{self, Checkpoint};

/// The result of verifying a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records the log has.
    pub records: u64,
    /// The root over all records.
    pub root: Hash,
    /// The sum of the records' lengths, in bytes.
    pub bytes: u64,
    /// The log's names in the checkpoints of its epochs, in their order; never empty.
    pub origins: Vec<String>,
    /// How many checkpoints the log agrees with.
    pub checkpoints: usize,
    /// How many records at its end no checkpoint covers; their author is unproven.
    pub unsigned: u64,
}

impl Verified {
    /// Returns the log's name in the checkpoints of its last epoch.
    pub fn origin(&self) -> &str {
        self.origins.last().expect("a log begins with its epoch")
    }
}

/// The first fault of a log.
#[derive(Debug, thiserror::Error)]
#[error("position {position}: {fault}")]
pub struct BadLog {
    /// The position of the fault; for a wrong root, the first position at which it can be.
    pub position: u64,
    /// The fault at that position.
    pub fault: Fault,
}

/// The possible faults of a log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The position is not the one after the last.
    #[error("the record before it is missing")]
    Gap,
    /// The bytes are not a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An event of the log's own stream cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The record does not follow from those before.
    #[error("the record does not follow: its {0} is not the next one")]
    NotNext(&'static str),
    /// The log does not begin with an epoch.
    #[error("the log does not begin with its epoch")]
    NoEpoch,
    /// The log ends within a command's events.
    #[error("the last command's events end early, so the end of the log was cut off")]
    CutGroup,
    /// The log ends before a checkpoint.
    #[error(
        "the log ends here, but a signed checkpoint covers {signed} events, so its end was cut off"
    )]
    CutOff {
        /// The size of the checkpoint.
        signed: u64,
    },
    /// The records are not those that a checkpoint covers.
    #[error(
        "the events up to {signed} are not those that the signed checkpoint covers: at least one from here on was changed, removed or inserted"
    )]
    WrongRoot {
        /// The size of the checkpoint.
        signed: u64,
    },
    /// A checkpoint belongs to another log, or to an epoch that this log does not have or has
    /// ended.
    #[error("the checkpoint of {signed} events belongs to {found}, but the log here is {expected}")]
    OtherLog {
        /// The size of the checkpoint.
        signed: u64,
        /// The checkpoint's origin.
        found: String,
        /// The log's origin at that size.
        expected: String,
    },
    /// A segment cannot be read.
    #[error("{segment} cannot be read from here on: {fault}")]
    Segment {
        /// The file's path.
        segment: PathBuf,
        /// The error of redb.
        fault: SegmentFault,
    },
}

/// A running verification: pass every record in order, then call [`Verifier::finish`].
#[derive(Debug)]
pub struct Verifier {
    frontier: Frontier,
    sequence: Sequence,
    bytes: u64,
    /// The origin of each epoch that has begun.
    origins: Vec<String>,
    /// The checkpoints not yet reached, the smallest last.
    checkpoints: Vec<Checkpoint>,
    agreed: usize,
    agreed_size: u64,
}

impl Verifier {
    /// Begins with checkpoints in any order; the caller has verified their signatures
    /// ([`note::NoteKey::open_checkpoint`]).
    pub fn new(checkpoints: &[Checkpoint]) -> Self {
        let mut checkpoints = checkpoints.to_vec();
        checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.size));
        Self {
            frontier: Frontier::default(),
            sequence: Sequence::default(),
            bytes: 0,
            origins: Vec::new(),
            checkpoints,
            agreed: 0,
            agreed_size: 0,
        }
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// [`BadLog`] with the first fault; the verification is over then.
    pub fn push(&mut self, position: u64, bytes: &[u8]) -> Result<(), BadLog> {
        let bad = |fault| BadLog { position, fault };
        if position != self.frontier.size() + 1 {
            return Err(BadLog {
                position: self.frontier.size() + 1,
                fault: Fault::Gap,
            });
        }
        let record = Record::decode(bytes).map_err(|error| bad(error.into()))?;
        self.sequence
            .push(&record)
            .map_err(|what| bad(Fault::NotNext(what)))?;
        if record.stream_kind == StreamKind::Log || record.stream_key == StreamKey::LOG {
            let event = record.event().map_err(|error| bad(error.into()))?;
            if let Event::EpochStarted(begun) = event {
                self.origins.push(note::origin(&begun.log_id));
            }
        }
        if self.origins.is_empty() {
            return Err(bad(Fault::NoEpoch));
        }
        self.frontier.append(leaf_hash(bytes));
        self.bytes += bytes.len() as u64;
        self.compare()
    }

    /// Compares the root with every checkpoint of the size that is now reached.
    fn compare(&mut self) -> Result<(), BadLog> {
        let size = self.frontier.size();
        // Of two checkpoints of one size, the second may be the wrong one.
        let agreed_before = self.agreed_size;
        while let Some(next) = self.checkpoints.pop_if(|next| next.size <= size) {
            let bad = |fault| BadLog {
                position: agreed_before + 1,
                fault,
            };
            let origin = self.origins.last().map_or("", String::as_str);
            if next.origin != origin {
                return Err(bad(Fault::OtherLog {
                    signed: next.size,
                    found: next.origin,
                    expected: origin.to_owned(),
                }));
            }
            // A checkpoint of size 0 covers nothing, so none is ever signed.
            if next.size < size || next.root != self.frontier.root() {
                return Err(bad(Fault::WrongRoot { signed: next.size }));
            }
            self.agreed += 1;
            self.agreed_size = size;
        }
        Ok(())
    }

    /// Returns whether the last checked record ended its command's events.
    pub fn is_whole(&self) -> bool {
        self.sequence.open_group.is_none()
    }

    /// Returns the position of the last checked record.
    pub fn position(&self) -> u64 {
        self.frontier.size()
    }

    /// Ends the verification after the last record.
    ///
    /// # Errors
    /// [`BadLog`] at the position after the last one, if the end of the log was cut off.
    pub fn finish(self) -> Result<Verified, BadLog> {
        let records = self.frontier.size();
        let cut = |fault| BadLog {
            position: records + 1,
            fault,
        };
        if let Some(next) = self.checkpoints.first() {
            return Err(cut(Fault::CutOff { signed: next.size }));
        }
        if records == 0 {
            return Err(cut(Fault::NoEpoch));
        }
        if self.sequence.open_group.is_some() {
            return Err(cut(Fault::CutGroup));
        }
        Ok(Verified {
            records,
            root: self.frontier.root(),
            bytes: self.bytes,
            origins: self.origins,
            checkpoints: self.agreed,
            unsigned: records - self.agreed_size,
        })
    }
}

/// What the next record must follow from. [`super::index::Index::push`] makes the same checks on a
/// log in service, but keeps every position and command for it.
#[derive(Debug, Default)]
struct Sequence {
    versions: HashMap<StreamKey, u32>,
    last_at: Micros,
    open_group: Option<(CommandKey, u16)>,
}

impl Sequence {
    /// Adds the next record, or returns which part of it is out of order.
    fn push(&mut self, record: &Record) -> Result<(), &'static str> {
        let version = self.versions.entry(record.stream_key).or_default();
        if record.version.checked_sub(1) != Some(*version) {
            return Err("version");
        }
        if record.recorded_at < self.last_at {
            return Err("time");
        }
        let group = (record.command_key, record.group_index);
        if group != self.open_group.unwrap_or((record.command_key, 0)) {
            return Err("place in its group");
        }
        let next = record.group_index + 1;
        self.open_group = (next < record.group_len).then_some((record.command_key, next));
        self.last_at = record.recorded_at;
        *version = record.version;
        Ok(())
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
pub(crate) mod tests;
