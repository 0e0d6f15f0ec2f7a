//! The login gateway in TypeScript, as it is in `examples/gateway/`.
//!
//! It needs npm and Node 22.18 or later, the first that runs TypeScript as it is, so `cargo test`
//! leaves it out. `.ci/run` fetches that Node and runs it:
//!
//! ```text
//! cargo test --test typescript
//! ```
//! Its packages come from its lock file.
#![allow(clippy::unwrap_used)]

#[path = "../blackbox/door.rs"]
mod door;
#[path = "../patience/mod.rs"]
mod patience;
#[allow(dead_code)] // What the other black-box tests need.
#[path = "../blackbox/support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;

use door::{file, holds_its_door};
use support::site::ends;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_in_typescript_lets_in_who_may_come_in() {
    let folder = tempfile::tempdir().unwrap();
    for source in [
        file("gateway.ts"),
        file("package.json"),
        file("package-lock.json"),
    ] {
        fs::copy(&source, folder.path().join(source.file_name().unwrap())).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.current_dir(folder.path());
    let installed = ends(npm);
    assert!(installed.status.success(), "{installed:?}");
    holds_its_door(|url| {
        let mut node = Command::new("node");
        node.current_dir(folder.path()).args(["gateway.ts", url]);
        node
    })
    .await;
}
