//! How far a view is: its last entry, stored beside its rows and written with them, and the seal
//! over both.

use std::panic::{AssertUnwindSafe, catch_unwind};

use countersign_schemas::record::Record;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

use crate::cover::Tally;
use crate::{Cover, Entry, Projection, Seal, ViewError};

/// The last entry of a view; a position alone does not distinguish a log from its fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) position: u64,
    command_key: [u8; 16],
    recorded_at: u64,
    /// The leaf hash of the entry's record.
    leaf: [u8; 32],
}

#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) checkpoint: Checkpoint,
    /// The tally of the covered rows.
    pub(crate) tally: Tally,
    /// Why the view no longer follows the log; not stored, so the next start tries again.
    pub(crate) halted: Option<String>,
}

impl Checkpoint {
    pub(crate) fn at(position: u64, record: &Record) -> Self {
        Self {
            position,
            command_key: record.command_key.0,
            recorded_at: record.recorded_at.0,
            leaf: leaf_hash(record),
        }
    }
}

/// Returns SHA-256(0x00 ‖ record), RFC 6962 §2.1; for a record without bytes, the hash of nothing.
fn leaf_hash(record: &Record) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update([0]);
    sha.update(record.encode().unwrap_or_default());
    sha.finalize().into()
}

/// Folds the entries that a view does not have yet, or returns why it halts.
pub(crate) fn advance(
    projection: &dyn Projection,
    before: &Progress,
    txn: &WriteTransaction,
    entries: &[Entry],
    seal: &Seal,
) -> Result<Progress, ViewError> {
    let mut after = before.clone();
    let held = before.checkpoint.position;
    let Some(start) = entries.iter().position(|e| e.position > held) else {
        return Ok(after);
    };
    if before.halted.is_some() {
        return Ok(after);
    }
    let fresh = &entries[start..];
    let fold = || {
        require_no_gap(projection.name(), held, fresh)?;
        let mut cover = Cover::of(seal, before.tally);
        projection.apply(txn, fresh, &mut cover)?;
        #[cfg(test)]
        crate::testing::panics(projection.name(), fresh);
        Ok(cover.tally())
    };
    // A panic halts this view like damage; nothing of the transaction is kept.
    let folded = catch_unwind(AssertUnwindSafe(fold)).unwrap_or_else(|_| {
        Err(ViewError::Damaged {
            view: projection.name(),
            what: "entry, at which its fold panicked,",
            at: format!("one of the positions after {held}"),
        })
    });
    match folded {
        Ok(tally) => {
            let last = fresh.last().expect("it begins at an entry");
            after.checkpoint = Checkpoint::at(last.position, &last.record);
            after.tally = tally;
            write_checkpoint(txn, &after, seal)?;
        }
        Err(error @ ViewError::Storage(_)) => return Err(error),
        Err(error) => after.halted = Some(error.to_string()),
    }
    Ok(after)
}

fn require_no_gap(view: &'static str, held: u64, fresh: &[Entry]) -> Result<(), ViewError> {
    let mut expected = held;
    for entry in fresh {
        expected += 1;
        if entry.position != expected {
            let found = entry.position;
            return Err(ViewError::Gap {
                view,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Returns the prefix of the names of a view's tables.
pub(crate) fn tables_prefix(name: &str, version: u32) -> String {
    format!("{name}@{version}/")
}

/// 0 → (position, command key, recorded at) of the last entry in the view.
pub(crate) type CheckpointTable<'a> = TableDefinition<'a, u8, (u64, &'static [u8; 16], u64)>;

/// 0 → (leaf hash of the last entry in the view, the seal over the view).
type SealTable<'a> = TableDefinition<'a, u8, (&'static [u8; 32], &'static [u8; 16])>;

/// Makes a view's missing tables; the view is before its first entry unless the tables were there.
pub(crate) fn make_tables(
    projection: &dyn Projection,
    txn: &WriteTransaction,
    seal: &Seal,
) -> Result<Progress, ViewError> {
    projection.apply(txn, &[], &mut Cover::of(seal, Tally::default()))?;
    let prefix = tables_prefix(projection.name(), projection.version());
    txn.open_table(CheckpointTable::new(&(prefix.clone() + "checkpoint")))?;
    txn.open_table(SealTable::new(&(prefix + "seal")))?;
    Ok(Progress {
        name: projection.name(),
        version: projection.version(),
        checkpoint: Checkpoint::default(),
        tally: Tally::default(),
        halted: None,
    })
}

/// Makes a view's missing tables and reads how far the view is; `None` if the tables do not match
/// their seal.
pub(crate) fn read_tables(
    projection: &dyn Projection,
    txn: &WriteTransaction,
    seal: &Seal,
) -> Result<Option<Progress>, ViewError> {
    let mut found = make_tables(projection, txn, seal)?;
    let mut cover = Cover::of(seal, Tally::default());
    let is_found = projection.count(txn, &mut cover)?;
    found.tally = cover.tally();
    let prefix = tables_prefix(projection.name(), projection.version());
    let table = txn.open_table(CheckpointTable::new(&(prefix.clone() + "checkpoint")))?;
    let seals = txn.open_table(SealTable::new(&(prefix + "seal")))?;
    let (Some(row), Some(sealed)) = (table.get(0)?, seals.get(0)?) else {
        // Before the first entry, both tables and the view's own are empty.
        let is_new = table.first()?.is_none() && seals.first()?.is_none();
        return Ok((is_new && found.tally == Tally::default()).then_some(found));
    };
    let (position, command_key, recorded_at) = row.value();
    let (leaf, tag) = sealed.value();
    found.checkpoint = Checkpoint {
        position,
        command_key: *command_key,
        recorded_at,
        leaf: *leaf,
    };
    let is_right = is_found && found.seal(seal) == *tag;
    Ok(is_right.then_some(found))
}

impl Progress {
    /// Returns the tag over this checkpoint and the covered rows.
    fn seal(&self, seal: &Seal) -> [u8; 16] {
        seal(&[
            b"view",
            self.name.as_bytes(),
            &self.version.to_le_bytes(),
            &self.checkpoint.position.to_le_bytes(),
            &self.checkpoint.command_key,
            &self.checkpoint.recorded_at.to_le_bytes(),
            &self.checkpoint.leaf,
            &self.tally.bytes(),
        ])
    }
}

/// Returns the position of a view as a reader of its tables sees it.
pub(crate) fn stored_position(
    (name, version): (&str, u32),
    read: &ReadTransaction,
) -> Result<u64, ViewError> {
    let name = tables_prefix(name, version) + "checkpoint";
    let row = read.open_table(CheckpointTable::new(&name))?.get(0)?;
    Ok(row.map_or(0, |row| row.value().0))
}

pub(crate) fn write_checkpoint(
    txn: &WriteTransaction,
    view: &Progress,
    seal: &Seal,
) -> Result<(), ViewError> {
    let prefix = tables_prefix(view.name, view.version);
    let mut table = txn.open_table(CheckpointTable::new(&(prefix.clone() + "checkpoint")))?;
    let Checkpoint {
        position,
        command_key,
        recorded_at,
        leaf,
    } = &view.checkpoint;
    table.insert(0, (*position, command_key, *recorded_at))?;
    let mut table = txn.open_table(SealTable::new(&(prefix + "seal")))?;
    table.insert(0, (leaf, &view.seal(seal)))?;
    Ok(())
}
