//! The binary: parse, dispatch, exit code.

use std::process::ExitCode;

use countersign::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::read())
}
