//! Power loss at every moment of every kind of append: no acknowledged record may be missing.
//!
//! For each shape (first record, single, batch, growing file, sealing, idle commit, clean close,
//! recovery) the log runs on a disk that remembers its unsynced writes. Before and after every
//! sync, every subset of them is a possible disk after a power loss; each is opened with the real
//! `EventLog::open` and read in full. The records must be a prefix of the appended ones, end at a
//! batch's border, and reach at least to the last acknowledged one. A second test tears writes at
//! random, in 512-byte sectors, and loses power again while recovering.
//!
//! The harness is tested too: it must find a log that acknowledges before the commit, and redb
//! 4.1.0, which cannot open the file again after some losses of a growing append.
//!
//! ```text
//! cargo test --test powerloss -- --nocapture
//! POWERLOSS_SUBSETS=16384 POWERLOSS_RANDOM=1000000 cargo test --release --test powerloss --
//! --nocapture
//! ```
//! `POWERLOSS_SUBSETS` bounds the images per moment (beyond it they are sampled),
//! `POWERLOSS_RANDOM` is the number of torn images, and `POWERLOSS_SEED` repeats a run.
#![allow(clippy::unwrap_used)]

mod bare;
#[path = "../disk/mod.rs"]
mod disk;
mod explorer;
mod index;
mod log;
mod snapshots;
#[path = "../disk/storage.rs"]
mod storage;
mod views;

use std::process::Command;

use disk::Disk;
use explorer::{Rng, Shape, explore, torn_image};
use log::{SEGMENT_RECORDS, append_shape};

/// The log can rebuild some files, and their commits write far more pages, so this many times fewer
/// images of them are opened.
const DERIVED_PART: u64 = 32;

/// Reads a bound from the environment.
fn bound(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The files that are derived from the log.
fn derived_shapes() -> Vec<Shape> {
    let shapes = [index::shapes(), views::shapes(), snapshots::shapes()];
    shapes.into_iter().flatten().collect()
}

/// Explores a shape, prints a line, and returns the complaints.
fn report(shape: &Shape, bound: u64, rng: &mut Rng) -> Vec<String> {
    let found = explore(shape, bound, rng);
    println!(
        "{:>14}: {} moments, at most {} unsynced writes, {} images, {} bad{}",
        shape.name,
        shape.points.len(),
        shape.unsynced_max(),
        found.images,
        found.bad.len(),
        if found.is_sampled { " (sampled)" } else { "" }
    );
    found.bad
}

#[test]
fn every_subset_of_lost_writes_keeps_every_acknowledged_record() {
    let bound = bound("POWERLOSS_SUBSETS", 4_096);
    let mut rng = Rng(bound);
    let mut all_bad = Vec::new();
    for shape in log::shapes() {
        all_bad.extend(report(&shape, bound, &mut rng));
    }
    assert!(all_bad.is_empty(), "{all_bad:#?}");
}

#[test]
fn every_subset_of_lost_writes_leaves_derived_files_right_or_rebuilt() {
    let bound = bound("POWERLOSS_SUBSETS", 4_096) / DERIVED_PART;
    let mut rng = Rng(bound);
    let mut all_bad = Vec::new();
    for shape in derived_shapes() {
        all_bad.extend(report(&shape, bound, &mut rng));
    }
    assert!(all_bad.is_empty(), "{all_bad:#?}");
}

#[test]
fn torn_sectors_and_power_loss_while_recovering_lose_nothing() {
    let images = bound("POWERLOSS_RANDOM", 10_000);
    let seed = bound("POWERLOSS_SEED", 0x00C0_FFEE);
    println!("POWERLOSS_SEED={seed}");
    let shapes: Vec<_> = log::shapes().into_iter().chain(derived_shapes()).collect();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("files");
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
            (shape.open)(&disk, &folder);
            let again = disk.crash_points();
            disk = Disk::holding(
                &folder,
                torn_image(&again[rng.below(again.len())], &mut rng),
            );
        }
        if let Err(complaint) = (shape.check)(&disk, &folder, point.acknowledged) {
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
fn an_acknowledgement_before_the_commit_is_found() {
    for (name, head, count) in [
        ("first", 1, 1),
        ("single", 70, 1),
        ("batch", 70, 12),
        ("sealing", SEGMENT_RECORDS, 3),
    ] {
        let shape = append_shape(name, head, count, true);
        let found = explore(&shape, 64, &mut Rng(1));
        println!(
            "{name}: {} of {} images lose a record that was acknowledged too early",
            found.bad.len(),
            found.images
        );
        assert!(!found.bad.is_empty(), "{name}");
    }
}

#[test]
fn a_growing_append_is_kept_by_redb_alone() {
    let bad = report(&bare::growing_shape(), 4_096, &mut Rng(1));
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Cargo has one 4.x in a build, so the older one has a workspace of its own.
#[test]
fn a_growing_append_is_lost_by_redb_4_1_and_found() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/old_redb/Cargo.toml");
    let run = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path", manifest])
        .args(["--target-dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .unwrap();
    let output = String::from_utf8(run.stdout).unwrap();
    print!("{output}");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    let bad = output.lines().filter(|line| line.starts_with("bad: "));
    assert!(bad.count() > 0, "nothing bad was found: {output}{errors}");
}
