//! The positions of the events of a stream, of a command and of a name, derived from the records.
//!
//! ```text
//!   push ─▶ newest layer ─▶ flushing layer ─▶ index.redb      a look-up asks all three
//!           (memory)        (memory)          (written behind, deletable)
//! ```
//!
//! The commit of a command writes only the log's one table. The random-key inserts of an index
//! would cost two thirds of the commit rate, so they are made behind it, in large batches. Entries
//! that a crash loses are derived again from the log's tail at the next start.

pub(super) mod buckets;
pub(super) mod cover;
pub(super) mod file;
pub(super) mod finding;
pub(super) mod layers;
pub(super) mod opening;
pub(super) mod roots;
pub(super) mod tables;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

use super::segment::Storage;
use super::tree::leaf_hash;
use crate::crypto::derived::FileKey;
use file::IndexFile;
use layers::Tail;
use layers::{Layers, add, check_next};

pub use file::Cursor;
pub use finding::Finding;
pub use layers::IndexError;
pub use layers::{CommandPlace, Counts, Fact, NotNext, Place};
pub use tables::{COMMAND_HORIZON_S, REQUESTS_HORIZON_S};

/// Positions by stream and by command, accounts by name and by challenge.
///
/// One thread, the writer, pushes; one thread flushes; any thread asks.
pub struct Index {
    layers: RwLock<Layers>,
    pub(super) file: IndexFile,
    /// One flush at a time.
    flush: Mutex<()>,
    /// The first thing found that the service did not leave there.
    pub(super) finding: Mutex<Option<Finding>>,
}

impl Index {
    /// Opens the file. It is rebuilt if it is missing, damaged, of another format or of another
    /// log, and if something other than the service changed it; `key` is the service's own.
    /// `record` returns a record of the log, so that a foreign or restored log is noticed. Only the
    /// harnesses that break disks use a `storage` other than the default one.
    ///
    /// # Errors
    /// [`IndexError`] if another process has it open, or it can be neither opened nor replaced.
    pub fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        key: &FileKey,
        record: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<Self, IndexError> {
        let (file, tree) = IndexFile::open(storage, path, cache_bytes, key, record)?;
        Ok(Self {
            layers: RwLock::new(Layers::stored(tree, file.tail())),
            file,
            flush: Mutex::new(()),
            finding: Mutex::default(),
        })
    }

    /// Adds the record at a position; positions must come in order, without a gap.
    ///
    /// `bytes` are the record's, as the log has them: they become a leaf of the tree, so a record
    /// is pushed only once it is durable. `now` decides whether the command can still be repeated.
    ///
    /// # Errors
    /// [`NotNext`] if its version, its time or its place in a group is not the next one; the
    /// version of a stream's first record since a flush is not checked here, see
    /// [`Index::check_version`].
    pub fn push(
        &self,
        position: u64,
        record: &Record,
        bytes: &[u8],
        fact: Option<Fact>,
        now: Micros,
    ) -> Result<(), NotNext> {
        let leaf = leaf_hash(bytes);
        let mut layers = self.layers_mut();
        let group = check_next(&layers, position, record)?;
        layers.open_group = group;
        let layer = &mut layers.newest;
        let first = (record.version, Vec::new());
        let (_, run) = layer.streams.entry(record.stream_key).or_insert(first);
        run.push(Place::of(position, &leaf));
        add(
            &mut layer.counts,
            record.event_type,
            (1, bytes.len() as u64),
        );
        if record.group_index == 0 && now < record.recorded_at.plus_s(COMMAND_HORIZON_S) {
            let place = CommandPlace {
                first: position,
                len: record.group_len,
                at: record.recorded_at,
            };
            layer.commands.insert(record.command_key, place);
        }
        layer.learn(fact, position, record.stream_key);
        layer.tail = Tail::of(position, record);
        layer.entries += 1;
        layers.tree.append(leaf);
        Ok(())
    }

    /// Checks that a record has its stream's next version, for a log that another process wrote.
    /// This costs a read of the file; the writer, which counts versions itself, does without.
    ///
    /// # Errors
    /// [`PushError`] if the version is not the next one, or the file cannot be read.
    pub fn check_version(&self, position: u64, record: &Record) -> Result<(), PushError> {
        if self.version(&record.stream_key)? + 1 == record.version {
            Ok(())
        } else {
            Err(NotNext {
                position,
                what: "version",
            }
            .into())
        }
    }

    /// Returns the positions of a stream's events with versions in `after + 1 ..= through`,
    /// ascending.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn positions(
        &self,
        stream: &StreamKey,
        after: u32,
        through: u32,
    ) -> Result<Vec<u64>, IndexError> {
        let places = self.places(stream, after, through)?;
        Ok(places.into_iter().map(|place| place.position).collect())
    }

    /// Returns the places of a stream's events with versions in `after + 1 ..= through`, ascending.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn places(
        &self,
        stream: &StreamKey,
        after: u32,
        through: u32,
    ) -> Result<Vec<Place>, IndexError> {
        let layers = self.layers();
        let mut places = self.file.places(stream, after, through)?;
        for layer in layers.oldest_first() {
            let Some((first, run)) = layer.streams.get(stream) else {
                continue;
            };
            // Events that the file already gave are not taken again from a layer that is being
            // flushed.
            let have = after + places.len() as u32;
            let skip = (have + 1).saturating_sub(*first) as usize;
            let room = through.saturating_sub(have) as usize;
            places.extend(run.iter().skip(skip).take(room));
        }
        Ok(places)
    }

    /// Returns how many events a stream has.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn version(&self, stream: &StreamKey) -> Result<u32, IndexError> {
        let layers = self.layers();
        let in_memory = layers.newest_first().find_map(|layer| {
            let (first, run) = layer.streams.get(stream)?;
            Some(first + run.len() as u32 - 1)
        });
        match in_memory {
            Some(version) => Ok(version),
            None => self.file.version(stream),
        }
    }

    /// Returns the places of a command's events, within the horizon.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn command(
        &self,
        key: &CommandKey,
        now: Micros,
    ) -> Result<Option<CommandPlace>, IndexError> {
        let layers = self.layers();
        let in_memory = layers
            .newest_first()
            .find_map(|layer| layer.commands.get(key).copied());
        let place = match in_memory {
            Some(place) => Some(place),
            None => self.file.command(key)?,
        };
        Ok(place.filter(|place| now < place.at.plus_s(COMMAND_HORIZON_S)))
    }

    /// Returns the account that holds a name, by the name's keyed hash.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn name(&self, name: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        self.layers().name(name, || self.file.name(name))
    }

    /// Returns the account that a challenge was opened for; an expired challenge may be forgotten.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn challenge(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        let layers = self.layers();
        let in_memory = layers
            .newest_first()
            .find_map(|layer| layer.challenges.get(hash));
        match in_memory {
            Some((stream, _)) => Ok(Some(*stream)),
            None => self.file.challenge(hash),
        }
    }

    /// Returns the account that a reset case was opened for, whatever became of the case.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn case(&self, hash: &[u8; 16]) -> Result<Option<StreamKey>, IndexError> {
        let layers = self.layers();
        let in_memory = layers
            .newest_first()
            .find_map(|layer| layer.cases.get(hash).copied());
        match in_memory {
            Some(stream) => Ok(Some(stream)),
            None => self.file.case(hash),
        }
    }

    /// Returns when an agent did the acts that are counted under a key, ascending; acts older than
    /// [`REQUESTS_HORIZON_S`] may be gone.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn requests(&self, agent: &[u8; 16]) -> Result<Vec<Micros>, IndexError> {
        let layers = self.layers();
        let mut requests = self.file.requests(agent)?;
        for layer in layers.oldest_first() {
            // The layer that is being flushed may be in the file already.
            let have = requests.last().map_or(0, |(position, _)| *position);
            let run = layer.requests.get(agent).into_iter().flatten();
            requests.extend(run.filter(|(position, _)| *position > have));
        }
        Ok(requests.into_iter().map(|(_, at)| at).collect())
    }

    /// Returns the positions of the events of a type that every start reads again, ascending.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn read_at_start(&self, event_type: u16) -> Result<BTreeSet<u64>, IndexError> {
        let layers = self.layers();
        let mut positions = self.file.read_at_start(event_type)?;
        for layer in layers.oldest_first() {
            let range = (event_type, 0)..=(event_type, u64::MAX);
            positions.extend(
                layer
                    .read_at_start
                    .range(range)
                    .map(|(_, position)| position),
            );
        }
        Ok(positions)
    }

    /// Returns number and bytes of all records, by the number of their event type.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be read.
    pub fn counts(&self) -> Result<Counts, IndexError> {
        let layers = self.layers();
        let mut counts = self.file.counts()?;
        // The layer that is being flushed may be in the file already: it must be counted only once.
        let tail = self.file.tail().position;
        for layer in layers
            .newest_first()
            .filter(|layer| layer.tail.position > tail)
        {
            for (event_type, more) in &layer.counts {
                add(&mut counts, *event_type, *more);
            }
        }
        Ok(counts)
    }

    /// Returns the last record that was added; position 0 before the first.
    pub fn tail(&self) -> Tail {
        self.layers().newest.tail
    }

    /// Returns whether the last record ended its group.
    pub fn is_whole(&self) -> bool {
        self.layers().open_group.is_none()
    }

    /// Returns how many entries wait to be flushed.
    pub fn waiting(&self) -> usize {
        self.layers().newest.entries
    }

    /// Moves the waiting entries into the file, and forgets entries there that are beyond their
    /// horizon at `now`.
    ///
    /// With `durable` the file survives a crash; otherwise a crash takes it back to the last
    /// durable flush. `record` returns a record of the log.
    ///
    /// # Errors
    /// [`IndexError`] if the file cannot be written: the entries still wait, and can still be
    /// found.
    pub fn flush(
        &self,
        durable: bool,
        now: Micros,
        record: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<(), IndexError> {
        let _one = self.flush.lock().expect("no holder of this lock panics");
        let layer = {
            let mut layers = self.layers_mut();
            if layers.flushing.is_none() {
                let tail = layers.newest.tail;
                let tiles = layers.tree.changed(layers.stored);
                let mut full = std::mem::take(&mut layers.newest);
                full.tiles = tiles.expect("tiles are kept until they are stored");
                full.frontier = layers.tree.frontier().encode();
                layers.newest.tail = tail;
                layers.flushing = Some(Arc::new(full));
            }
            layers.flushing.clone()
        };
        if let Some(layer) = layer {
            self.file.write(&layer, durable, now, record)?;
            let mut layers = self.layers_mut();
            layers.flushing = None;
            layers.stored = layer.tail.position;
            let stored = layers.stored;
            layers.tree.drop_stored(stored);
        }
        Ok(())
    }

    pub(super) fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().expect("no holder of this lock panics")
    }

    fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().expect("no holder of this lock panics")
    }
}

/// Why a record was not added.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The record does not follow the one before it.
    #[error(transparent)]
    NotNext(#[from] NotNext),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] IndexError),
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cover_tests.rs"]
mod cover_tests;
