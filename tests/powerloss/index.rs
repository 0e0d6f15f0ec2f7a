//! Shapes of the index: its first flush, a durable one, and durable after volatile ones.
//!
//! The index may be deleted and built again, but must never be wrong: a stream that lacks its last
//! event would make a used code valid again. Here it must also keep the rows of a durable flush.

use std::path::{Path, PathBuf};

use countersign::crypto::derived::FileKey;
use countersign::log::index::{COMMAND_HORIZON_S, CommandPlace, Fact, Index};
use countersign::log::tiles::Tree;
use countersign::log::tree::leaf_hash;
use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::UnknownNameRefused;
use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::time::Micros;

use crate::disk::{CrashPoint, Disk};
use crate::explorer::Shape;

const NAME: &str = "index.redb";
const CACHE_BYTES: usize = 1024 * 1024;
const STREAMS: u64 = 7;
const BEGAN: Micros = Micros(1_800_000_000_000_000);
/// Every shape's log ends here.
const HEAD: u64 = 300;

fn stream(position: u64) -> StreamKey {
    StreamKey([1 + u8::try_from(position % STREAMS).unwrap(); 16])
}

/// One agent requested every case.
const AGENT: [u8; 16] = [7; 16];

fn hash(position: u64) -> [u8; 16] {
    (u128::from(position).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_0C5D_3B1E_2D47)).to_be_bytes()
}

fn at(position: u64) -> Micros {
    BEGAN.plus_s(position)
}

fn fact(position: u64) -> Option<Fact> {
    match position % 11 {
        0 => Some(Fact::Name(hash(position))),
        1 => Some(Fact::Challenge(hash(position), at(position).plus_s(86_400))),
        kind @ (2 | 3) => Some(Fact::ReadAtStart(kind as u16)),
        4 => Some(Fact::Case {
            case: hash(position),
            agent: AGENT,
            at: at(position),
        }),
        _ => None,
    }
}

fn record(position: u64) -> Option<Record<'static>> {
    let event = Event::UnknownNameRefused(UnknownNameRefused { count: 1 });
    let record = Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: stream(position),
        version: u32::try_from(position.div_ceil(STREAMS)).unwrap(),
        recorded_at: at(position),
        command_key: CommandKey(hash(position)),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: "ada".into(),
            command_id: format!("c-{position}").into(),
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
    };
    (1..=HEAD).contains(&position).then_some(record)
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

fn open(disk: &Disk, folder: &Path) -> Result<Index, String> {
    let opened = Index::open(
        &disk.storage(),
        &path(folder),
        CACHE_BYTES,
        &FileKey::new(&[1; 32]),
        record,
    );
    opened.map_err(|error| error.to_string())
}

fn push(index: &Index, through: u64) -> Result<(), String> {
    for position in index.tail().position + 1..=through {
        let record = record(position).unwrap();
        let bytes = record.encode().unwrap();
        index
            .push(position, &record, &bytes, fact(position), at(position))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn flush(index: &Index, durable: bool) {
    index.flush(durable, at(HEAD), record).unwrap();
}

/// Compares everything in the index with the records up to its tail.
fn check_all(index: &Index) -> Result<(), String> {
    let tail = index.tail().position;
    let mut tree = Tree::default();
    for position in 1..=tail {
        tree.append(leaf_hash(&record(position).unwrap().encode().unwrap()));
    }
    let mut wrong = Vec::new();
    let mut same = |what: &str, is_same: bool| {
        if !is_same {
            wrong.push(format!("{what} at tail {tail}"));
        }
    };
    for number in 1..=STREAMS {
        let positions: Vec<_> = (number..=tail).step_by(STREAMS as usize).collect();
        let version = u32::try_from(positions.len()).unwrap();
        let stream = stream(number);
        same("version", index.version(&stream).ok() == Some(version));
        let found = index.positions(&stream, 0, u32::MAX).ok();
        same("positions", found.as_ref() == Some(&positions));
    }
    for position in 1..=HEAD {
        let is_in = position <= tail;
        let place = CommandPlace {
            first: position,
            len: 1,
            at: at(position),
        };
        let key = CommandKey(hash(position));
        let found = index.command(&key, at(HEAD)).ok();
        same("command", found == Some(is_in.then_some(place)));
        let stream = is_in.then(|| stream(position));
        let found = match fact(position) {
            Some(Fact::Name(name)) => index.name(&name).ok(),
            Some(Fact::Challenge(challenge, _)) => index.challenge(&challenge).ok(),
            Some(Fact::Case { case, .. }) => index.case(&case).ok(),
            Some(Fact::ReadAtStart(_) | Fact::Erased(_) | Fact::Acted(..)) | None => Some(stream),
        };
        same("name, challenge or case", found == Some(stream));
    }
    let asked = (1..=tail).filter(|at| matches!(fact(*at), Some(Fact::Case { .. })));
    let requests = index.requests(&AGENT).ok();
    same("requests", requests == Some(asked.map(at).collect()));
    for kind in [2, 3] {
        let due = (1..=tail).filter(|at| fact(*at) == Some(Fact::ReadAtStart(kind)));
        let found = index.read_at_start(kind).ok();
        same("the rows that a start reads", found == Some(due.collect()));
    }
    let counted = index
        .counts()
        .ok()
        .map(|counts| counts.values().map(|c| c.0).sum());
    same("counts", counted == Some(tail));
    same("tree", index.tree_head() == Ok((tail, tree.root())));
    same(
        "root",
        tail == 0 || index.root_at(tail).ok() == Some(tree.root()),
    );
    wrong.dedup();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join(", "))
    }
}

/// The tail is that of a flush, not before the last durable one. The index is right, and stays
/// right when it takes the rest of the log.
fn check(disk: &Disk, folder: &Path, borders: &[u64], acknowledged: u64) -> Result<(), String> {
    let index = open(disk, folder)?;
    let tail = index.tail().position;
    if tail < acknowledged || !borders.contains(&tail) {
        return Err(format!("{acknowledged} flushed durably, {tail} found"));
    }
    check_all(&index)?;
    push(&index, HEAD)?;
    check_all(&index)?;
    index
        .flush(true, at(HEAD), record)
        .map_err(|error| error.to_string())?;
    check_all(&index)
}

/// Flushes at each of these positions, the last time durably, while the disk remembers.
fn flushing(name: &'static str, before: u64, flushes: &'static [u64]) -> Shape {
    const { assert!(COMMAND_HORIZON_S > HEAD, "no command is forgotten") };
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let disk = Disk::new(folder);
    if before == 0 {
        disk.record();
    }
    let index = open(&disk, folder).unwrap();
    if before > 0 {
        push(&index, before).unwrap();
        flush(&index, true);
        disk.acknowledge(before);
        disk.record();
    }
    let (last, volatile) = flushes.split_last().unwrap();
    for through in volatile {
        push(&index, *through).unwrap();
        flush(&index, false);
    }
    push(&index, *last).unwrap();
    flush(&index, true);
    disk.acknowledge(*last);
    let points: Vec<CrashPoint> = disk.crash_points();
    let mut borders = vec![0, before];
    borders.extend(flushes);
    Shape {
        name,
        points,
        check: Box::new(move |disk, folder, acknowledged| {
            check(disk, folder, &borders, acknowledged)
        }),
        open: |disk, folder| drop(open(disk, folder)),
    }
}

pub fn shapes() -> Vec<Shape> {
    vec![
        flushing("index made", 0, &[40]),
        flushing("index flush", 200, &[240]),
        flushing("index behind", 150, &[190, 240, 260]),
    ]
}
