//! Finds constructs that must not be in the code: escapes, and postponed work. Clippy finds clocks
//! (`clippy.toml`), because it resolves imports.

use crate::source::{Source, words};

/// Finds constructs that must not be in the code. The words are put together so that this file is
/// not a finding.
pub fn check(source: &Source, found: &mut Vec<String>) {
    if !source.text.starts_with("//!") {
        found.push(source.at(
            0,
            "a file must begin with `//!`: say in one sentence what it is",
        ));
    }
    put_off(source, found);
    escapes(source, found);
    silenced(source, found);
}

/// Lints that this room cannot replace, and the one file that may read clocks.
const LINTS: &[&str] = &["disallowed_methods", "missing_errors_doc", "too_many_lines"];
const READS_CLOCKS: &str = "src/lib.rs";
/// The groups of these lints.
const GROUPS: &[&str] = &["all", "pedantic", "style", "warnings"];

fn silenced(source: &Source, found: &mut Vec<String>) {
    let is_ours = ["src", "schemas/src", "projections/src"]
        .iter()
        .any(|place| source.is_in(place));
    for (at, word) in words(&source.code).filter(|_| is_ours) {
        let may = source.path == READS_CLOCKS && word == LINTS[0];
        let before = &source.code[..at];
        let is_group = before.ends_with("clippy::") || before.ends_with("allow(");
        if LINTS.contains(&word) && !may || is_group && GROUPS.contains(&word) {
            let what = format!(
                "{word} is silenced: pass the time in, split the function, or document the errors"
            );
            found.push(source.at(at, &what));
        }
    }
}

fn put_off(source: &Source, found: &mut Vec<String>) {
    for mark in [concat!("FIX", "ME"), concat!("XX", "X")] {
        for (at, word) in words(&source.text) {
            if word == mark {
                found.push(source.at(at, "postponed work: do it, or file an issue"));
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
                "memory safety is not waived here: use a crate that is reviewed for it",
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
