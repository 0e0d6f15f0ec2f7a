//! Opening `index.redb`: a file of another log, another build or another writer is rebuilt.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use redb::{Database, ReadableDatabase, ReadableTable};

use super::cover::{SEALS, Seals, Tag, changed};
use super::file::{IndexFile, durable};
use super::layers::{IndexError, Tail};
use super::tables::{
    CASES, CHALLENGES, COMMANDS, COUNTS, NAMES, READ_AT_START, REQUESTS, STREAMS, TAIL, make_tables,
};
use crate::crypto::derived::FileKey;
use crate::log::hashes::TileError;
use crate::log::segment::Storage;
use crate::log::tiles::Tree;
use crate::log::tree::Frontier;

/// The reason for rebuilding a file of another log or build.
const STRANGE: &str = "it is of another log or another build";

impl IndexFile {
    /// Opens the file, and the tree as it was stored in it; see [`super::Index::open`].
    pub fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        key: &FileKey,
        record: impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<(Self, Tree), IndexError> {
        let found = path.exists();
        let reason = match Self::open_as_is(storage, path, cache_bytes, key) {
            Ok(Some(file)) => match file.tree_of(&record) {
                Ok(tree) => return Ok((file, tree)),
                Err(reason) => reason.to_owned(),
            },
            Ok(None) => STRANGE.to_owned(),
            Err(error) if !found || matches!(*error.source, redb::Error::DatabaseAlreadyOpen) => {
                return Err(error);
            }
            Err(error) => error.source.to_string(),
        };
        tracing::warn!(%reason, "index.redb is rebuilt from the log");
        let failed = |source| IndexError {
            path: path.into(),
            source: Box::new(source),
        };
        std::fs::remove_file(path).map_err(|error| failed(redb::Error::Io(error)))?;
        let file = Self::open_as_is(storage, path, cache_bytes, key)?;
        let file = file.ok_or_else(|| failed(changed()))?;
        Ok((file, Tree::default()))
    }

    /// Opening reads every page's checksum: an index that lost an entry would let a used code be
    /// used again. `None` if the file has tables that this build does not make.
    fn open_as_is(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        key: &FileKey,
    ) -> Result<Option<Self>, IndexError> {
        let failed = |source: redb::Error| IndexError {
            path: path.into(),
            source: Box::new(source),
        };
        let mut builder = Database::builder();
        builder
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(true);
        let open = if path.exists() {
            &storage.open
        } else {
            &storage.create
        };
        let db = open(&builder, path).map_err(|error| failed(error.into()))?;
        let made = (|| -> Result<Option<Seals>, redb::Error> {
            let txn = durable(&db)?;
            if !make_tables(&txn)? {
                return Ok(None);
            }
            txn.commit()?;
            let table = db.begin_read()?.open_table(SEALS)?;
            Ok(Some(Seals::read(key.clone(), &table)?))
        })();
        Ok(made.map_err(failed)?.map(|seals| Self {
            path: path.into(),
            db,
            seals,
            is_changed: AtomicBool::new(false),
        }))
    }

    /// Returns the tree as it was stored, or why the file is not trusted: the tag beside the tail
    /// is not this log's, the last stored record is no longer at its position, or the tree does not
    /// end with it.
    fn tree_of(
        &self,
        record: &impl Fn(u64) -> Option<Record<'static>>,
    ) -> Result<Tree, &'static str> {
        let Some((tail, tag)) = self.sealed_tail() else {
            let is_empty = self.is_empty().unwrap_or(false);
            return is_empty.then(Tree::default).ok_or(STRANGE);
        };
        let frontier = self.frontier().ok().flatten().ok_or(STRANGE)?;
        let parts = tail.parts();
        let parts = parts.each_ref().map(Vec::as_slice);
        if self.seals.tail_tag(&parts, &frontier) != tag {
            return Err(
                "it was changed by something other than this service, or belongs to another log",
            );
        }
        let last = record(tail.position).filter(|r| Tail::of(tail.position, r) == tail);
        let last = last.ok_or(STRANGE)?;
        let frontier = Frontier::decode(&frontier).map_err(|_| STRANGE)?;
        let read = |level, index| {
            let missing = || TileError::new(level, index, "it is not in the index");
            self.tile(level, index)?.ok_or_else(missing)
        };
        let ends_here = frontier.size() == tail.position;
        let bytes = last.encode().map_err(|_| STRANGE)?;
        let tree = Tree::resume(frontier, &bytes, read).map_err(|_| STRANGE)?;
        ends_here.then_some(tree).ok_or(STRANGE)
    }

    /// Returns whether no record was ever stored.
    fn is_empty(&self) -> Result<bool, redb::Error> {
        let txn = self.db.begin_read()?;
        Ok(txn.open_table(STREAMS.definition)?.first()?.is_none()
            && txn.open_table(COMMANDS.definition)?.first()?.is_none()
            && txn.open_table(NAMES.definition)?.first()?.is_none()
            && txn.open_table(CHALLENGES.definition)?.first()?.is_none()
            && txn.open_table(CASES.definition)?.first()?.is_none()
            && txn.open_table(REQUESTS.definition)?.first()?.is_none()
            && txn.open_table(COUNTS.definition)?.first()?.is_none()
            && txn.open_table(READ_AT_START.definition)?.first()?.is_none()
            && txn.open_table(SEALS)?.first()?.is_none())
    }

    /// Returns the last stored record with the tag over it; an unreadable row counts as none.
    pub(super) fn sealed_tail(&self) -> Option<(Tail, Tag)> {
        let read = || -> Result<Option<(Tail, Tag)>, redb::Error> {
            let table = self.db.begin_read()?.open_table(TAIL)?;
            let row = table.get(())?;
            Ok(row.map(|row| {
                let (position, at, command, tag) = row.value();
                let tail = Tail {
                    position,
                    at: Micros(at),
                    command: *command,
                };
                (tail, *tag)
            }))
        };
        read().ok().flatten()
    }
}
