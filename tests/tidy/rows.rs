//! The ids of attacks and requirements: each id that a source cites has one row in
//! `docs/explanation/threats.md` or `attacks.md`, and every test that a row names is a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::docs::{named, root};
use crate::source::Source;

const PAGES: &[&str] = &["docs/explanation/threats.md", "docs/explanation/attacks.md"];
/// The groups of ids of two digits, `C-13`; the harnesses are cited as `H1` to `H12`.
const GROUPS: &[&str] = &[
    "A", "B", "C", "D", "E", "J", "N", "P", "R", "RS", "S", "TM", "V", "X",
];
const HARNESSES: u8 = 12;

/// An id in the form of the pages: `C-13` of `C-13` and of the test's name `c13_…`, or `H5`.
fn id(word: &str, is_name: bool) -> Option<String> {
    let digits = word.find(|c: char| c.is_ascii_digit())?;
    let (group, number) = word.split_at(digits);
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let harness = || {
        number
            .parse()
            .is_ok_and(|nth: u8| (1..=HARNESSES).contains(&nth))
    };
    if group == "H" && harness() {
        return Some(word.into());
    }
    let group = if is_name {
        group.to_ascii_uppercase()
    } else {
        group.strip_suffix('-')?.to_owned()
    };
    let is_row = number.len() == 2 && GROUPS.contains(&group.as_str());
    is_row.then(|| format!("{group}-{number}"))
}

/// Every id that a source cites, in its comments and in the names of its functions.
fn cited(source: &Source) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    for (nth, line) in source.text.lines().enumerate() {
        if let Some((_, comment)) = line.split_once("//") {
            let words = comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            found.extend(words.filter_map(|word| Some((nth + 1, id(word, false)?))));
        }
        let name = line
            .trim_start()
            .trim_start_matches("async ")
            .strip_prefix("fn ");
        let prefix = name.and_then(|name| name.split_once('_'));
        found.extend(prefix.and_then(|(prefix, _)| Some((nth + 1, id(prefix, true)?))));
    }
    found
}

/// The rows of a page by their id, with the text of the row.
fn rows(text: &str) -> Vec<(String, &str)> {
    let row = |line| {
        let cell = str::strip_prefix(line, "| ")?.split(" |").next()?;
        Some((id(cell, false)?, line))
    };
    text.lines().filter_map(row).collect()
}

/// Ids that a page lists as never given out, void or for several nodes.
fn without_row(text: &str) -> BTreeSet<String> {
    let (_, list) = text
        .split_once("## Numbers without a row")
        .expect("the page has this list");
    let list = list.split("\n## ").next().unwrap_or(list);
    let rows = list.lines().filter_map(|line| line.strip_prefix("| "));
    let numbers = rows.filter_map(|row| row.split(" |").next());
    let words = numbers.flat_map(|numbers| numbers.split(", "));
    words.filter_map(|word| id(word, false)).collect()
}

/// The names of the tests of a file.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some(name) = name.filter(|_| std::mem::take(&mut is_test)) {
            found.insert(name.split('(').next().unwrap_or(name));
        }
    }
    found
}

/// The functions that a row names and that are not tests.
fn no_tests(row: &str) -> Vec<String> {
    let items = named(row)
        .into_iter()
        .filter(|(file, _)| file.ends_with(".rs"));
    let wrong = items.filter_map(|(file, items)| {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let name = items.last()?;
        (!tests_of(&text).contains(name)).then(|| format!("{file}::{name}"))
    });
    wrong.collect()
}

#[test]
fn every_id_that_a_source_cites_has_one_row_and_each_test_that_a_row_names_is_a_test() {
    let mut found = Vec::new();
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    let texts: Vec<_> = PAGES
        .iter()
        .map(|page| (*page, fs::read_to_string(root().join(page)).unwrap()))
        .collect();
    for (page, text) in &texts {
        for (id, row) in rows(text) {
            if known.insert(id.clone(), page).is_some() {
                found.push(format!("{page}: {id} has two rows"));
            }
            for name in no_tests(row) {
                found.push(format!("{page}: {id} names {name}, which is not a test"));
            }
        }
    }
    assert!(known.len() > 150, "only {} rows were found", known.len());
    let absent = without_row(&texts[0].1);
    for id in absent.iter().filter(|id| known.contains_key(*id)) {
        found.push(format!(
            "{}: {id} has a row, but is listed as a number without one",
            PAGES[0]
        ));
    }
    // The samples of this room have ids that do not exist; the catalogue lists absent ones.
    for source in crate::source::all()
        .iter()
        .filter(|s| !s.is_in("tests/tidy"))
    {
        for (line, id) in cited(source)
            .iter()
            .filter(|(_, id)| !known.contains_key(id))
        {
            found.push(format!(
                "{}:{line}: {id} has no row in {PAGES:?}",
                source.path
            ));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn ids_rows_and_tests_are_read_and_wrong_ones_are_found() {
    let text =
        "// C-13, T-10, C-5 and H5; V4.\nlet x = \"S-99\";\nasync fn rs01_x() {}\nfn t1_x() {}\n";
    let ids: Vec<_> = cited(&Source::new("src/x.rs", text, true))
        .into_iter()
        .collect();
    let expected = [(1, "C-13"), (1, "H5"), (3, "RS-01")];
    assert_eq!(ids, expected.map(|(line, id)| (line, id.to_owned())));
    let page =
        "| id | x |\n| C-01 | a |\n| H12 | b |\n## Numbers without a row\n| C-04, X-06 | y |\n";
    let ids: Vec<_> = rows(page).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["C-01", "H12"]);
    assert_eq!(without_row(page), ["C-04", "X-06"].map(Into::into).into());
    let here = "tests/tidy/rows.rs";
    let row =
        format!("`{here}::rows` `{here}::ids_rows_and_tests_are_read_and_wrong_ones_are_found`");
    assert_eq!(no_tests(&row), [format!("{here}::rows")]);
}
