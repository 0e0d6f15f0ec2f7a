//! No event is built outside `account/`: only the rules decide what happened.

use countersign_schemas::event::Event;

use crate::source::{Source, closing, words};

/// Finds expressions that make an event. A mention is a pattern where the bracket is followed by
/// what follows patterns (`=>`, `|`, `if`, `=`), or where it holds what only patterns hold
/// (nothing but `_`, or `..`).
pub fn check(source: &Source, found: &mut Vec<String>) {
    let held = source.is_in("src") || source.is_in("projections/src");
    if !held || source.is_in("src/account") {
        return;
    }
    let code = &source.product;
    for (at, word) in words(code) {
        let Some(rest) = code[at..]
            .strip_prefix("Event::")
            .filter(|_| word == "Event")
        else {
            if word == "Event" && code[at..].starts_with("Event as ") {
                found.push(source.at(
                    at,
                    "do not rename Event, so that this test finds the code that makes one",
                ));
            }
            continue;
        };
        let name = words(rest)
            .next()
            .filter(|(offset, _)| *offset == 0)
            .map_or("*", |(_, name)| name);
        let is_variant = name == "*" || is_ours(name);
        let after = at + "Event::".len() + name.len();
        if is_variant && !is_pattern(code, after) {
            let what = format!("Event::{name} is made here: events are made in src/account only");
            found.push(source.at(at, &what));
        }
    }
}

/// Whether the list of events has the name: the broker's client has an `Event` too.
fn is_ours(name: &str) -> bool {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    Event::ALL.iter().any(|(_, _, known)| *known == kebab)
}

fn is_pattern(code: &str, open: usize) -> bool {
    if !code[open..].starts_with('(') {
        return false;
    }
    let end = closing(code, open);
    let content = code[open + 1..end - 1].trim();
    if content == "_" || content == ".." {
        return true;
    }
    let rest = code[end..].trim_start_matches(|c: char| c == ')' || c.is_whitespace());
    let assigns = rest.starts_with('=') && !rest.starts_with("==");
    assigns || rest.starts_with('|') && !rest.starts_with("||") || rest.starts_with("if ")
}
