//! The index over records made by hand: what it finds, and when it refuses.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::UnknownNameRefused;
use countersign_schemas::record::{Meta, Role, StreamKind};

use super::*;

const NOW: Micros = Micros(1_800_000_000_000_000);
const ADA: StreamKey = StreamKey([1; 16]);
const BOB: StreamKey = StreamKey([2; 16]);

pub(super) fn key() -> FileKey {
    FileKey::new(&[3; 32])
}

/// A log in memory, with its index in a folder.
struct Fixture {
    folder: tempfile::TempDir,
    records: Vec<Record<'static>>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            records: Vec::new(),
        }
    }

    fn open(&self) -> Index {
        let path = self.folder.path().join("index.redb");
        Index::open(&Storage::default(), &path, 1 << 20, &key(), |position| {
            self.record(position)
        })
        .unwrap()
    }

    fn record(&self, position: u64) -> Option<Record<'static>> {
        self.records
            .get(usize::try_from(position).unwrap().checked_sub(1)?)
            .cloned()
    }

    fn make(&mut self, stream: StreamKey, at: Micros, command: u8) -> Record<'static> {
        let versions = self
            .records
            .iter()
            .filter(|r| r.stream_key == stream)
            .count();
        let record = record(stream, versions as u32 + 1, at, command);
        self.records.push(record.clone());
        record
    }

    /// Appends a record and pushes it.
    fn push(&mut self, index: &Index, stream: StreamKey, at: Micros, command: u8) {
        let record = self.make(stream, at, command);
        index
            .push(
                self.records.len() as u64,
                &record,
                &record.encode().unwrap(),
                None,
                at,
            )
            .unwrap();
    }
}

pub(super) fn record(stream: StreamKey, version: u32, at: Micros, command: u8) -> Record<'static> {
    let event = Event::UnknownNameRefused(UnknownNameRefused { count: 1 });
    Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: stream,
        version,
        recorded_at: at,
        command_key: CommandKey([command; 16]),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: "ada".into(),
            command_id: "c".into(),
            caller: "x".into(),
            verified: true,
            role: Role::Platform,
            trace_id: None,
            body_tag: [0; 16],
            source_key: [0; 8],
            source: None,
            source_commitment: None,
        },
        payload: event.encode().unwrap().into(),
        seal: None,
    }
}

#[test]
fn what_was_pushed_is_found_before_during_and_after_a_flush() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    for n in 0..5 {
        fixture.push(&index, if n % 2 == 0 { ADA } else { BOB }, NOW, n);
    }
    let check = |index: &Index| {
        assert_eq!(index.positions(&ADA, 0, u32::MAX).unwrap(), [1, 3, 5]);
        assert_eq!(index.positions(&ADA, 1, 2).unwrap(), [3]);
        assert_eq!(index.positions(&BOB, 2, u32::MAX).unwrap(), [0; 0]);
        assert_eq!(index.version(&BOB).unwrap(), 2);
        let place = index.command(&CommandKey([3; 16]), NOW).unwrap().unwrap();
        assert_eq!((place.first, place.len), (4, 1));
    };
    check(&index);
    index
        .flush(true, NOW, |position| fixture.record(position))
        .unwrap();
    check(&index);
    let bytes: usize = fixture
        .records
        .iter()
        .map(|r| r.encode().unwrap().len())
        .sum();
    assert_eq!(index.counts().unwrap()[&3], (5, bytes as u64));
    fixture.push(&index, ADA, NOW, 9);
    assert_eq!(index.counts().unwrap()[&3].0, 6);
    assert_eq!(index.positions(&ADA, 0, u32::MAX).unwrap(), [1, 3, 5, 6]);
    assert_eq!(index.positions(&ADA, 2, u32::MAX).unwrap(), [5, 6]);
    drop(index);
    // Records that were not flushed are pushed again from the log's tail.
    let index = fixture.open();
    assert_eq!(index.tail().position, 5);
    check(&index);
}

#[test]
fn names_challenges_cases_and_what_a_start_reads_are_found_after_a_restart() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    let facts = [
        Fact::Name([7; 16]),
        Fact::Challenge([8; 16], NOW.plus_s(300)),
        Fact::ReadAtStart(2),
        asked_for([9; 16]),
        asked_for([10; 16]),
    ];
    for (n, fact) in facts.into_iter().enumerate() {
        let record = fixture.make(ADA, NOW, n as u8);
        index
            .push(
                n as u64 + 1,
                &record,
                &record.encode().unwrap(),
                Some(fact),
                NOW,
            )
            .unwrap();
    }
    for _ in 0..2 {
        assert_eq!(index.name(&[7; 16]).unwrap(), Some(ADA));
        assert_eq!(index.case(&[9; 16]).unwrap(), Some(ADA));
        assert_eq!(index.requests(&[1; 16]).unwrap(), [NOW, NOW]);
        assert!(index.requests(&[2; 16]).unwrap().is_empty());
        assert_eq!(index.challenge(&[8; 16]).unwrap(), Some(ADA));
        assert_eq!(index.read_at_start(2).unwrap(), BTreeSet::from([3]));
        assert!(index.read_at_start(1).unwrap().is_empty());
        index
            .flush(true, NOW, |position| fixture.record(position))
            .unwrap();
    }
    drop(index);
    let index = fixture.open();
    assert_eq!(index.name(&[7; 16]).unwrap(), Some(ADA));
    assert_eq!(index.challenge(&[8; 16]).unwrap(), Some(ADA));
    fixture.push(&index, ADA, NOW.plus_s(300), 9);
    index
        .flush(true, NOW.plus_s(300), |position| fixture.record(position))
        .unwrap();
    assert_eq!(index.challenge(&[8; 16]).unwrap(), None, "lapsed");
    assert_eq!(index.requests(&[1; 16]).unwrap(), [NOW, NOW]);
    let late = NOW.plus_s(REQUESTS_HORIZON_S);
    fixture.push(&index, ADA, late, 10);
    index
        .flush(true, late, |position| fixture.record(position))
        .unwrap();
    assert!(index.requests(&[1; 16]).unwrap().is_empty(), "forgotten");
    assert_eq!(index.case(&[10; 16]).unwrap(), Some(ADA), "for good");
}

fn asked_for(case: [u8; 16]) -> Fact {
    let (agent, at) = ([1; 16], NOW);
    Fact::Case { case, agent, at }
}

#[test]
fn a_command_is_forgotten_after_a_day_but_not_its_id_when_it_is_used_again() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    fixture.push(&index, ADA, NOW, 1);
    fixture.push(&index, ADA, NOW, 2);
    index
        .flush(true, NOW, |position| fixture.record(position))
        .unwrap();
    let later = NOW.plus_s(COMMAND_HORIZON_S);
    assert_eq!(index.command(&CommandKey([1; 16]), later).unwrap(), None);
    fixture.push(&index, ADA, later, 1);
    index
        .flush(true, later, |position| fixture.record(position))
        .unwrap();
    let again = index.command(&CommandKey([1; 16]), later).unwrap().unwrap();
    assert_eq!(again.first, 3);
    assert_eq!(
        index.file.command(&CommandKey([2; 16])).unwrap(),
        None,
        "gone from the file"
    );
}

#[test]
fn a_record_that_is_not_the_next_one_is_refused() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    fixture.push(&index, ADA, NOW, 1);
    let what = |position, record: &Record| match index.push(
        position,
        record,
        &record.encode().unwrap(),
        None,
        NOW,
    ) {
        Err(not_next) => not_next.what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(3, &record(ADA, 2, NOW, 2)), "position");
    assert_eq!(what(2, &record(ADA, 3, NOW, 2)), "version");
    assert_eq!(what(2, &record(ADA, 1, NOW, 2)), "version");
    assert!(index.check_version(2, &record(BOB, 2, NOW, 2)).is_err());
    assert!(index.check_version(2, &record(BOB, 1, NOW, 2)).is_ok());
    assert_eq!(what(2, &record(ADA, 2, NOW.minus_s(1), 2)), "time");
    let second_of_two = Record {
        group_index: 1,
        group_len: 2,
        ..record(ADA, 2, NOW, 2)
    };
    assert_eq!(what(2, &second_of_two), "place in its group");
    let first_of_two = Record {
        group_len: 2,
        ..record(ADA, 2, NOW, 2)
    };
    index
        .push(2, &first_of_two, &first_of_two.encode().unwrap(), None, NOW)
        .unwrap();
    assert!(!index.is_whole());
    assert_eq!(what(3, &record(ADA, 3, NOW, 3)), "place in its group");
}

#[test]
fn a_damaged_file_and_one_of_another_log_are_rebuilt() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    fixture.push(&index, ADA, NOW, 1);
    index
        .flush(true, NOW, |position| fixture.record(position))
        .unwrap();
    drop(index);
    let mut other = Fixture::new();
    other.make(BOB, NOW, 2);
    let path = fixture.folder.path().join("index.redb");
    let index = Index::open(&Storage::default(), &path, 1 << 20, &key(), |position| {
        other.record(position)
    })
    .unwrap();
    assert_eq!(index.tail(), Tail::default());
    drop(index);
    let bytes = std::fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut bad = bytes.clone();
        bad[at] ^= 0xff;
        std::fs::write(&path, bad).unwrap();
        drop(fixture.open());
    }
    std::fs::write(&path, b"no database").unwrap();
    assert_eq!(fixture.open().tail(), Tail::default());
}

#[test]
fn a_second_process_is_refused() {
    let fixture = Fixture::new();
    let _index = fixture.open();
    let path = fixture.folder.path().join("index.redb");
    assert!(Index::open(&Storage::default(), &path, 1 << 20, &key(), |_| None).is_err());
}

#[test]
fn the_tree_is_the_same_whenever_it_is_flushed_or_reopened() {
    let mut fixture = Fixture::new();
    let mut expected = crate::log::tree::Frontier::default();
    let mut index = fixture.open();
    for n in 0..700_u64 {
        fixture.push(&index, ADA, NOW, n as u8);
        expected.append(leaf_hash(&fixture.records[n as usize].encode().unwrap()));
        if n % 97 == 0 {
            index
                .flush(true, NOW, |position| fixture.record(position))
                .unwrap();
        }
        if n % 300 == 299 {
            index
                .flush(true, NOW, |position| fixture.record(position))
                .unwrap();
            drop(index);
            index = fixture.open();
        }
        assert_eq!(index.tree_head().unwrap(), (n + 1, expected.root()));
    }
    let root = index.root_at(300).unwrap();
    let proof = crate::log::proof::prove_consistency(|l, t| index.tile(l, t), 300, 700).unwrap();
    let (size, head) = index.tree_head().unwrap();
    crate::log::proof::check_consistency(300, &root, size, &head, &proof).unwrap();
}

#[test]
fn the_head_that_is_signed_for_never_cuts_a_commands_events() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    fixture.push(&index, ADA, NOW, 0);
    let whole = index.tree_head().unwrap();
    assert!(index.is_whole());
    for group_index in 0..3 {
        let record = Record {
            group_index,
            group_len: 3,
            ..record(BOB, u32::from(group_index) + 1, NOW, 1)
        };
        assert_eq!(index.tree_head().unwrap(), whole, "after {group_index}");
        fixture.records.push(record.clone());
        let (position, bytes) = (fixture.records.len() as u64, record.encode().unwrap());
        index.push(position, &record, &bytes, None, NOW).unwrap();
    }
    assert_eq!(index.tree_head().unwrap().0, 4);
    let place = index.command(&CommandKey([1; 16]), NOW).unwrap().unwrap();
    assert_eq!((place.first, place.len), (2, 3), "all of the command");
}

#[test]
fn every_record_of_several_tiles_agrees_with_its_leaf_and_a_changed_one_does_not() {
    let mut fixture = Fixture::new();
    let index = Arc::new(fixture.open());
    for n in 0..600_u64 {
        fixture.push(&index, ADA, NOW, n as u8);
    }
    let mut bytes: Vec<_> = fixture
        .records
        .iter()
        .map(|record| record.encode().unwrap())
        .collect();
    let log = |name: &str, records: &[Vec<u8>]| {
        let folder = fixture.folder.path().join(name);
        crate::log::EventLog::create(&folder, Default::default(), records).unwrap()
    };
    let positions: Vec<u64> = (1..=600).collect();
    let (first, last) = (log("as-it-was", &bytes), 600);
    let reader = first.reader().checked_by(&index);
    assert_eq!(reader.read(1, 600, usize::MAX).unwrap().len(), last);
    let places = index.places(&ADA, 0, 600).unwrap();
    for place in &places {
        let at = usize::try_from(place.position).unwrap() - 1;
        assert_eq!(reader.at(place).unwrap(), bytes[at]);
    }
    let mut count = 0;
    reader.read_each(&positions, |_, _| count += 1).unwrap();
    assert_eq!((count, index.finding()), (last, None));
    bytes[300][40] ^= 1;
    let second = log("changed", &bytes);
    let reader = second.reader().checked_by(&index);
    assert!(reader.read(1, 300, usize::MAX).is_ok());
    assert!(reader.read(1, 600, usize::MAX).is_err());
    let mut count = 0;
    assert!(reader.read_each(&positions, |_, _| count += 1).is_err());
    assert_eq!(count, 300, "those before it are right");
    assert!(reader.at(&places[299]).is_ok() && reader.at(&places[300]).is_err());
    let beyond = Place {
        position: 601,
        ..places[0]
    };
    assert!(reader.at(&beyond).is_err());
    assert_eq!(index.finding(), Some(Finding::Record { position: 301 }));
}

#[test]
fn a_crash_takes_the_file_back_to_its_last_durable_flush() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    let crashed = |fixture: &Fixture| {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("index.redb");
        std::fs::copy(fixture.folder.path().join("index.redb"), &path).unwrap();
        let index = Index::open(&Storage::default(), &path, 1 << 20, &key(), |position| {
            fixture.record(position)
        });
        index.unwrap().tail().position
    };
    for (n, is_durable, after_a_crash) in [(1, true, 1), (2, false, 1), (3, true, 3)] {
        fixture.push(&index, ADA, NOW, n);
        assert_eq!(index.waiting(), 1);
        index
            .flush(is_durable, NOW, |position| fixture.record(position))
            .unwrap();
        assert_eq!(index.waiting(), 0);
        assert_eq!(crashed(&fixture), after_a_crash, "after flush {n}");
    }
}

#[test]
fn two_tiles_that_change_places_are_not_read() {
    let mut fixture = Fixture::new();
    let index = fixture.open();
    for n in 0..600_u64 {
        fixture.push(&index, ADA, NOW, n as u8);
    }
    index
        .flush(true, NOW, |position| fixture.record(position))
        .unwrap();
    drop(index);
    let path = fixture.folder.path().join("index.redb");
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let mut table = txn.open_table(tables::TILES).unwrap();
    let mut taken = |index: u64| {
        let row = table.remove((0, index)).unwrap().unwrap();
        let (tag, bytes) = row.value();
        (*tag, bytes.to_vec())
    };
    let (first, second) = (taken(0), taken(1));
    for (index, (tag, bytes)) in [(0, second), (1, first)] {
        table.insert((0, index), (&tag, bytes.as_slice())).unwrap();
    }
    drop(table);
    txn.commit().unwrap();
    drop(db);
    let index = fixture.open();
    // The place is under the tag, so neither tile counts where the other one was.
    assert_eq!(index.tail().position, 600);
    for tile in [0, 1] {
        assert!(index.tile(0, tile).is_err(), "tile {tile}");
    }
    assert_eq!(index.finding(), Some(Finding::Index));
}
