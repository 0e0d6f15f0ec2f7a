//! Which rows of `index.redb` are the service's own.
//!
//! ```text
//!   rows ─▶ a tally for each bucket of a table ─▶ its seal, a row ─▶ tally of all seals ─▶ TAIL's tag
//! ```
//!
//! A decision rests as much on a row that is missing as on one that is there, so it is not rows that
//! are sealed but buckets of them: the rows whose key begins with the same bits. A bucket's tally is
//! the sum of a keyed hash of each row, which a flush keeps up to date without reading the others;
//! only a tag over it is stored. The tag beside the tail covers all seals, so no older one can take a
//! newer one's place. Seals are read at the start; a bucket's rows are when it is first looked at.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use redb::{ReadableTable, Table, TableDefinition, Value, WriteTransaction};

use super::buckets::{BUCKETS, Bucketed, Covered, Ends, Tally};
use crate::crypto::derived::{FILE_TAG_BYTES, FileKey};

/// A tag over rows.
pub(super) type Tag = [u8; FILE_TAG_BYTES];

/// (table, bucket) → the tag over its tally.
pub(super) const SEALS: TableDefinition<(u8, u16), &Tag> = TableDefinition::new("seals_v1");

/// What is known of a bucket.
#[derive(Clone, Copy)]
enum Bucket {
    /// What a seal says of it; its rows were not looked at.
    Sealed(Tag),
    /// What its rows are.
    Seen(Tally),
}

type Place = (u8, u16);

/// The seals of a file, and which of the buckets were held to theirs.
pub(super) struct Seals {
    key: FileKey,
    /// Held for a moment only: rows are read without it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<Place, Bucket>,
    /// Over the rows of [`SEALS`].
    seals: Tally,
}

/// Rows are not those that the service left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

impl Seals {
    /// Takes the seals of a file in, none of them believed yet.
    pub fn read(
        key: FileKey,
        table: &impl ReadableTable<(u8, u16), &'static Tag>,
    ) -> Result<Self, redb::Error> {
        let mut state = State::default();
        for row in table.iter()? {
            let (place, tag) = row?;
            let (place, tag) = (place.value(), *tag.value());
            state.seals.add(seal_hash(&key, place, &tag));
            state.buckets.insert(place, Bucket::Sealed(tag));
        }
        Ok(Self {
            key,
            state: Mutex::new(state),
        })
    }

    /// The tag over the last record that is in, over the frontier there and over all seals.
    pub fn tail_tag(&self, tail: &[&[u8]], frontier: &[u8]) -> Tag {
        self.tail_tag_over(&self.state().seals, tail, frontier)
    }

    fn tail_tag_over(&self, seals: &Tally, tail: &[&[u8]], frontier: &[u8]) -> Tag {
        let mut parts: Vec<&[u8]> = vec![b"tail"];
        parts.extend(tail);
        let seals = seals.bytes();
        parts.extend([frontier, &seals]);
        self.key.tag(&parts)
    }

    /// The tag over a tile.
    pub fn tile_tag(&self, level: u8, index: u64, bytes: &[u8]) -> Tag {
        self.key
            .tag(&[b"tile", &[level], &index.to_le_bytes(), bytes])
    }

    /// The first bucket of a table, from one of them on, that has a row or a seal.
    pub fn next_bucket<K: Bucketed, V: Value>(
        &self,
        covered: &Covered<K, V>,
        table: &impl ReadableTable<K, V>,
        from: u16,
    ) -> Result<Option<u16>, redb::Error> {
        if from >= BUCKETS {
            return Ok(None);
        }
        let ends = Ends::of(from);
        let (first, _) = K::bounds(&ends).into_inner();
        let row = table
            .range::<K::SelfType<'_>>(first..)?
            .next()
            .transpose()?;
        let of_row = row.map(|(key, _)| K::bucket(&key.value()));
        let places = (covered.id, from)..=(covered.id, BUCKETS);
        let sealed = self
            .state()
            .buckets
            .range(places)
            .next()
            .map(|(place, _)| place.1);
        Ok([of_row, sealed]
            .into_iter()
            .flatten()
            .filter(|bucket| *bucket >= from)
            .min())
    }

    /// Holds the bucket of a key to its seal, unless that was done before.
    pub fn check<K: Bucketed, V: Value>(
        &self,
        covered: &Covered<K, V>,
        table: &impl ReadableTable<K, V>,
        bucket: u16,
    ) -> Result<Result<(), Changed>, redb::Error> {
        let place = (covered.id, bucket);
        let before = match self.state().buckets.get(&place) {
            Some(Bucket::Seen(_)) => return Ok(Ok(())),
            Some(Bucket::Sealed(tag)) => Some(*tag),
            None => None,
        };
        let tally = self.tally(covered, table, bucket)?;
        let is_right = tally.is_some_and(|tally| match before {
            Some(tag) => self.seal(place, &tally) == tag,
            None => tally == Tally::default(),
        });
        let mut state = self.state();
        // A flush looks at a bucket before it changes it, so what it has seen meanwhile is newer.
        if let Some(Bucket::Seen(_)) = state.buckets.get(&place) {
            return Ok(Ok(()));
        }
        match tally.filter(|_| is_right) {
            Some(tally) => {
                state.buckets.insert(place, Bucket::Seen(tally));
                Ok(Ok(()))
            }
            None => Ok(Err(Changed)),
        }
    }

    /// Adds the rows of a bucket up; none where a look-up does not find one of them.
    ///
    /// A file can be made whose pages lead a look-up past a row that stands in it; so each row is
    /// looked up, and one beyond the bucket means that the pages do not lead where they should.
    fn tally<K: Bucketed, V: Value>(
        &self,
        covered: &Covered<K, V>,
        table: &impl ReadableTable<K, V>,
        bucket: u16,
    ) -> Result<Option<Tally>, redb::Error> {
        let ends = Ends::of(bucket);
        let mut tally = Tally::default();
        let mut last: Option<Vec<u8>> = None;
        for row in table.range(K::bounds(&ends))? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let found = table.get(&key)?;
            let value = V::as_bytes(&value);
            let is_found =
                found.is_some_and(|found| V::as_bytes(&found.value()).as_ref() == value.as_ref());
            let bytes = K::as_bytes(&key);
            let ascends = last
                .as_ref()
                .is_none_or(|last| K::compare(last, bytes.as_ref()).is_lt());
            if !is_found || !ascends || K::bucket(&key) != bucket {
                return Ok(None);
            }
            tally.add(self.row(covered.id, bytes.as_ref(), value.as_ref()));
            last = Some(bytes.as_ref().to_vec());
        }
        Ok(Some(tally))
    }

    fn row(&self, table: u8, key: &[u8], value: &[u8]) -> u128 {
        u128::from_le_bytes(self.key.tag(&[&[table], key, value]))
    }

    fn seal(&self, (table, bucket): Place, tally: &Tally) -> Tag {
        let bucket = bucket.to_le_bytes();
        self.key
            .tag(&[b"bucket", &[table], &bucket, &tally.bytes()])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

fn seal_hash(key: &FileKey, (table, bucket): Place, tag: &Tag) -> u128 {
    let bucket = bucket.to_le_bytes();
    u128::from_le_bytes(key.tag(&[b"seal", &[table], &bucket, tag]))
}

/// One transaction's changes of covered rows.
pub(super) struct Changes<'s> {
    seals: &'s Seals,
    touched: HashMap<Place, Tally>,
}

/// The changes, sealed; in force once their transaction is.
pub(super) struct Sealed {
    touched: HashMap<Place, Tally>,
    seals: Tally,
}

impl<'s> Changes<'s> {
    pub fn of(seals: &'s Seals) -> Self {
        Self {
            seals,
            touched: HashMap::new(),
        }
    }

    /// Puts a row in, in the place of one with its key.
    pub fn put<K: Bucketed, V: Value>(
        &mut self,
        covered: &Covered<K, V>,
        table: &mut Table<'_, K, V>,
        key: &K::SelfType<'_>,
        value: &V::SelfType<'_>,
    ) -> Result<(), redb::Error> {
        let bytes = K::as_bytes(key);
        let mut tally = self.before(covered, table, K::bucket(key))?;
        if let Some(old) = table.insert(key, value)? {
            let old = V::as_bytes(&old.value()).as_ref().to_vec();
            tally.take(self.seals.row(covered.id, bytes.as_ref(), &old));
        }
        let value = V::as_bytes(value);
        tally.add(self.seals.row(covered.id, bytes.as_ref(), value.as_ref()));
        self.touched.insert((covered.id, K::bucket(key)), tally);
        Ok(())
    }

    /// Takes a row out.
    pub fn remove<K: Bucketed, V: Value>(
        &mut self,
        covered: &Covered<K, V>,
        table: &mut Table<'_, K, V>,
        key: &K::SelfType<'_>,
    ) -> Result<(), redb::Error> {
        let mut tally = self.before(covered, table, K::bucket(key))?;
        if let Some(old) = table.remove(key)? {
            let bytes = K::as_bytes(key);
            let old = V::as_bytes(&old.value()).as_ref().to_vec();
            tally.take(self.seals.row(covered.id, bytes.as_ref(), &old));
        }
        self.touched.insert((covered.id, K::bucket(key)), tally);
        Ok(())
    }

    /// What the rows of a bucket are, held to its seal before the first change.
    fn before<K: Bucketed, V: Value>(
        &self,
        covered: &Covered<K, V>,
        table: &Table<'_, K, V>,
        bucket: u16,
    ) -> Result<Tally, redb::Error> {
        let place = (covered.id, bucket);
        if let Some(tally) = self.touched.get(&place) {
            return Ok(*tally);
        }
        self.seals
            .check(covered, table, bucket)?
            .map_err(|Changed| changed())?;
        match self.seals.state().buckets.get(&place) {
            Some(Bucket::Seen(tally)) => Ok(*tally),
            Some(Bucket::Sealed(_)) | None => Err(changed()),
        }
    }

    /// Writes the seals of what was touched, and gives the tag for the tail.
    pub fn seal(
        self,
        txn: &WriteTransaction,
        tail: &[&[u8]],
        frontier: &[u8],
    ) -> Result<(Sealed, Tag), redb::Error> {
        let mut table = txn.open_table(SEALS)?;
        let mut all = self.seals.state().seals;
        let mut places: Vec<_> = self.touched.iter().collect();
        places.sort_unstable_by_key(|(place, _)| **place);
        for (place, tally) in places {
            let old = match tally.rows {
                0 => table.remove(place)?.map(|old| *old.value()),
                _ => {
                    let tag = self.seals.seal(*place, tally);
                    all.add(seal_hash(&self.seals.key, *place, &tag));
                    table.insert(place, &tag)?.map(|old| *old.value())
                }
            };
            if let Some(old) = old {
                all.take(seal_hash(&self.seals.key, *place, &old));
            }
        }
        let tag = self.seals.tail_tag_over(&all, tail, frontier);
        let sealed = Sealed {
            touched: self.touched,
            seals: all,
        };
        Ok((sealed, tag))
    }
}

impl Seals {
    /// Takes over what was committed.
    pub fn committed(&self, sealed: Sealed) {
        let mut state = self.state();
        let seen = |(place, tally)| (place, Bucket::Seen(tally));
        state.buckets.extend(sealed.touched.into_iter().map(seen));
        state.seals = sealed.seals;
    }
}

/// The rows are not those that the service left.
pub(super) fn changed() -> redb::Error {
    redb::Error::Corrupted("it was changed by something other than this service".into())
}
