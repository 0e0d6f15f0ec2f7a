//! The stack that some work used, wiped after it.
//!
//! Passing values on and hashing leaves copies on the stack, and a thread that waits for its next
//! work keeps them. A secret itself is boxed and wipes itself; this module removes the copies that
//! crates make.

use std::hint::black_box;

/// How deep the wiping goes, in bytes: no more than a first-level cache holds, since it is done
/// several times for each command. Half of it is too little in a debug build
/// (`tests/blackbox/wiping`).
const DEPTH_BYTES: usize = 32 * 1024;

/// Runs work, and wipes the stack under it.
pub fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = below(work);
    wipe();
    done
}

/// Has a frame as deep as [`wipe`], so that no part of the work lies higher.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    // The compiler cannot know whether this value is read, so it must write it.
    black_box(&mut [0_u8; DEPTH_BYTES]);
}
