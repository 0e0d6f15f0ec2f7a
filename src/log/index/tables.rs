//! The tables of `index.redb`, and how a layer is written into them.

use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use redb::{ReadableTable, Table, TableDefinition, TableHandle, Value, WriteTransaction};

use super::buckets::{Bucketed, Covered};
use super::cover::{Changes, SEALS, Sealed, Seals, Tag};
use super::layers::Layer;

/// How long the outcome of a command can be requested again, in seconds
/// (docs/reference/contract.md#command-ids-and-repeats).
pub const COMMAND_HORIZON_S: u64 = 86_400;
/// How long an agent's acts are remembered, in seconds: longer than any policy's window.
pub const REQUESTS_HORIZON_S: u64 = 8 * 86_400;

type StreamRow = (&'static [u8; 16], u32);

/// (stream key, version) → (position, first bytes of the record's leaf hash).
pub(super) const STREAMS: Covered<StreamRow, (u64, &[u8; 16])> =
    covered(1, TableDefinition::new("streams_v2"));
/// command key → (position of its first event, number of events, recorded at).
pub(super) const COMMANDS: Covered<&[u8; 16], (u64, u16, u64)> =
    covered(2, TableDefinition::new("commands_v1"));
/// keyed hash of a login name → stream key.
pub(super) const NAMES: Covered<&[u8; 16], &[u8; 16]> =
    covered(3, TableDefinition::new("names_v1"));
/// hash of a challenge → (stream key, lapses at).
pub(super) const CHALLENGES: Covered<&[u8; 16], (&[u8; 16], u64)> =
    covered(4, TableDefinition::new("challenges_v1"));
/// hash of a reset case → stream key.
pub(super) const CASES: Covered<&[u8; 16], &[u8; 16]> =
    covered(5, TableDefinition::new("cases_v1"));
/// (key of an agent's name and an act, position of such an act) → when.
pub(super) const REQUESTS: Covered<(&[u8; 16], u64), u64> =
    covered(6, TableDefinition::new("requests_v1"));
/// event type → (number, bytes) of its records.
pub(super) const COUNTS: Covered<u16, (u64, u64)> = covered(7, TableDefinition::new("counts_v1"));
/// (event type, position) of the events that every start reads again.
pub(super) const READ_AT_START: Covered<(u16, u64), ()> =
    covered(8, TableDefinition::new("read_at_start_v1"));
/// One row: position, recorded at and command key of the last stored record, and the tag over them,
/// the frontier and all seals. The table's number rises whenever any table's meaning changes, so
/// that a file of an older build has no tail.
pub(super) const TAIL: TableDefinition<(), (u64, u64, &[u8; 16], &Tag)> =
    TableDefinition::new("tail_v4");
/// (level, index) → tag and hashes of a Merkle tile (C2SP), as wide as it was last stored.
pub(super) const TILES: TableDefinition<(u8, u64), (&Tag, &[u8])> =
    TableDefinition::new("tiles_v2");
/// One row: the Merkle frontier at the last stored record.
pub(super) const FRONTIER: TableDefinition<(), &[u8]> = TableDefinition::new("frontier_v1");
/// One row: the first position of a command that may still be stored. It is not covered: it decides
/// only how soon a row beyond its horizon is removed, and such a row is never returned.
pub(super) const COMMANDS_FROM: TableDefinition<(), u64> = TableDefinition::new("commands_from_v1");

const fn covered<K: Bucketed, V: Value>(
    id: u8,
    definition: TableDefinition<'static, K, V>,
) -> Covered<K, V> {
    Covered { id, definition }
}

/// Makes the missing tables; returns false if the file has tables that only another build has.
pub(super) fn make_tables(txn: &WriteTransaction) -> Result<bool, redb::Error> {
    let known = [
        txn.open_table(STREAMS.definition)?.name().to_owned(),
        txn.open_table(COMMANDS.definition)?.name().to_owned(),
        txn.open_table(NAMES.definition)?.name().to_owned(),
        txn.open_table(CHALLENGES.definition)?.name().to_owned(),
        txn.open_table(CASES.definition)?.name().to_owned(),
        txn.open_table(REQUESTS.definition)?.name().to_owned(),
        txn.open_table(COUNTS.definition)?.name().to_owned(),
        txn.open_table(READ_AT_START.definition)?.name().to_owned(),
        txn.open_table(SEALS)?.name().to_owned(),
        txn.open_table(TAIL)?.name().to_owned(),
        txn.open_table(TILES)?.name().to_owned(),
        txn.open_table(FRONTIER)?.name().to_owned(),
        txn.open_table(COMMANDS_FROM)?.name().to_owned(),
    ];
    let mut tables = txn.list_tables()?;
    Ok(tables.all(|table| known.iter().any(|known| known == table.name())))
}

/// The most old commands that one flush forgets, besides as many as it adds.
const FORGET_MAX: u64 = 131_072;

/// Writes a layer in key order and seals the changes, which are in force once the transaction is
/// committed.
pub(super) fn write_layer(
    txn: &WriteTransaction,
    layer: &Layer,
    seals: &Seals,
    now: Micros,
    record: &impl Fn(u64) -> Option<Record<'static>>,
) -> Result<Sealed, redb::Error> {
    let mut changes = Changes::of(seals);
    write_streams(txn, &mut changes, layer)?;
    write_commands(txn, &mut changes, layer)?;
    write_names(txn, &mut changes, layer)?;
    write_challenges(txn, &mut changes, layer, now)?;
    write_cases(txn, &mut changes, layer, now)?;
    let mut table = txn.open_table(READ_AT_START.definition)?;
    for row in &layer.read_at_start {
        changes.put(&READ_AT_START, &mut table, row, &())?;
    }
    let mut table = txn.open_table(COUNTS.definition)?;
    for (event_type, (number, bytes)) in &layer.counts {
        let (before, bytes_before) = table.get(event_type)?.map_or((0, 0), |row| row.value());
        let count = (before + number, bytes_before + bytes);
        changes.put(&COUNTS, &mut table, event_type, &count)?;
    }
    forget_old_commands(txn, &mut changes, now, record)?;
    let mut table = txn.open_table(TILES)?;
    for (tile, bytes) in &layer.tiles {
        let tag = seals.tile_tag(tile.level, tile.index, bytes);
        table.insert((tile.level, tile.index), (&tag, bytes.as_slice()))?;
    }
    let mut table = txn.open_table(FRONTIER)?;
    table.insert((), layer.frontier.as_slice())?;
    let tail = &layer.tail;
    let (sealed, tag) = changes.seal(
        txn,
        &tail.parts().each_ref().map(Vec::as_slice),
        &layer.frontier,
    )?;
    let mut table = txn.open_table(TAIL)?;
    table.insert((), (tail.position, tail.at.0, &tail.command, &tag))?;
    Ok(sealed)
}

fn write_streams(
    txn: &WriteTransaction,
    changes: &mut Changes,
    layer: &Layer,
) -> Result<(), redb::Error> {
    let mut runs: Vec<_> = layer.streams.iter().collect();
    runs.sort_unstable_by_key(|(stream, _)| stream.0);
    let mut table = txn.open_table(STREAMS.definition)?;
    for (stream, (first, run)) in runs {
        for (version, place) in (*first..).zip(run) {
            let key = (&stream.0, version);
            changes.put(&STREAMS, &mut table, &key, &(place.position, &place.leaf))?;
        }
    }
    Ok(())
}

fn write_commands(
    txn: &WriteTransaction,
    changes: &mut Changes,
    layer: &Layer,
) -> Result<(), redb::Error> {
    let mut commands: Vec<_> = layer.commands.iter().collect();
    commands.sort_unstable_by_key(|(key, _)| key.0);
    let mut table = txn.open_table(COMMANDS.definition)?;
    for (key, place) in commands {
        let row = (place.first, place.len, place.at.0);
        changes.put(&COMMANDS, &mut table, &&key.0, &row)?;
    }
    Ok(())
}

fn write_names(
    txn: &WriteTransaction,
    changes: &mut Changes,
    layer: &Layer,
) -> Result<(), redb::Error> {
    let mut table = txn.open_table(NAMES.definition)?;
    if !layer.erased.is_empty() {
        // This walks over all names; the key of an erased account no longer exists, and is not
        // needed.
        let erased = |holder: &[u8; 16]| layer.erased.contains(&StreamKey(*holder));
        for name in keys(&table, |holder| erased(holder))? {
            changes.remove(&NAMES, &mut table, &&name)?;
        }
    }
    for (name, stream) in &layer.names {
        changes.put(&NAMES, &mut table, &name, &&stream.0)?;
    }
    Ok(())
}

fn write_challenges(
    txn: &WriteTransaction,
    changes: &mut Changes,
    layer: &Layer,
    now: Micros,
) -> Result<(), redb::Error> {
    let mut table = txn.open_table(CHALLENGES.definition)?;
    for lapsed in keys(&table, |(_, expires_at)| now.0 >= *expires_at)? {
        changes.remove(&CHALLENGES, &mut table, &&lapsed)?;
    }
    for (hash, (stream, expires_at)) in &layer.challenges {
        changes.put(&CHALLENGES, &mut table, &hash, &(&stream.0, expires_at.0))?;
    }
    Ok(())
}

/// Returns the keys of the rows that a function selects.
fn keys<V: Value>(
    table: &Table<'_, &'static [u8; 16], V>,
    is_due: impl Fn(&V::SelfType<'_>) -> bool,
) -> Result<Vec<[u8; 16]>, redb::Error> {
    let mut due = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        if is_due(&value.value()) {
            due.push(*key.value());
        }
    }
    Ok(due)
}

fn write_cases(
    txn: &WriteTransaction,
    changes: &mut Changes,
    layer: &Layer,
    now: Micros,
) -> Result<(), redb::Error> {
    let mut table = txn.open_table(CASES.definition)?;
    for (case, stream) in &layer.cases {
        changes.put(&CASES, &mut table, &case, &&stream.0)?;
    }
    let mut table = txn.open_table(REQUESTS.definition)?;
    let mut old = Vec::new();
    for row in table.iter()? {
        let (key, at) = row?;
        if now >= Micros(at.value()).plus_s(REQUESTS_HORIZON_S) {
            let (agent, position) = key.value();
            old.push((*agent, position));
        }
    }
    for (agent, position) in &old {
        changes.remove(&REQUESTS, &mut table, &(agent, *position))?;
    }
    for (agent, run) in &layer.requests {
        for (position, at) in run {
            changes.put(&REQUESTS, &mut table, &(agent, *position), &at.0)?;
        }
    }
    Ok(())
}

/// Forgets commands beyond their horizon. Times ascend along the log, so a walk from the first
/// position that may still be stored finds them all, without an index by time.
fn forget_old_commands(
    txn: &WriteTransaction,
    changes: &mut Changes,
    now: Micros,
    record: &impl Fn(u64) -> Option<Record<'static>>,
) -> Result<(), redb::Error> {
    let mut from_table = txn.open_table(COMMANDS_FROM)?;
    let from = from_table.get(())?.map_or(1, |row| row.value());
    let mut commands = txn.open_table(COMMANDS.definition)?;
    let mut next = from;
    while next < from.saturating_add(FORGET_MAX) {
        let Some(old) = record(next).filter(|r| r.recorded_at.plus_s(COMMAND_HORIZON_S) <= now)
        else {
            break;
        };
        // The same id may have been used again since, for another command.
        let key = &old.command_key.0;
        let is_old = |place: (u64, u16, u64)| place.0 == next;
        if commands
            .get(key)?
            .is_some_and(|place| is_old(place.value()))
        {
            changes.remove(&COMMANDS, &mut commands, &key)?;
        }
        next += 1;
    }
    from_table.insert((), next)?;
    Ok(())
}
