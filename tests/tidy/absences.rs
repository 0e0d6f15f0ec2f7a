//! What must not be there: clocks, escapes, and work that is put off.

use crate::source::{Source, words};

/// Where the clock may be read; everywhere else time is an argument.
const CLOCK_ROOMS: &[&str] = &["src/engine", "src/main.rs", "src/cli", "src/dev"];
/// What reads a clock.
const CLOCKS: &[&str] = &[
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "Instant::now",
    "Uuid::now_v7",
];

/// Finds what must not be there. The words are put together so that this file is no finding.
pub fn check(source: &Source, found: &mut Vec<String>) {
    if !source.text.starts_with("//!") {
        found.push(source.at(
            0,
            "a file begins with `//!`: say in one sentence what it is",
        ));
    }
    put_off(source, found);
    escapes(source, found);
    if !CLOCK_ROOMS.iter().any(|place| source.is_in(place)) {
        for clock in CLOCKS {
            for (at, _) in source.product.match_indices(clock) {
                let what =
                    format!("{clock} outside the engine and main: take the time as an argument");
                found.push(source.at(at, &what));
            }
        }
    }
}

fn put_off(source: &Source, found: &mut Vec<String>) {
    for mark in [concat!("FIX", "ME"), concat!("XX", "X")] {
        for (at, word) in words(&source.text) {
            if word == mark {
                found.push(source.at(at, "work that is put off: do it, or file an issue"));
            }
        }
    }
    for call in [concat!("todo", "!"), concat!("unimplemented", "!")] {
        for (at, _) in source.code.match_indices(call) {
            found.push(source.at(at, "an unwritten branch: write it, or refuse the input"));
        }
    }
    for (attribute, cure) in [
        (
            concat!("#[ig", "nore"),
            "a test that does not run: make it quick, or a documented command",
        ),
        (
            concat!("#[should", "_panic"),
            "a test that only expects a panic: assert what is returned",
        ),
    ] {
        for (at, _) in source.code.match_indices(attribute) {
            found.push(source.at(at, cure));
        }
    }
}

fn escapes(source: &Source, found: &mut Vec<String>) {
    for (at, word) in words(&source.code) {
        if word == concat!("un", "safe") {
            found.push(source.at(
                at,
                "memory safety is not ours to waive: use a crate that is reviewed for it",
            ));
        }
    }
    for (at, _) in source.product.match_indices(concat!(".un", "wrap()")) {
        found.push(source.at(
            at,
            "a panic without a reason: return the error, or expect(\"the invariant\")",
        ));
    }
}
