//! A service that accepts spent codes is found, so the contests can be trusted.
//!
//! It is built here from the same sources with one more feature. The compiled dependencies are
//! shared; the program is not, so no other test can use it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PATIENT;
use super::contests::{one_app_code, one_backup_code};
use crate::support::Rig;
use crate::support::site::Site;

const ROUNDS_MAX: usize = 100;
/// Variables that cargo sets for the tests; build scripts would take them for a change.
const OURS: &[&str] = &[
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
];

/// Builds the mutant and returns its path.
fn build() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let compiled = program
        .ancestors()
        .nth(2)
        .expect("target/debug/countersign");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutant");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--locked", "--offline", "--bin", "countersign"]);
    cargo.args(["--features", "mutant-spent-codes", "--target-dir"]);
    cargo.arg(&folder).env("CARGO_BUILD_BUILD_DIR", compiled);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in env::vars_os() {
        if OURS
            .iter()
            .any(|ours| name.to_string_lossy().starts_with(ours))
        {
            cargo.env_remove(name);
        }
    }
    let built = cargo.output().unwrap();
    let output = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{output}");
    folder.join("debug").join("countersign")
}

/// H5, X-01, X-02: the planted hole is found within a hundred rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_accepts_spent_codes_is_found() {
    let mutant = build();
    let mut rig = Rig::start_on(Site::of(&mutant, PATIENT)).await;
    let mut app = None;
    let mut backup = None;
    for round in 0..ROUNDS_MAX {
        if app.is_none() {
            app = one_app_code(&mut rig, round).await.err().zip(Some(round));
        }
        if backup.is_none() {
            backup = one_backup_code(&mut rig, round)
                .await
                .err()
                .zip(Some(round));
        }
    }
    for (flaw, round) in [app.expect("found out"), backup.expect("found out")] {
        println!("round {round}: {flaw}");
        assert!(flaw.ends_with("commands were done with one code"), "{flaw}");
    }
}
