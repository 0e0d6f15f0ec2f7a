//! Power loss at every moment of every kind of append: no acknowledged record may be missing.
//!
//! For each shape (first record, single, batch, growing file, sealing, idle commit, clean close,
//! recovery) the log runs on a disk that remembers its unsynced writes. Before and after every sync, every
//! subset of them is a possible disk after a power loss; each is opened with the real
//! `EventLog::open` and read in full. The records must be a prefix of those appended, end at a
//! batch's border, and reach at least to what was acknowledged. A second test tears writes at
//! random, in 512-byte sectors, and loses power again while recovering.
//!
//! The harness is itself tested: a user who is told before the commit must be found out.
//! (redb 4.1.0, which loses a growing append, is not linked in for comparison.)
//!
//! ```text
//! cargo test --test powerloss -- --nocapture
//! POWERLOSS_SUBSETS=16384 POWERLOSS_RANDOM=1000000 cargo test --release --test powerloss -- --nocapture
//! ```
//! `POWERLOSS_SUBSETS` bounds the images per moment (beyond it they are sampled),
//! `POWERLOSS_RANDOM` is the number of torn images, and `POWERLOSS_SEED` repeats a run.
#![allow(clippy::unwrap_used)]

mod disk;

use std::path::Path;

use countersign::log::{EventLog, PAGE_BYTES_MAX};
use disk::{CrashPoint, Disk, LostFile, Op, apply};

const SEGMENT_RECORDS: u64 = 160;
const SECTOR: usize = 512;

/// Reads a bound from the environment.
fn bound(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// SplitMix64: enough randomness, and every run can be repeated.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

fn record(position: u64) -> Vec<u8> {
    let mut rng = Rng(position);
    let length = 100 + rng.below(160);
    std::iter::repeat_with(|| rng.next().to_le_bytes()[0])
        .take(length)
        .collect()
}

fn records(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count).map(record).collect()
}

/// The moments of one kind of append, and what the log may hold after them.
struct Shape {
    name: &'static str,
    before: u64,
    after: u64,
    points: Vec<CrashPoint>,
}

/// Makes a log of `head` records.
fn grown(disk: &Disk, folder: &Path, head: u64) -> EventLog {
    let options = disk.options(SEGMENT_RECORDS);
    let mut log = EventLog::create(folder, options, &records(1, 1)).unwrap();
    while log.head() < head {
        let count = (head - log.head()).min(40);
        log.append(log.head(), &records(log.head() + 1, count))
            .unwrap();
    }
    disk.acknowledge(head);
    log
}

/// Appends `count` records while the disk remembers; a mutant acknowledges before the commit.
fn append_shape(name: &'static str, head: u64, count: u64, too_early: bool) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::new(&folder);
    let mut log = grown(&disk, &folder, head);
    disk.record();
    if too_early {
        disk.acknowledge(head + count);
    }
    let after = log.append(head, &records(head + 1, count)).unwrap();
    disk.acknowledge(after);
    Shape {
        name,
        before: head,
        after,
        points: disk.crash_points(),
    }
}

/// Finds the first append after `head` that makes the file longer.
fn growing_shape(head: u64) -> Shape {
    let grows = |point: &CrashPoint| {
        let mut ops = point.files.iter().flat_map(|file| &file.unsynced);
        ops.any(|op| matches!(op, Op::SetLen(_)))
    };
    (head..SEGMENT_RECORDS)
        .map(|head| append_shape("growth", head, 12, false))
        .find(|shape| shape.points.iter().any(grows))
        .expect("some append makes the file longer")
}

/// Runs a step that appends nothing while the disk remembers.
fn quiet_shape(name: &'static str, head: u64, step: impl FnOnce(EventLog)) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::new(&folder);
    let log = grown(&disk, &folder, head);
    disk.record();
    step(log);
    Shape {
        name,
        before: head,
        after: head,
        points: disk.crash_points(),
    }
}

/// Opens what a power loss right after an append left, on a disk that remembers.
fn recovery_shape(head: u64) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let crashed = append_shape("", head - 3, 3, false).points.pop().unwrap();
    let folder = parent.path().join("log");
    let disk = Disk::holding(&folder, image(&crashed, |_| true));
    disk.acknowledge(head);
    disk.record();
    let log = EventLog::open(&folder, disk.options(SEGMENT_RECORDS)).unwrap();
    let points = disk.crash_points();
    drop(log);
    Shape {
        name: "recovery",
        before: head,
        after: head,
        points,
    }
}

fn shapes() -> Vec<Shape> {
    vec![
        append_shape("first", 1, 1, false),
        append_shape("single", 70, 1, false),
        append_shape("batch", 70, 12, false),
        append_shape("large batch", 70, 60, false),
        growing_shape(70),
        append_shape("sealing", SEGMENT_RECORDS, 3, false),
        append_shape("after sealing", SEGMENT_RECORDS + 3, 2, false),
        quiet_shape("idle", 70, |mut log| {
            log.idle().unwrap();
            std::mem::forget(log);
        }),
        quiet_shape("close", 70, |log| log.close().unwrap()),
        recovery_shape(70),
    ]
}

/// Makes the disk on which only the chosen unsynced writes arrived, counted over all files.
fn image(point: &CrashPoint, mut arrived: impl FnMut(usize) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut index = 0;
    let file = |lost: &LostFile| {
        let mut bytes = lost.durable.to_vec();
        for op in &lost.unsynced {
            if arrived(index) {
                apply(&mut bytes, op);
            }
            index += 1;
        }
        (lost.name.clone(), bytes)
    };
    point.files.iter().map(file).collect()
}

/// Says what is wrong with the log on this disk, if anything is.
fn verify(disk: &Disk, folder: &Path, shape: &Shape, acknowledged: u64) -> Result<(), String> {
    let options = disk.options(SEGMENT_RECORDS);
    let mut log = EventLog::open(folder, options).map_err(|error| error.to_string())?;
    let reader = log.reader();
    let mut next = 1;
    loop {
        let page = reader
            .read(next, 64, PAGE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        for (position, bytes) in page.iter() {
            if position != next || bytes != record(position) {
                return Err(format!("another record at position {next}"));
            }
            next += 1;
        }
    }
    let head = next - 1;
    if head < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {head} found"));
    }
    if head != shape.before && head != shape.after {
        return Err(format!("part of a batch: {head} found"));
    }
    if log.head() != head {
        return Err(format!("head {} but {head} records", log.head()));
    }
    let appended = log.append(head, &records(head + 1, 1));
    appended.map(|_| ()).map_err(|error| error.to_string())
}

/// Chooses subsets of `count` writes: all of them if that is at most `bound`, else a sample.
fn subsets(count: usize, bound: u64, rng: &mut Rng) -> Vec<u64> {
    assert!(
        count < 64,
        "{count} unsynced writes are too many to choose from"
    );
    let all = 1_u64 << count;
    if all <= bound {
        return (0..all).collect();
    }
    let prefixes = (0..=count).map(|length| (1 << length) - 1);
    let single = (0..count).map(|index| 1 << index);
    let all_but_one = (0..count).map(|index| (all - 1) & !(1 << index));
    let mut chosen: Vec<u64> = prefixes.chain(single).chain(all_but_one).collect();
    while (chosen.len() as u64) < bound {
        chosen.push(rng.next() % all);
    }
    chosen
}

/// Opens every subset at every moment of the shape and returns (images, complaints).
fn explore(shape: &Shape, bound: u64, rng: &mut Rng) -> (u64, Vec<String>) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let (mut images, mut bad) = (0, Vec::new());
    for (moment, point) in shape.points.iter().enumerate() {
        let unsynced = point.files.iter().map(|file| file.unsynced.len()).sum();
        for subset in subsets(unsynced, bound, rng) {
            let disk = Disk::holding(&folder, image(point, |index| subset >> index & 1 == 1));
            images += 1;
            if let Err(complaint) = verify(&disk, &folder, shape, point.acknowledged) {
                bad.push(format!("{} {moment}/{subset:b}: {complaint}", shape.name));
            }
        }
    }
    (images, bad)
}

#[test]
fn every_subset_of_lost_writes_keeps_every_acknowledged_record() {
    let bound = bound("POWERLOSS_SUBSETS", 4_096);
    let mut rng = Rng(bound);
    let mut all_bad = Vec::new();
    for shape in shapes() {
        let unsynced =
            |point: &CrashPoint| point.files.iter().map(|file| file.unsynced.len()).sum();
        let most: usize = shape.points.iter().map(unsynced).max().unwrap_or(0);
        let (images, bad) = explore(&shape, bound, &mut rng);
        println!(
            "{:>13}: {} moments, at most {most} unsynced writes, {images} images, {} bad{}",
            shape.name,
            shape.points.len(),
            bad.len(),
            if 1_u64 << most > bound {
                " (sampled)"
            } else {
                ""
            }
        );
        all_bad.extend(bad);
    }
    assert!(all_bad.is_empty(), "{all_bad:#?}");
}

/// Tears a write into sectors that arrive one by one, some of them in part.
///
/// Where the file's new length was lost, what was written beyond the old one may be lost with it.
fn tear(file: &mut Vec<u8>, op: &Op, extends: bool, rng: &mut Rng) {
    match op {
        Op::SetLen(_) => {
            if rng.chance(50) {
                apply(file, op);
            }
        }
        Op::Write { offset, bytes } => {
            let arrives_percent = [0, 50, 90, 100][rng.below(4)];
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if !rng.chance(arrives_percent) {
                    continue;
                }
                let torn = rng.chance(2);
                let length = if torn {
                    rng.below(sector.len())
                } else {
                    sector.len()
                };
                let offset = offset + index * SECTOR;
                if !extends && offset + length > file.len() {
                    continue;
                }
                let bytes = sector[..length].to_vec();
                apply(file, &Op::Write { offset, bytes });
            }
        }
    }
}

fn torn_image(point: &CrashPoint, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for lost in &point.files {
        let mut bytes = lost.durable.to_vec();
        let extends = rng.chance(50);
        for op in &lost.unsynced {
            tear(&mut bytes, op, extends, rng);
        }
        files.push((lost.name.clone(), bytes));
    }
    files
}

#[test]
fn torn_sectors_and_power_loss_while_recovering_lose_nothing() {
    let images = bound("POWERLOSS_RANDOM", 10_000);
    let seed = bound("POWERLOSS_SEED", 0x00C0_FFEE);
    println!("POWERLOSS_SEED={seed}");
    let shapes = shapes();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let (mut recoveries, mut bad) = (0, Vec::new());
    for number in 0..images {
        let mut rng = Rng(seed.wrapping_add(number));
        let shape = &shapes[rng.below(shapes.len())];
        let point = &shape.points[rng.below(shape.points.len())];
        let mut disk = Disk::holding(&folder, torn_image(point, &mut rng));
        while rng.chance(30) {
            recoveries += 1;
            disk.acknowledge(point.acknowledged);
            disk.record();
            drop(EventLog::open(&folder, disk.options(SEGMENT_RECORDS)));
            let again = disk.crash_points();
            disk = Disk::holding(
                &folder,
                torn_image(&again[rng.below(again.len())], &mut rng),
            );
        }
        if let Err(complaint) = verify(&disk, &folder, shape, point.acknowledged) {
            bad.push(format!("{} image {number}: {complaint}", shape.name));
        }
    }
    println!(
        "{images} torn images, {recoveries} power losses while recovering, {} bad",
        bad.len()
    );
    assert!(bad.is_empty(), "POWERLOSS_SEED={seed}: {bad:#?}");
}

#[test]
fn a_user_who_is_told_before_the_commit_is_found_out() {
    for (name, head, count) in [
        ("first", 1, 1),
        ("single", 70, 1),
        ("batch", 70, 12),
        ("sealing", SEGMENT_RECORDS, 3),
    ] {
        let shape = append_shape(name, head, count, true);
        let (images, bad) = explore(&shape, 64, &mut Rng(1));
        println!(
            "{name}: {} of {images} images lose a record that was told too early",
            bad.len()
        );
        assert!(!bad.is_empty(), "{name}");
    }
}
