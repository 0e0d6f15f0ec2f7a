//! The disks that a power loss can leave of a shape, and the search through all of them.

use std::path::Path;

use crate::disk::{CrashPoint, Disk, LostFile, Op, apply};

const SECTOR: usize = 512;

/// SplitMix64: enough randomness, and every run can be repeated.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// The bytes at a position, the same each time.
pub fn record(position: u64) -> Vec<u8> {
    let mut rng = Rng(position);
    let length = 100 + rng.below(160);
    std::iter::repeat_with(|| rng.next().to_le_bytes()[0])
        .take(length)
        .collect()
}

/// Returns what is wrong with a disk on which this much was acknowledged, if anything is.
pub type Check = Box<dyn Fn(&Disk, &Path, u64) -> Result<(), String>>;

/// The moments of one kind of change, and the check after a power loss at any of them.
pub struct Shape {
    pub name: &'static str,
    pub points: Vec<CrashPoint>,
    pub check: Check,
    /// Only opens the files, so that power can be lost again meanwhile.
    pub open: fn(&Disk, &Path),
}

impl Shape {
    /// The most writes that are unsynced at one of its moments.
    pub fn unsynced_max(&self) -> usize {
        self.points.iter().map(unsynced).max().unwrap_or(0)
    }
}

fn unsynced(point: &CrashPoint) -> usize {
    point.files.iter().map(|file| file.unsynced.len()).sum()
}

/// Makes the disk on which only the chosen unsynced writes arrived, counted over all files.
pub fn image(point: &CrashPoint, mut arrived: impl FnMut(usize) -> bool) -> Vec<(String, Vec<u8>)> {
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

/// Chooses subsets of `count` writes: all of them if that is at most `bound`, else a sample.
fn subsets(count: usize, bound: u64, rng: &mut Rng) -> Vec<u128> {
    assert!(
        count < 128,
        "{count} unsynced writes are too many to choose from"
    );
    let all = 1_u128 << count;
    if all <= u128::from(bound) {
        return (0..all).collect();
    }
    let prefixes = (0..=count).map(|length| (1 << length) - 1);
    let single = (0..count).map(|index| 1 << index);
    let all_but_one = (0..count).map(|index| (all - 1) & !(1 << index));
    let mut chosen: Vec<u128> = prefixes.chain(single).chain(all_but_one).collect();
    while (chosen.len() as u64) < bound {
        let random = u128::from(rng.next()) << 64 | u128::from(rng.next());
        chosen.push(random % all);
    }
    chosen
}

/// The result of a search.
#[derive(Default)]
pub struct Found {
    pub images: u64,
    pub bad: Vec<String>,
    /// Not every subset of some moment was tried.
    pub is_sampled: bool,
}

/// Opens every subset at every moment of the shape, up to this many for each moment.
pub fn explore(shape: &Shape, bound: u64, rng: &mut Rng) -> Found {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("files");
    let mut found = Found::default();
    for (moment, point) in shape.points.iter().enumerate() {
        let count = unsynced(point);
        let subsets = subsets(count, bound, rng);
        found.is_sampled |= (subsets.len() as u128) < 1 << count;
        for subset in subsets {
            let disk = Disk::holding(&folder, image(point, |index| subset >> index & 1 == 1));
            found.images += 1;
            if let Err(complaint) = (shape.check)(&disk, &folder, point.acknowledged) {
                let name = shape.name;
                found
                    .bad
                    .push(format!("{name} {moment}/{subset:b}: {complaint}"));
            }
        }
    }
    found
}

/// Tears a write into sectors that arrive one by one, some of them in part.
///
/// If the file's new length was lost, the bytes beyond the old length may be lost with it.
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

pub fn torn_image(point: &CrashPoint, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
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
