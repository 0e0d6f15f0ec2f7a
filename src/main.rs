//! The binary: parse, dispatch, exit code.

use std::alloc::System;
use std::process::ExitCode;

use countersign::cli::{Cli, run};
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory before it is released: passwords, seeds and codes pass through buffers of crates
/// that wipe nothing.
#[global_allocator]
static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    run(Cli::read())
}
