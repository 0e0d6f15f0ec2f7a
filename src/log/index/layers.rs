//! The index's memory: layers of entries that are not in the file yet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

use crate::log::tiles::{Tile, Tree};
use crate::log::tree::Hash;

/// The place of a command's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandPlace {
    /// The position of the first event.
    pub first: u64,
    /// How many events the command has, at consecutive positions.
    pub len: u16,
    /// When the command was recorded.
    pub at: Micros,
}

/// The place of one event of a stream, and the beginning of its record's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The event's position.
    pub position: u64,
    /// The first bytes of its record's leaf hash.
    pub leaf: [u8; LEAF_BYTES],
}

/// How many bytes of a leaf hash are stored beside a position; to find a changed record with the
/// same bytes takes 2^128 tries.
pub const LEAF_BYTES: usize = 16;

impl Place {
    /// Makes the place of a record with that leaf hash.
    pub fn of(position: u64, leaf: &Hash) -> Self {
        Self {
            position,
            leaf: std::array::from_fn(|at| leaf[at]),
        }
    }
}

/// A fact that a record holds and that concerns other accounts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The account holds the login name with this keyed hash.
    Name([u8; 16]),
    /// A login challenge with this hash was opened for the account, until this time.
    Challenge([u8; 16], Micros),
    /// The record is an event of this type, which every start reads again.
    ReadAtStart(u16),
    /// The account is erased and holds no name any more; the key of the operator's act, and when.
    Erased(Option<([u8; 16], Micros)>),
    /// An agent did an act that is counted under this key, at that time.
    Acted([u8; 16], Micros),
    /// A reset case with this hash was opened for the account, by the agent with this key.
    Case {
        /// The hash of the case's id.
        case: [u8; 16],
        /// The key of the agent's name.
        agent: [u8; 16],
        /// When the case was opened.
        at: Micros,
    },
}

/// A record does not follow from the records before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at position {position} does not follow: its {what} is not the next one, so records were lost, changed or added; restore the log from a backup"
)]
pub struct NotNext {
    /// The record's position.
    pub position: u64,
    /// Which part is out of order.
    pub what: &'static str,
}

/// Number and bytes of records, by the number of their event type.
pub type Counts = HashMap<u16, (u64, u64)>;

/// Entries that are not in the file yet.
#[derive(Debug, Default)]
pub(in crate::log) struct Layer {
    /// Consecutive events of a stream, with the version of the first of them.
    pub streams: HashMap<StreamKey, (u32, Vec<Place>)>,
    pub commands: HashMap<CommandKey, CommandPlace>,
    pub names: HashMap<[u8; 16], StreamKey>,
    /// Erased accounts: an older layer's or the file's entry of their names is void.
    pub erased: HashSet<StreamKey>,
    pub challenges: HashMap<[u8; 16], (StreamKey, Micros)>,
    /// Reset cases, open or not.
    pub cases: HashMap<[u8; 16], StreamKey>,
    /// Positions and times of an agent's acts of one kind.
    pub requests: HashMap<[u8; 16], Vec<(u64, Micros)>>,
    /// The number and bytes of the records by event type.
    pub counts: Counts,
    /// The events that every start reads again: event type and position.
    pub read_at_start: BTreeSet<(u16, u64)>,
    pub entries: usize,
    /// The Merkle tiles that changed with this layer, and the frontier after its last record.
    pub tiles: Vec<(Tile, Vec<u8>)>,
    pub frontier: Vec<u8>,
    /// The last record in this layer.
    pub tail: Tail,
}

/// The layers in memory: the newest one, and the one that is being flushed.
pub(in crate::log) struct Layers {
    /// The Merkle tree over every record that was pushed.
    pub tree: Tree,
    /// How many of its leaves are in the file.
    pub stored: u64,
    pub newest: Layer,
    pub flushing: Option<Arc<Layer>>,
    /// The group that the last record leaves open: its command and the next index.
    pub open_group: Option<(CommandKey, u16)>,
}

impl Layer {
    /// Adds a record's fact to the layer.
    pub fn learn(&mut self, fact: Option<Fact>, position: u64, stream: StreamKey) {
        match fact {
            Some(Fact::Name(name)) => drop(self.names.insert(name, stream)),
            Some(Fact::Challenge(hash, expires_at)) => {
                self.challenges.insert(hash, (stream, expires_at));
            }
            Some(Fact::ReadAtStart(event_type)) => {
                self.read_at_start.insert((event_type, position));
            }
            Some(Fact::Erased(by)) => {
                self.names.retain(|_, holder| *holder != stream);
                self.erased.insert(stream);
                if let Some((agent, at)) = by {
                    self.requests.entry(agent).or_default().push((position, at));
                }
            }
            Some(Fact::Acted(agent, at)) => {
                self.requests.entry(agent).or_default().push((position, at));
            }
            Some(Fact::Case { case, agent, at }) => {
                self.cases.insert(case, stream);
                self.requests.entry(agent).or_default().push((position, at));
            }
            None => {}
        }
    }
}

impl Layers {
    /// Returns the account that holds a name, by the layers and then by the file.
    pub fn name(
        &self,
        name: &[u8; 16],
        file: impl FnOnce() -> Result<Option<StreamKey>, IndexError>,
    ) -> Result<Option<StreamKey>, IndexError> {
        let mut passed = Vec::with_capacity(2);
        let mut holder = None;
        for layer in self.newest_first() {
            holder = layer.names.get(name).copied();
            if holder.is_some() {
                break;
            }
            passed.push(layer);
        }
        let holder = match holder {
            Some(holder) => Some(holder),
            None => file()?,
        };
        let is_void = |stream: &StreamKey| passed.iter().any(|layer| layer.erased.contains(stream));
        Ok(holder.filter(|stream| !is_void(stream)))
    }

    /// Makes layers without entries, over what the file holds.
    pub fn stored(tree: Tree, tail: Tail) -> Self {
        let newest = Layer {
            tail,
            ..Layer::default()
        };
        Self {
            stored: tree.size(),
            tree,
            newest,
            flushing: None,
            open_group: None,
        }
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.newest).chain(self.flushing.as_deref())
    }

    pub fn oldest_first(&self) -> impl Iterator<Item = &Layer> {
        self.flushing
            .as_deref()
            .into_iter()
            .chain(std::iter::once(&self.newest))
    }
}

/// Adds to the count of an event type.
pub(super) fn add(counts: &mut Counts, event_type: u16, (number, bytes): (u64, u64)) {
    let count = counts.entry(event_type).or_default();
    *count = (count.0 + number, count.1 + bytes);
}

/// Checks that a record is the next one; returns the group that it leaves open.
pub(super) fn check_next(
    layers: &Layers,
    position: u64,
    record: &Record,
) -> Result<Option<(CommandKey, u16)>, NotNext> {
    let not_next = |what| NotNext { position, what };
    let tail = &layers.newest.tail;
    if position != tail.position + 1 {
        return Err(not_next("position"));
    }
    let known = layers.newest_first().find_map(|layer| {
        let (first, run) = layer.streams.get(&record.stream_key)?;
        Some(first + run.len() as u32)
    });
    if known.is_some_and(|next| next != record.version) {
        return Err(not_next("version"));
    }
    if record.recorded_at < tail.at {
        return Err(not_next("time"));
    }
    let expected = layers.open_group.unwrap_or((record.command_key, 0));
    if expected != (record.command_key, record.group_index) {
        return Err(not_next("place in its group"));
    }
    let next = record.group_index + 1;
    Ok((next < record.group_len).then_some((record.command_key, next)))
}

/// The index could not be read or written; the log is not affected.
#[derive(Debug, thiserror::Error)]
#[error(
    "the index {path} cannot be used ({source}): stop the service and delete the file, it is rebuilt from the log"
)]
pub struct IndexError {
    pub(super) path: PathBuf,
    pub(super) source: Box<redb::Error>,
}

/// The last record that an index has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The record's position; 0 before the first.
    pub position: u64,
    /// When the record was written.
    pub at: Micros,
    /// The record's command, which distinguishes this log from another.
    pub command: [u8; 16],
}

impl Tail {
    /// Makes the tail for a record.
    pub(super) fn of(position: u64, record: &Record) -> Self {
        Self {
            position,
            at: record.recorded_at,
            command: record.command_key.0,
        }
    }

    /// Returns the bytes that a tag over the tail covers.
    pub(super) fn parts(&self) -> [Vec<u8>; 3] {
        let (position, at) = (self.position.to_le_bytes(), self.at.0.to_le_bytes());
        [position.to_vec(), at.to_vec(), self.command.to_vec()]
    }
}
