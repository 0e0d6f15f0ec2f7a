//! Compares known holes with the code: each row of `docs/explanation/known-holes.md` with a mark
//! has a comment `// BUG: mark: …` in the file that the row names, and each comment has its row.

use std::collections::BTreeSet;
use std::fs;

use crate::docs::{named, root};
use crate::source::Source;

const PAGE: &str = "docs/explanation/known-holes.md";
/// Put together, so that this file has no such comment.
const COMMENT: &str = concat!("// BU", "G:");

/// A mark and its file.
type Hole = (String, String);

/// The holes of the page; a hole outside of the code has no mark.
fn of_page(text: &str, found: &mut Vec<String>) -> BTreeSet<Hole> {
    let mut holes = BTreeSet::new();
    let mut is_marked = false;
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            is_marked = false;
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        let mark = cells[0].trim_matches([' ', '`']);
        if mark == "mark" {
            is_marked = true;
        } else if is_marked && mark != "–" && !mark.starts_with('-') {
            let files = named(cells.get(2).copied().unwrap_or_default());
            if files.is_empty() {
                found.push(format!("{PAGE}: {mark} names no file"));
            }
            holes.extend(
                files
                    .into_iter()
                    .map(|(file, _)| (mark.into(), file.into())),
            );
        }
    }
    holes
}

/// The holes that a source marks.
fn of_source(source: &Source, found: &mut Vec<String>) -> BTreeSet<Hole> {
    let mut holes = BTreeSet::new();
    for (at, _) in source.text.match_indices(COMMENT) {
        let line = source.text[at..].lines().next().unwrap_or_default();
        match line[COMMENT.len()..].split_once(": ") {
            Some((mark, why)) if !why.is_empty() && !mark.trim().contains(' ') => {
                holes.insert((mark.trim().to_owned(), source.path.clone()));
            }
            _ => found.push(source.at(at, &format!("write `{COMMENT} mark: what is wrong`"))),
        }
    }
    holes
}

fn compare(page: &BTreeSet<Hole>, code: &BTreeSet<Hole>, found: &mut Vec<String>) {
    for (mark, file) in page.difference(code) {
        found.push(format!(
            "{PAGE}: {mark} has no `{COMMENT} {mark}: …` in {file}"
        ));
    }
    for (mark, file) in code.difference(page) {
        found.push(format!(
            "{file}: {mark} has no row with this file in {PAGE}"
        ));
    }
}

#[test]
fn every_hole_of_the_code_is_marked_at_its_place_and_every_mark_is_a_known_hole() {
    let mut found = Vec::new();
    let text = fs::read_to_string(root().join(PAGE)).unwrap();
    let page = of_page(&text, &mut found);
    assert!(page.len() > 20, "only {} holes were found", page.len());
    // This room has sample marks.
    let sources = crate::source::all();
    let code = sources
        .iter()
        .filter(|source| !source.is_in("tests/tidy"))
        .flat_map(|source| of_source(source, &mut found))
        .collect();
    compare(&page, &code, &mut found);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_hole_without_a_mark_and_a_mark_without_a_hole_are_found() {
    let mut found = Vec::new();
    let page = "| hole | x |\n| a | b |\n\n| mark | hole | place | x |\n|---|---|---|---|\n\
        | `a-b` | h | `src/x.rs`, `src/y.rs` | – |\n| – | w | `src/z.rs` | – |\n| `c` | h | – | – |\n";
    let page = of_page(page, &mut found);
    assert_eq!((page.len(), found.len()), (2, 1), "{found:?}");
    let text = format!("{COMMENT} a-b: why\n{COMMENT} d: why\n{COMMENT} later\n");
    let code = of_source(&Source::new("src/x.rs", &text, false), &mut found);
    compare(&page, &code, &mut found);
    assert_eq!(found.len(), 4, "{found:?}");
}
