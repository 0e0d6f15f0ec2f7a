//! A client in another language, written from docs/reference/contract.md alone.

use std::process::Command;

use super::support::site::ends;
use super::support::{CHEAP, Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_with_nothing_but_its_standard_library_lives_the_whole_life() {
    let rig = Rig::start(CHEAP).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/life.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(rig.broker.url());
    let output = ends(command);
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok: ")).count(),
        7,
        "{said}"
    );
}
