//! The behaviour that every login gateway must show.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::support::person::{PASSWORD, Person};
use super::support::{CHEAP, Rig};

const LINES_MAX: usize = 60;

/// A file of the gateways, at most a page.
pub fn file(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway");
    let file = Path::new(folder).join(name);
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    assert!(
        lines <= LINES_MAX || name.ends_with(".json"),
        "{name}: {lines} lines"
    );
    file
}

/// Types these lines into a gateway; returns whether the user is signed in, and the output.
fn typed(mut gateway: Command, lines: &[&str]) -> (bool, String) {
    let mut child = gateway
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    // A gateway that reads fewer lines has already ended.
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

/// Checks a gateway with a user without 2FA and one with it.
pub async fn holds_its_door(gateway: impl Fn(&str) -> Command) {
    let rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    Person::register(&rig.bus, "eve").await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let sheet = ada.codes[0].clone();
    let tried = |lines: &[&str], is_in: bool, says: &str| {
        let (was_in, said) = typed(gateway(&url), lines);
        assert_eq!(was_in, is_in, "{said}");
        assert!(said.contains(says), "{said}");
    };
    tried(
        &["eve", PASSWORD],
        true,
        r#""eve" is signed in by "password""#,
    );
    tried(
        &["eve", "wrong password"],
        false,
        "refused: credentials.invalid",
    );
    let code = ada.phone().lasting();
    tried(
        &["ada", PASSWORD, &code],
        true,
        r#""ada" is signed in by "totp""#,
    );
    tried(&["ada", PASSWORD, &code], false, "refused: code.invalid");
    tried(
        &["ada", PASSWORD, &sheet],
        true,
        r#""ada" is signed in by "backup-code""#,
    );
    let events = ada.life().await;
    let logins = events
        .iter()
        .filter(|event| event["type"] == "login-started");
    assert_eq!(logins.count(), 4, "three of the gateway and one of `life`");
}
