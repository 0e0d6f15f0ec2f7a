//! The exit codes as Markdown for people.

use std::fmt::Write;

use countersign::cli::fault::{EXIT_CODES, exit_code_of};
use countersign_schemas::refusal::ErrorCode;

fn document() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
         This page lists every exit code of `countersign` and what a script does about it, for authors of scripts.\n\
         [Refusals and faults](errors.md) has the titles of the words in the last column.\n\
         This page is generated from the Rust types by `UPDATE_SCHEMAS=1 cargo test --test reference`; changes \
         made by hand are overwritten.\n\n\
         | exit code | meaning | what to do | refusals and faults that end with it |\n|---|---|---|---|\n",
    );
    for (exit, meaning, cure) in EXIT_CODES {
        let words: Vec<_> = ErrorCode::ALL
            .iter()
            .filter(|code| exit_code_of(**code) == exit)
            .map(|code| format!("`{}`", code.as_str()))
            .collect();
        let words = words.join(", ");
        writeln!(text, "| {exit} | {meaning} | {cure} | {words} |").unwrap();
    }
    text
}

#[test]
fn the_checked_in_exit_codes_are_those_of_the_program() {
    super::is_in_force("docs/reference/exit-codes.md", &document());
}

/// The page would not list a refusal that ends with a code outside of the table.
#[test]
fn every_refusal_ends_with_a_code_of_the_table() {
    for code in ErrorCode::ALL.iter().copied() {
        let exit = exit_code_of(code);
        assert!(EXIT_CODES.iter().any(|(known, _, _)| *known == exit));
        assert_ne!(exit, 0, "{}", code.as_str());
    }
}
