//! Files of at most 400 lines, functions of at most 70.

use crate::source::{Source, closing, words};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const PLACES: &[&str] = &["src", "schemas/src", "projections/src"];

/// Finds files and functions that are too long. A file of tests may be longer.
pub fn check(source: &Source, found: &mut Vec<String>) {
    if !PLACES.iter().any(|place| source.is_in(place)) {
        return;
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX && !source.only_tests {
        let what = format!("{lines} lines are over {FILE_LINES_MAX}: split the file by topic");
        found.push(source.at(0, &what));
    }
    for (at, word) in words(&source.code) {
        let Some(body) = body(&source.code, at).filter(|_| word == "fn") else {
            continue;
        };
        let lines = source.code[at..closing(&source.code, body)].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let what =
                format!("a function of {lines} lines is over {FUNCTION_LINES_MAX}: name its parts");
            found.push(source.at(at, &what));
        }
    }
}

/// Where the body of the function that begins here opens; none for a declaration or a type.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' if depth == 0 => return None,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' | b',' | b'=' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
