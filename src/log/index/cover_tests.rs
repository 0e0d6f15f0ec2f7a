//! However one row of a covered table is changed, the index never gives a wrong answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;
use proptest::prelude::*;
use redb::{Database, Key, ReadableTable, TableDefinition, Value};

use super::buckets::{Bucketed, Covered};
use super::layers::Fact;
use super::tables::{
    CASES, CHALLENGES, COMMANDS, COUNTS, NAMES, READ_AT_START, REQUESTS, STREAMS, TILES,
};
use super::*;

const NOW: Micros = Micros(1_800_000_000_000_000);
const RECORDS: u64 = 300;
const STREAM_COUNT: u64 = 9;

fn stream(number: u64) -> StreamKey {
    StreamKey(hash(number + 1_000))
}

fn hash(number: u64) -> [u8; 16] {
    (u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_0C5D_3B1E_2D47)).to_be_bytes()
}

fn made(position: u64) -> Option<Record<'static>> {
    let number = position.checked_sub(1)?;
    let version = u32::try_from(number / STREAM_COUNT + 1).ok()?;
    let command_key = CommandKey(hash(position));
    let plain = tests::record(stream(number % STREAM_COUNT), version, NOW, 1);
    (position <= RECORDS).then_some(Record {
        command_key,
        ..plain
    })
}

fn fact(position: u64) -> Option<Fact> {
    match position % 7 {
        0 => Some(Fact::Name(hash(position))),
        1 => Some(Fact::Challenge(hash(position), NOW.plus_s(900))),
        2 => Some(Fact::ReadAtStart(position as u16 % 3)),
        3 => Some(Fact::Case {
            case: hash(position),
            agent: hash(position % 2),
            at: NOW,
        }),
        _ => None,
    }
}

fn open(path: &Path) -> Index {
    Index::open(&Storage::default(), path, 1 << 20, &tests::key(), made).unwrap()
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("index.redb")
}

fn fill(index: &Index) {
    for position in index.tail().position + 1..=RECORDS {
        let record = made(position).unwrap();
        let bytes = record.encode().unwrap();
        index
            .push(position, &record, &bytes, fact(position), NOW)
            .unwrap();
    }
    index.flush(true, NOW, made).unwrap();
}

type Answers = BTreeMap<String, Option<String>>;

/// Returns every answer of the index with its question; an error is no answer.
fn answers(index: &Index) -> Answers {
    let mut answers = BTreeMap::new();
    let mut note = |asked: String, answer: Option<String>| {
        answers.insert(asked, answer);
    };
    fn text<T: std::fmt::Debug, E>(answer: Result<T, E>) -> Option<String> {
        answer.ok().map(|answer| format!("{answer:?}"))
    }
    for number in 0..=STREAM_COUNT {
        let stream = stream(number);
        note(
            format!("places {number}"),
            text(index.places(&stream, 0, u32::MAX)),
        );
        note(format!("version {number}"), text(index.version(&stream)));
    }
    for position in 0..=RECORDS + 1 {
        let key = hash(position);
        let asked = |what: &str| format!("{what} {position}");
        note(asked("command"), text(index.command(&CommandKey(key), NOW)));
        note(asked("name"), text(index.name(&key)));
        note(asked("challenge"), text(index.challenge(&key)));
        note(asked("case"), text(index.case(&key)));
        note(asked("requests"), text(index.requests(&key)));
    }
    for event_type in 0..4 {
        let read = index.read_at_start(event_type);
        note(format!("read at start {event_type}"), text(read));
    }
    let counts = index.counts().map(BTreeMap::from_iter);
    note("counts".into(), text(counts));
    for tile in 0..4 {
        note(format!("tile {tile}"), text(index.tile(0, tile)));
    }
    note("root".into(), text(index.root_at(RECORDS)));
    answers
}

/// Changes the row at a place in its table: removes it, gives it another row's value, or adds it
/// again under a key that the table does not have.
fn change<K: Key + 'static, V: Value + 'static>(
    path: &Path,
    table: TableDefinition<'static, K, V>,
    (kind, at, other): (u8, usize, usize),
    strange: &K::SelfType<'_>,
) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    let mut table = txn.open_table(table).unwrap();
    let rows: Vec<_> = table
        .iter()
        .unwrap()
        .map(|row| {
            let (key, value) = row.unwrap();
            let (key, value) = (key.value(), value.value());
            (
                K::as_bytes(&key).as_ref().to_vec(),
                V::as_bytes(&value).as_ref().to_vec(),
            )
        })
        .collect();
    let (key, _) = &rows[at % rows.len()];
    let (_, value) = &rows[other % rows.len()];
    match kind {
        0 => drop(table.remove(K::from_bytes(key)).unwrap()),
        1 => drop(
            table
                .insert(K::from_bytes(key), V::from_bytes(value))
                .unwrap(),
        ),
        _ => drop(table.insert(strange, V::from_bytes(value)).unwrap()),
    }
    drop(table);
    txn.commit().unwrap();
}

fn change_covered<K: Bucketed + 'static, V: Value + 'static>(
    path: &Path,
    covered: &Covered<K, V>,
    what: (u8, usize, usize),
    strange: &K::SelfType<'_>,
) {
    change(path, covered.definition, what, strange);
}

/// The file that every case begins with, and its answers.
static BASE: LazyLock<(Vec<u8>, Answers)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&path(&folder));
    fill(&index);
    let answers = answers(&index);
    drop(index);
    (std::fs::read(path(&folder)).unwrap(), answers)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_change_of_a_row_changes_an_answer(
        table in 0_u8..9,
        kind in 0_u8..3,
        at in any::<usize>(),
        other in any::<usize>(),
        strange in 0..RECORDS + 2,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder);
        let (file, before) = &*BASE;
        std::fs::write(&path, file).unwrap();
        let (what, key) = ((kind, at, other), hash(strange));
        let version = u32::try_from(strange).unwrap();
        match table {
            0 => change_covered(&path, &STREAMS, what, &(&stream(strange % 10).0, version)),
            1 => change_covered(&path, &COMMANDS, what, &&key),
            2 => change_covered(&path, &NAMES, what, &&key),
            3 => change_covered(&path, &CHALLENGES, what, &&key),
            4 => change_covered(&path, &CASES, what, &&key),
            5 => change_covered(&path, &REQUESTS, what, &(&hash(strange % 3), strange)),
            6 => change_covered(&path, &COUNTS, what, &(strange as u16)),
            7 => change_covered(&path, &READ_AT_START, what, &(strange as u16 % 4, strange)),
            _ => change(&path, TILES, what, &(0, strange % 4)),
        }
        let index = open(&path);
        if index.tail().position == 0 {
            // The change was found at the open, and the file is rebuilt.
            fill(&index);
            prop_assert_eq!(&answers(&index), before);
        } else {
            let after = answers(&index);
            let mut wrong = 0;
            for (asked, answer) in &after {
                match answer {
                    Some(_) => prop_assert_eq!(answer, &before[asked], "{}", asked),
                    None => wrong += usize::from(before[asked].is_some()),
                }
            }
            // A question without an answer is reported, and then the file is rebuilt.
            prop_assert_eq!(wrong > 0, index.finding().is_some());
            let (mut next, mut checked) = (Some(Cursor::START), Ok(()));
            while let Some(from) = next {
                match index.check_buckets(from, 1_024) {
                    Ok(more) => next = more,
                    Err(error) => (next, checked) = (None, Err(error)),
                }
            }
            prop_assert!(checked.is_ok() || index.finding() == Some(Finding::Index));
            if index.finding().is_some() {
                index.distrust().unwrap();
                drop(index);
                prop_assert_eq!(open(&path).tail().position, 0);
            }
        }
    }
}

/// The walk over all buckets, this many at a time: its result, and how many steps it took.
fn walk(index: &Index, count: usize) -> (Result<(), IndexError>, usize) {
    let mut from = Cursor::START;
    for steps in 1..=4 * RECORDS as usize {
        match index.check_buckets(from, count) {
            Ok(Some(next)) => from = next,
            Ok(None) => return (Ok(()), steps),
            Err(error) => return (Err(error), steps),
        }
    }
    panic!("the walk does not end");
}

#[test]
fn a_walk_over_the_buckets_ends_and_finds_a_row_that_is_gone_from_any_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (file, _) = &*BASE;
    let gone = (0, 3, 0);
    let removals: [&dyn Fn(); 6] = [
        &|| change_covered(&path, &STREAMS, gone, &(&[0; 16], 0)),
        &|| change_covered(&path, &COMMANDS, gone, &&[0; 16]),
        &|| change_covered(&path, &NAMES, gone, &&[0; 16]),
        &|| change_covered(&path, &CHALLENGES, gone, &&[0; 16]),
        &|| change_covered(&path, &CASES, gone, &&[0; 16]),
        &|| change_covered(&path, &REQUESTS, gone, &(&[0; 16], 0)),
    ];
    for (table, remove) in (1..).zip(removals) {
        std::fs::write(&path, file).unwrap();
        let index = open(&path);
        let (whole, steps) = walk(&index, 1);
        assert!(whole.is_ok());
        // A bucket a step, and most of the commands have one of their own.
        assert!(steps > RECORDS as usize / 2, "{steps} steps");
        assert_eq!(walk(&index, usize::MAX).1, 1);
        drop(index);
        remove();
        let index = open(&path);
        assert!(walk(&index, 7).0.is_err(), "table {table}");
        assert_eq!(index.finding(), Some(Finding::Index), "table {table}");
    }
}
