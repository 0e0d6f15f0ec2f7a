//! Standard output that nobody reads to its end, or that cannot be written.

use std::fs::OpenOptions;
use std::process::{Output, Stdio};

use super::support::site::binary;

const COMMANDS: [&[&str]; 6] = [
    &["completions", "bash"],
    &["man"],
    &["schema", "ls"],
    &["policy", "explain"],
    &["config", "show"],
    &["--help"],
];

fn run(words: &[&str], stdout: Stdio) -> Output {
    let mut command = binary();
    command.args(words).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_read_enough_is_no_fault() {
    for words in COMMANDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = run(words, writer.into());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(
            (ran.status.code(), said.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
}

#[test]
fn a_full_disk_is_a_fault_in_one_line() {
    // What clap prints by itself it does not look after.
    for words in &COMMANDS[..5] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = run(words, full.into());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{words:?} {said}");
        assert!(said.starts_with("countersign: No space left"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
