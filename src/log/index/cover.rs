//! Seals that show which rows of `index.redb` the service itself wrote.
//!
//! ```text
//!   rows ─▶ a tally for each bucket of a table ─▶ its seal, a row ─▶ tally of all seals ─▶ TAIL's tag
//! ```
//!
//! A decision depends as much on a missing row as on a present one. So the seals cover not rows but
//! buckets: all rows whose key begins with the same bits. A bucket's tally is the sum of a keyed
//! hash of each row, which a flush updates without reading the other rows; only a tag over the
//! tally is stored. The tag beside the tail covers all seals, so an older seal cannot replace a
//! newer one. Seals are read at the start; a bucket's rows are read when the bucket is first used.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use redb::{ReadableTable, Table, TableDefinition, Value, WriteTransaction};

use super::buckets::{BUCKETS, Bucketed, Covered, Ends, Tally};
use crate::crypto::derived::{FILE_TAG_BYTES, FileKey};

/// A tag over rows.
pub(super) type Tag = [u8; FILE_TAG_BYTES];

/// (table, bucket) → the tag over its tally.
pub(super) const SEALS: TableDefinition<(u8, u16), &Tag> = TableDefinition::new("seals_v1");

/// What is known about a bucket.
#[derive(Clone, Copy)]
enum Bucket {
    /// The seal's tag; the rows were not read.
    Sealed(Tag),
    /// The tally of its rows.
    Seen(Tally),
}

type Place = (u8, u16);

/// The seals of a file, and which buckets were checked against theirs.
pub(super) struct Seals {
    key: FileKey,
    /// This lock is held only briefly: rows are read without it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<Place, Bucket>,
    /// The tally of the rows of [`SEALS`].
    seals: Tally,
}

/// Rows are not those that the service wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

impl Seals {
    /// Reads the seals of a file; none of them is verified yet.
    ///
    /// # Errors
    /// The error of redb if the file cannot be read.
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

    /// Returns the tag over the last stored record, the frontier there and all seals.
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

    /// Returns the tag over a tile.
    pub fn tile_tag(&self, level: u8, index: u64, bytes: &[u8]) -> Tag {
        self.key
            .tag(&[b"tile", &[level], &index.to_le_bytes(), bytes])
    }

    /// Returns the first bucket of a table, from this one on, that has a row or a seal.
    ///
    /// # Errors
    /// The error of redb if the file cannot be read.
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

    /// Checks the bucket of a key against its seal, unless that was done before.
    ///
    /// # Errors
    /// The outer error is redb's; the inner one, [`Changed`], if the rows do not match their seal.
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
        // A flush checks a bucket before it changes it, so a tally that another thread has seen
        // meanwhile is newer.
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

    /// Adds up the rows of a bucket; `None` if a look-up does not find one of them.
    ///
    /// A file can be crafted whose pages lead a look-up past a row that it holds. So each row is
    /// looked up, and a row outside the bucket means that the pages do not lead where they should.
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

/// The changes that one transaction makes to covered rows.
pub(super) struct Changes<'s> {
    seals: &'s Seals,
    touched: HashMap<Place, Tally>,
}

/// The sealed changes; in force once their transaction is committed.
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

    /// Writes a row, replacing the one with the same key.
    ///
    /// # Errors
    /// [`changed`] if the bucket's rows do not match their seal, or the error of redb.
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

    /// Removes a row.
    ///
    /// # Errors
    /// [`changed`] if the bucket's rows do not match their seal, or the error of redb.
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

    /// Returns the tally of a bucket, checked against its seal before the first change.
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

    /// Writes the seals of the changed buckets, and returns the tag for the tail.
    ///
    /// # Errors
    /// The error of redb if the file cannot be written.
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
    /// Takes over the tallies that were committed.
    pub fn committed(&self, sealed: Sealed) {
        let mut state = self.state();
        let seen = |(place, tally)| (place, Bucket::Seen(tally));
        state.buckets.extend(sealed.touched.into_iter().map(seen));
        state.seals = sealed.seals;
    }
}

/// Returns the error for rows that the service did not write.
pub(super) fn changed() -> redb::Error {
    redb::Error::Corrupted("it was changed by something other than this service".into())
}
