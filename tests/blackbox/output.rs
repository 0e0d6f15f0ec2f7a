//! Standard output that no program reads to its end, or that cannot be written.

use std::fs::{self, OpenOptions};
use std::process::{Output, Stdio};

use super::support::site::binary;

const COMMANDS: [&[&str]; 5] = [
    &["completions", "bash"],
    &["man"],
    &["schema", "ls"],
    &["policy", "explain"],
    &["config", "show"],
];

fn run(words: &[&str], stdout: Stdio) -> Output {
    let mut command = binary();
    command.args(words).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// Quiet like any command before `head`, but not a success, because the exit code can be a verdict.
#[test]
fn a_reader_that_ends_early_causes_no_message() {
    for words in COMMANDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = run(words, writer.into());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(
            (ran.status.code(), said.as_str()),
            (Some(1), ""),
            "{words:?}"
        );
    }
}

#[test]
fn a_full_disk_is_a_fault_in_one_line() {
    for words in COMMANDS {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = run(words, full.into());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{words:?} {said}");
        assert!(said.starts_with("countersign: No space left"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_verdict_that_no_program_reads_is_not_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    fs::write(&export, "no manifest\n").unwrap();
    let file = export.to_str().unwrap();
    let words = ["audit", "verify", "--json", "--export", file, "--key", "x"];
    assert_eq!(run(&words, Stdio::null()).status.code(), Some(6));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_ne!(run(&words, writer.into()).status.code(), Some(0));
}
