//! The stack that some work used, wiped after it.
//!
//! What functions pass on and hash leaves copies on the stack, and a thread that waits for its next
//! work keeps them. A secret itself is boxed and wipes itself; this is for what crates make of it.

use std::hint::black_box;

/// How deep the wiping goes, in bytes: no more than a first cache holds, since it is done several times
/// for each command. Half of it is too little in a debug build (`tests/blackbox/wiping`).
const DEPTH_BYTES: usize = 32 * 1024;

/// Does some work, and wipes the stack under it.
pub fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = below(work);
    wipe();
    done
}

/// Lies as deep as [`wipe`], so that nothing of the work lies higher.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    // A compiler that does not know who looks at it must write it.
    black_box(&mut [0_u8; DEPTH_BYTES]);
}
