//! Which erasures the log and the tombstones prove, and which life of an account is its present
//! one.

use std::collections::HashMap;

use countersign_schemas::event::{ACCOUNT_ERASED, Event};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::accounts::{Accounts, HistoryError};
use super::entries::decode;
use super::keys::vault::Vault;
use crate::crypto::tombstones::Tombstone;
use crate::log::LogReader;
use crate::log::index::Index;

/// The evidence for erasures, by account.
pub struct Known {
    /// The position of the account's last erasure in the log.
    pub recorded: HashMap<StreamKey, u64>,
    /// The highest number of a data key that the log names for the lives that ended.
    ended: HashMap<StreamKey, u32>,
    /// The number of the data key of the life that followed, if anything of that life is sealed.
    living: HashMap<StreamKey, u32>,
    /// The last generation of data keys that a tombstone destroys. Not a position: a log that lost
    /// the erasure continues, and a later life may have a lower position.
    pub through: HashMap<StreamKey, u32>,
}

impl Known {
    /// Whether log or tombstones prove that an account's key of this generation was erased.
    pub fn says(&self, stream: StreamKey, generation: u32) -> bool {
        let living = self.living.get(&stream);
        let has_ended = self.ended.get(&stream).is_some_and(|e| generation <= *e);
        (has_ended && living.is_none_or(|living| generation < *living))
            || self.through.get(&stream).is_some_and(|t| generation <= *t)
    }
}

/// The present life of an account id, according to the log.
#[derive(Debug, Default)]
pub struct Life {
    /// The highest number of a data key in the lives that an erasure ended.
    ended: Option<u32>,
    /// The highest number of a data key in this life.
    highest: Option<u32>,
    /// When this life began; `None` if the last life was erased and no event followed.
    pub since: Option<Micros>,
    /// The number of this life's data key: each life has its own. `None` if nothing of it is
    /// sealed.
    pub generation: Option<u32>,
}

impl Life {
    /// Reads an account's events up to a version.
    ///
    /// # Errors
    /// [`HistoryError`] if log or index cannot be read.
    pub fn of(
        index: &Index,
        accounts: &Accounts,
        stream: StreamKey,
        version: u32,
    ) -> Result<Self, HistoryError> {
        let mut life = Self::default();
        for position in index.positions(&stream, 0, version)? {
            let record = accounts.record(position)?;
            let event = record.event();
            let mut event = event.map_err(|error| HistoryError::at(position, error))?;
            life = match event {
                Event::AccountErased(_) => Self {
                    ended: life.ended.max(life.highest),
                    ..Self::default()
                },
                _ => {
                    let sealed = sealed_by(&record, &mut event);
                    Self {
                        since: life.since.or(Some(record.recorded_at)),
                        generation: life.generation.or(sealed),
                        highest: life.highest.max(sealed),
                        ..life
                    }
                }
            };
        }
        Ok(life)
    }
}

/// Returns the number of the account's data key that a record needs, if it needs one.
fn sealed_by(record: &Record, event: &mut Event) -> Option<u32> {
    let field = |(_, value): (_, &mut Protected)| match value {
        Protected::Sealed(sealed) => Some(sealed.key),
        Protected::Clear(_) => None,
    };
    let sealed = event.protected().into_iter().find_map(field);
    sealed.or_else(|| record.meta.source.as_ref().map(|source| source.key))
}

/// Whether the log of a running service, or one of its tombstones, proves that an account's key of
/// this generation was erased.
///
/// # Errors
/// A sentence if log, index or tombstones cannot be read.
pub fn says(
    index: &Index,
    accounts: &Accounts,
    vault: &Vault,
    stream: StreamKey,
    generation: u32,
) -> Result<bool, String> {
    let life = Life::of(index, accounts, stream, u32::MAX);
    let life = life.map_err(|error| error.to_string())?;
    let has_ended = life.ended.is_some_and(|ended| generation <= ended);
    if has_ended && life.generation.is_none_or(|living| generation < living) {
        return Ok(true);
    }
    let tombstones = vault.tombstones();
    let tombstones = tombstones.map_err(|error| error.to_string())?;
    let names = |t: &Tombstone| t.stream_key == stream.0 && generation <= t.through;
    Ok(tombstones.iter().any(names))
}

/// Reads the erasures of a log's records up to a position, and those that a crash interrupted after
/// their tombstone was written. Takes some 20 bytes of memory per account.
///
/// # Errors
/// A sentence if the log cannot be read.
pub fn read(reader: &LogReader, last: u64, tombstones: &[Tombstone]) -> Result<Known, String> {
    let mut through = HashMap::new();
    for tombstone in tombstones {
        let known: &mut u32 = through.entry(StreamKey(tombstone.stream_key)).or_default();
        *known = tombstone.through.max(*known);
    }
    let (mut recorded, mut living) = (HashMap::new(), HashMap::new());
    let (mut ended, mut highest) = (HashMap::new(), HashMap::<StreamKey, u32>::new());
    let mut next = 1;
    loop {
        let page = reader
            .read(next, usize::MAX, usize::MAX)
            .map_err(|error| error.to_string())?;
        if page.is_empty() || next > last {
            return Ok(Known {
                recorded,
                ended,
                living,
                through,
            });
        }
        for (position, bytes) in page.iter().filter(|(position, _)| *position <= last) {
            let mut entry = decode(position, bytes)?;
            let stream = entry.record.stream_key;
            if entry.event.type_code() == ACCOUNT_ERASED {
                recorded.insert(stream, position);
                living.remove(&stream);
                if let Some(generation) = highest.get(&stream) {
                    ended.insert(stream, *generation);
                }
            } else if let Some(generation) = sealed_by(&entry.record, &mut entry.event) {
                let known = highest.entry(stream).or_default();
                *known = generation.max(*known);
                if recorded.contains_key(&stream) {
                    living.entry(stream).or_insert(generation);
                }
            }
        }
        next = page.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: StreamKey = StreamKey([1; 16]);

    /// An older store of keys gives a number out again, which an erasure had ended.
    #[test]
    fn the_present_lifes_key_is_not_erased_even_under_a_number_that_was() {
        let known = Known {
            recorded: HashMap::from([(ADA, 9)]),
            ended: HashMap::from([(ADA, 4)]),
            living: HashMap::from([(ADA, 3)]),
            through: HashMap::new(),
        };
        let erased: Vec<_> = (1..=5).filter(|key| known.says(ADA, *key)).collect();
        assert_eq!(erased, [1, 2]);
        let known = Known {
            living: HashMap::new(),
            ..known
        };
        let erased: Vec<_> = (1..=5).filter(|key| known.says(ADA, *key)).collect();
        assert_eq!(erased, [1, 2, 3, 4]);
        assert!(!known.says(StreamKey([2; 16]), 1));
    }
}
