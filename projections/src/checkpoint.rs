//! How far a view is: the entry that it holds last, kept beside its rows and written with them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use countersign_schemas::record::Record;
use redb::{AccessGuard, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use crate::{Entry, Projection, ViewError};

/// The entry that a view holds last: a position alone does not tell a log from its fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) position: u64,
    command_key: [u8; 16],
    recorded_at: u64,
}

#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) checkpoint: Checkpoint,
    /// Why the view no longer follows the log; not stored, so a start tries again.
    pub(crate) halted: Option<String>,
}

impl Checkpoint {
    pub(crate) fn at(position: u64, record: &Record) -> Self {
        Self {
            position,
            command_key: record.command_key.0,
            recorded_at: record.recorded_at.0,
        }
    }
}

/// Folds what a view does not have yet, or says why it halts.
pub(crate) fn advance<P: Projection>(
    projection: &P,
    before: &Progress,
    txn: &WriteTransaction,
    entries: &[Entry],
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
        require_no_gap(P::NAME, held, fresh)?;
        projection.apply(txn, fresh)?;
        #[cfg(test)]
        crate::testing::panics(P::NAME, fresh);
        Ok(())
    };
    // A panic halts this view as damage does; nothing of the transaction is kept.
    let folded = catch_unwind(AssertUnwindSafe(fold)).unwrap_or_else(|_| {
        Err(ViewError::Damaged {
            view: P::NAME,
            what: "entry, at which its fold panicked,",
            at: format!("one of the positions after {held}"),
        })
    });
    match folded {
        Ok(()) => {
            let last = fresh.last().expect("it begins at an entry");
            after.checkpoint = Checkpoint::at(last.position, &last.record);
            write_checkpoint::<P>(txn, &after.checkpoint)?;
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

/// What the names of a view's tables begin with.
pub(crate) fn tables_prefix(name: &str, version: u32) -> String {
    format!("{name}@{version}/")
}

/// 0 → (position, command key, recorded at) of the last entry in the view.
pub(crate) type CheckpointTable<'a> = TableDefinition<'a, u8, (u64, &'static [u8; 16], u64)>;

/// Makes a view's tables where they are missing and reads how far it is.
pub(crate) fn make_tables<P: Projection>(
    projection: &P,
    txn: &WriteTransaction,
) -> Result<Progress, ViewError> {
    projection.apply(txn, &[])?;
    let name = tables_prefix(P::NAME, P::VERSION) + "checkpoint";
    let table = txn.open_table(CheckpointTable::new(&name))?;
    let checkpoint = read_checkpoint(table.get(0)?);
    Ok(Progress {
        name: P::NAME,
        version: P::VERSION,
        checkpoint,
        halted: None,
    })
}

/// What a row of a checkpoint's table says; none is before the first entry.
pub(crate) fn read_checkpoint(
    row: Option<AccessGuard<'_, (u64, &'static [u8; 16], u64)>>,
) -> Checkpoint {
    let checkpoint = row.map(|row| {
        let (position, command_key, recorded_at) = row.value();
        Checkpoint {
            position,
            command_key: *command_key,
            recorded_at,
        }
    });
    checkpoint.unwrap_or_default()
}

/// The position of a view as a reader of its tables sees it.
pub(crate) fn stored_position<P: Projection>(read: &ReadTransaction) -> Result<u64, ViewError> {
    let name = tables_prefix(P::NAME, P::VERSION) + "checkpoint";
    let row = read.open_table(CheckpointTable::new(&name))?.get(0)?;
    Ok(row.map_or(0, |row| row.value().0))
}

fn write_checkpoint<P: Projection>(
    txn: &WriteTransaction,
    checkpoint: &Checkpoint,
) -> Result<(), ViewError> {
    let name = tables_prefix(P::NAME, P::VERSION) + "checkpoint";
    let mut table = txn.open_table(CheckpointTable::new(&name))?;
    let Checkpoint {
        position,
        command_key,
        recorded_at,
    } = checkpoint;
    table.insert(0, (*position, command_key, *recorded_at))?;
    Ok(())
}
