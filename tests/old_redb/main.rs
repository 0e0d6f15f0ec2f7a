//! The power-loss explorer on redb 4.1.0: prints a line for each disk that a growing append can leave
//! and that cannot be opened again, or lacks what was acknowledged.
//!
//! redb 4.2 fixed it: the header that describes the longer file could arrive without the length.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../powerloss/bare.rs"]
mod bare;
#[path = "../disk/mod.rs"]
mod disk;
#[path = "../powerloss/explorer.rs"]
mod explorer;

use explorer::{Rng, explore};

/// Disks that are opened for each moment.
const SUBSETS: u64 = 1_024;
/// Bad ones that are printed.
const LINES_MAX: usize = 20;

fn main() {
    // Each disk that cannot be opened is a panic, which is reported below.
    std::panic::set_hook(Box::new(|_| {}));
    let shape = bare::growing_shape();
    let found = explore(&shape, SUBSETS, &mut Rng(1));
    println!(
        "redb 4.1.0, growth: {} moments, at most {} unsynced writes, {} images, {} bad",
        shape.points.len(),
        shape.unsynced_max(),
        found.images,
        found.bad.len()
    );
    for why in found.bad.iter().take(LINES_MAX) {
        println!("bad: {why}");
    }
}
