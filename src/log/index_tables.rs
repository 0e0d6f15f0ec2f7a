//! The tables of `index.redb`, and how a layer gets into them.

use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::index::{COMMAND_HORIZON_S, REQUESTS_HORIZON_S};
use super::layers::Layer;

/// (stream key, version) → position.
pub(super) const STREAMS: TableDefinition<(&[u8; 16], u32), u64> =
    TableDefinition::new("streams_v1");
/// command key → (position of its first event, number of events, recorded at).
pub(super) const COMMANDS: TableDefinition<&[u8; 16], (u64, u16, u64)> =
    TableDefinition::new("commands_v1");
/// keyed hash of a login name → stream key.
pub(super) const NAMES: TableDefinition<&[u8; 16], &[u8; 16]> = TableDefinition::new("names_v1");
/// hash of a challenge → (stream key, lapses at).
pub(super) const CHALLENGES: TableDefinition<&[u8; 16], (&[u8; 16], u64)> =
    TableDefinition::new("challenges_v1");
/// hash of a reset case → stream key.
pub(super) const CASES: TableDefinition<&[u8; 16], &[u8; 16]> = TableDefinition::new("cases_v1");
/// (key of an agent's name and of an act, position of such an act) → when.
pub(super) const REQUESTS: TableDefinition<(&[u8; 16], u64), u64> =
    TableDefinition::new("requests_v1");
/// one row: position, recorded at and command key of the last record that is in. Its number rises
/// whenever any table comes to mean something else, so that a file of an older build has no tail.
pub(super) const TAIL: TableDefinition<(), (u64, u64, &[u8; 16])> = TableDefinition::new("tail_v3");
/// (level, index) → the hashes of a Merkle tile (C2SP), as wide as it was last stored.
pub(super) const TILES: TableDefinition<(u8, u64), &[u8]> = TableDefinition::new("tiles_v1");
/// one row: the Merkle frontier at the last record that is in.
pub(super) const FRONTIER: TableDefinition<(), &[u8]> = TableDefinition::new("frontier_v1");
/// event type → (number, bytes) of its records.
pub(super) const COUNTS: TableDefinition<u16, (u64, u64)> = TableDefinition::new("counts_v1");
/// (event type, position) of what every start reads again.
pub(super) const READ_AT_START: TableDefinition<(u16, u64), ()> =
    TableDefinition::new("read_at_start_v1");
/// one row: the first position whose command may still be in.
pub(super) const COMMANDS_FROM: TableDefinition<(), u64> = TableDefinition::new("commands_from_v1");

/// Old commands forgotten in one flush, beside those that it adds.
const FORGET_MAX: u64 = 131_072;

/// Writes a layer in key order.
pub(super) fn write_layer(
    txn: &WriteTransaction,
    layer: &Layer,
    now: Micros,
) -> Result<(), redb::Error> {
    let mut runs: Vec<_> = layer.streams.iter().collect();
    runs.sort_unstable_by_key(|(stream, _)| stream.0);
    let mut table = txn.open_table(STREAMS)?;
    for (stream, (first, run)) in runs {
        for (version, position) in (*first..).zip(run) {
            table.insert((&stream.0, version), position)?;
        }
    }
    let mut commands: Vec<_> = layer.commands.iter().collect();
    commands.sort_unstable_by_key(|(key, _)| key.0);
    let mut table = txn.open_table(COMMANDS)?;
    for (key, place) in commands {
        table.insert(&key.0, (place.first, place.len, place.at.0))?;
    }
    let mut table = txn.open_table(NAMES)?;
    if !layer.erased.is_empty() {
        // A walk over all names; it needs no key of an account that has none any more.
        table.retain(|_, holder| !layer.erased.contains(&StreamKey(*holder)))?;
    }
    for (name, stream) in &layer.names {
        table.insert(name, &stream.0)?;
    }
    let mut table = txn.open_table(CHALLENGES)?;
    table.retain(|_, (_, expires_at)| now.0 < expires_at)?;
    for (hash, (stream, expires_at)) in &layer.challenges {
        table.insert(hash, (&stream.0, expires_at.0))?;
    }
    write_cases(txn, layer, now)?;
    let mut table = txn.open_table(READ_AT_START)?;
    for row in &layer.read_at_start {
        table.insert(row, ())?;
    }
    let mut table = txn.open_table(COUNTS)?;
    for (event_type, (number, bytes)) in &layer.counts {
        let (before, bytes_before) = table.get(event_type)?.map_or((0, 0), |row| row.value());
        table.insert(event_type, (before + number, bytes_before + bytes))?;
    }
    drop(table);
    let mut table = txn.open_table(TILES)?;
    for (tile, bytes) in &layer.tiles {
        table.insert((tile.level, tile.index), bytes.as_slice())?;
    }
    let mut table = txn.open_table(FRONTIER)?;
    table.insert((), layer.frontier.as_slice())?;
    let tail = &layer.tail;
    let mut table = txn.open_table(TAIL)?;
    table.insert((), (tail.position, tail.at.0, &tail.command))?;
    Ok(())
}

fn write_cases(txn: &WriteTransaction, layer: &Layer, now: Micros) -> Result<(), redb::Error> {
    let mut table = txn.open_table(CASES)?;
    for (case, stream) in &layer.cases {
        table.insert(case, &stream.0)?;
    }
    let mut table = txn.open_table(REQUESTS)?;
    table.retain(|_, at| now < Micros(at).plus_s(REQUESTS_HORIZON_S))?;
    for (agent, run) in &layer.requests {
        for (position, at) in run {
            table.insert((agent, *position), at.0)?;
        }
    }
    Ok(())
}

/// Forgets commands beyond their horizon. Times ascend along the log, so a walk from the first
/// position that may still be in finds them all, without an index by time.
pub(super) fn forget_old_commands(
    txn: &WriteTransaction,
    now: Micros,
    record: &impl Fn(u64) -> Option<Record<'static>>,
) -> Result<(), redb::Error> {
    let mut from_table = txn.open_table(COMMANDS_FROM)?;
    let from = from_table.get(())?.map_or(1, |row| row.value());
    let mut commands = txn.open_table(COMMANDS)?;
    let mut next = from;
    while next < from + FORGET_MAX {
        let Some(old) = record(next).filter(|r| r.recorded_at.plus_s(COMMAND_HORIZON_S) <= now)
        else {
            break;
        };
        // The same id can have been used again since, for another command.
        let key = &old.command_key.0;
        if commands
            .get(key)?
            .is_some_and(|place| place.value().0 == next)
        {
            commands.remove(key)?;
        }
        next += 1;
    }
    from_table.insert((), next)?;
    Ok(())
}
