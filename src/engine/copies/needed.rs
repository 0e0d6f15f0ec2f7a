//! Which data keys the records of a log need, and whether a store or its copy has them.

use std::collections::HashMap;
use std::path::Path;

use countersign_schemas::event::ACCOUNT_ERASED;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::sealed::Protected;

use crate::crypto::data_keys::{InCopy, KeysCopy};
use crate::crypto::tombstones::{Tombstone, Tombstones};
use crate::engine::data_folder::{keys_file, log_folder};
use crate::engine::keys::vault::holder;
use crate::log::{EventLog, LogOptions};

/// The position of the first record that a store of data keys does not suit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// The store does not have the key that the record needs, and no mark of its erasure.
    Key(u64),
    /// The store marks the key as erased, and nothing proves the erasure.
    Erasure(u64),
}

/// Reads the log of a stopped service, and returns the first record whose data key is neither in
/// its key store nor erased.
///
/// # Errors
/// A sentence if the log, the key store or the tombstones cannot be read.
pub fn lacking_in(data: &Path, keyring_file: &Path) -> Result<Option<Lacking>, String> {
    let log = EventLog::open(&log_folder(data), LogOptions::default());
    let log = log.map_err(|error| error.to_string())?;
    let keys = KeysCopy::open(&keys_file(data)).map_err(|error| error.to_string())?;
    let tombstones = Tombstones::beside(keyring_file).list();
    let tombstones = tombstones.map_err(|error| error.to_string())?;
    let (reader, mut needed) = (log.reader(), Needed::of(&keys));
    let mut next = 1;
    loop {
        let page = reader.read(next, usize::MAX, usize::MAX);
        let page = page.map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(needed.check(reader.head(), &tombstones).err());
        }
        page.iter().for_each(|(at, bytes)| needed.take(at, bytes));
        next = page.next();
    }
}

/// What the records of a log need from a store of data keys.
pub struct Needed<'a> {
    keys: &'a KeysCopy,
    /// The first record whose key is missing and was never there.
    missing: Option<u64>,
    /// By account: the first record since its last erasure whose key is marked as erased, and the
    /// highest number of such a key.
    unproven: HashMap<StreamKey, (u64, u32)>,
}

impl<'a> Needed<'a> {
    /// Begins without a record.
    pub fn of(keys: &'a KeysCopy) -> Self {
        Self {
            keys,
            missing: None,
            unproven: HashMap::new(),
        }
    }

    /// Notes what a record needs; a record that cannot be decoded is found by the verification
    /// itself.
    pub fn take(&mut self, at: u64, bytes: &[u8]) {
        let Ok(record) = Record::decode(bytes) else {
            return;
        };
        let Ok(mut event) = record.event() else {
            return;
        };
        let stream = record.stream_key;
        let holder = StreamKey(holder(record.event_type, stream.0));
        let fields = event.protected().into_iter();
        let fields = fields.filter_map(|(_, value)| match value {
            Protected::Sealed(sealed) => Some(sealed.key),
            Protected::Clear(_) => None,
        });
        let source = record.meta.source.as_ref().map(|source| source.key);
        for generation in fields.chain(source) {
            match self.keys.find(&holder.0, generation) {
                Ok(InCopy::Kept) => {}
                Ok(InCopy::Erased) => {
                    let (_, highest) = self.unproven.entry(holder).or_insert((at, generation));
                    *highest = generation.max(*highest);
                }
                Ok(InCopy::Missing) | Err(_) => _ = self.missing.get_or_insert(at),
            }
        }
        if record.event_type == ACCOUNT_ERASED {
            self.unproven.remove(&stream);
        }
    }

    /// Checks that every needed key is there or was erased. An erasure is proven by the log, or by
    /// a tombstone for an erasure after the `copied` records. A mark in the key store alone proves
    /// nothing: the service may have made it for another log. Marks are checked elsewhere.
    ///
    /// # Errors
    /// [`Lacking`] with the first record that needs what is not there.
    pub fn check(self, copied: u64, tombstones: &[Tombstone]) -> Result<(), Lacking> {
        if let Some(position) = self.missing {
            return Err(Lacking::Key(position));
        }
        let is_later = |stream: &StreamKey, needed: u32| {
            tombstones
                .iter()
                .any(|t| t.stream_key == stream.0 && needed <= t.through && t.position > copied)
        };
        let unproven = self.unproven.into_iter();
        let unproven = unproven.filter(|(stream, (_, needed))| !is_later(stream, *needed));
        match unproven.map(|(_, (position, _))| position).min() {
            Some(position) => Err(Lacking::Erasure(position)),
            None => Ok(()),
        }
    }
}
