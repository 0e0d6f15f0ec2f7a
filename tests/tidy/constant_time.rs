//! Comparisons of secrets run in constant time, without an early end.
//!
//! A clock cannot test this on a busy machine, so this test reads the source: the functions that
//! compare a guess with a secret call `ct_eq` and have no early end, and no other code in the rooms
//! with secrets compares them.

use crate::source::{Source, closing, words};

/// The functions that compare guesses, and their files.
const COMPARING: &[(&str, &str)] = &[
    ("src/crypto/otp.rs", "matching_steps"),
    ("src/crypto/password.rs", "verify"),
];
/// Words that end a comparison early, or branch on a part of it.
const EARLY_ENDS: &[&str] = &[
    "return", "break", "find", "any", "all", "position", "if", "while",
];
/// Accessors that return the bytes of a secret; only `ct_eq` may compare these.
const SECRET_BYTES: &[&str] = &[".digits()", ".canonical()", "verifier.hash"];

/// Finds comparisons of secrets that could end early.
pub fn check(source: &Source, found: &mut Vec<String>) {
    for (path, name) in COMPARING.iter().filter(|(path, _)| source.path == *path) {
        match body_of(&source.product, name) {
            Some((at, body)) => check_body(source, at, body, found),
            None => found.push(format!(
                "{path}: there is no fn {name}: list the function that compares now"
            )),
        }
    }
    if source.is_in("src/crypto") {
        check_operators(source, found);
    }
}

fn check_body(source: &Source, at: usize, body: &str, found: &mut Vec<String>) {
    if !body.contains(".ct_eq(") {
        found.push(source.at(
            at,
            "a guess is compared without ct_eq: its time reveals how much is right",
        ));
    }
    for (offset, word) in words(body) {
        if EARLY_ENDS.contains(&word) {
            let what =
                format!("`{word}` in a comparison of secrets can end it early: compare all of it");
            found.push(source.at(at + offset, &what));
        }
    }
}

fn check_operators(source: &Source, found: &mut Vec<String>) {
    let code = &source.product;
    for operator in [" == ", " != "] {
        for (at, _) in code.match_indices(operator) {
            let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = code[at..].find('\n').map_or(code.len(), |end| at + end);
            if SECRET_BYTES
                .iter()
                .any(|bytes| code[line..end].contains(bytes))
            {
                found.push(source.at(
                    at,
                    "the bytes of a secret are compared by an operator: use ct_eq",
                ));
            }
        }
    }
}

/// Where the body of a function begins, and the body.
fn body_of<'a>(code: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let at = code.find(&format!("fn {name}("))?;
    let open = at + code[at..].find('{')?;
    Some((open, &code[open..closing(code, open)]))
}
