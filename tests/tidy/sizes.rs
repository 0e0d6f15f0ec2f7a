//! Files have at most 400 lines, and lines at most 100 columns, except those that `long_lines.txt`
//! counts: a list that may only shrink. Clippy checks the length of functions (`clippy.toml`).

use std::collections::BTreeMap;

use crate::source::Source;

const FILE_LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;
const PLACES: &[&str] = &["src", "schemas/src", "projections/src"];
/// Each file that has long lines, and how many.
const LONG_LINES: &str = include_str!("long_lines.txt");

/// Finds files that are too long. Files of tests may be longer.
pub fn check(source: &Source, found: &mut Vec<String>) {
    let lines = source.text.lines().count();
    let is_ours = PLACES.iter().any(|place| source.is_in(place));
    if is_ours && !source.only_tests && lines > FILE_LINES_MAX {
        let what = format!("{lines} lines are over {FILE_LINES_MAX}: split the file by topic");
        found.push(source.at(0, &what));
    }
}

/// Compares every file with the list.
pub fn check_list(sources: &[Source], found: &mut Vec<String>) {
    check_widths(sources, LONG_LINES, found);
}

/// Finds files with more long lines than the list has, and numbers of the list that can go down.
fn check_widths(sources: &[Source], list: &str, found: &mut Vec<String>) {
    let mut listed: BTreeMap<&str, usize> = list
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(count, path)| (path, count.parse().unwrap()))
        .collect();
    for source in sources {
        let long: Vec<usize> = long_lines(source);
        let may = listed.remove(source.path.as_str()).unwrap_or(0);
        let what = match long.len() {
            many if many > may => format!(
                "{}: {many} lines are over {COLUMNS_MAX} columns and {may} may be: wrap one of {long:?}",
                source.path
            ),
            fewer if fewer < may => format!(
                "{}: {fewer} lines are over {COLUMNS_MAX} columns, {may} are in \
                 tests/tidy/long_lines.txt: lower the number, so that it does not grow again",
                source.path
            ),
            _ => continue,
        };
        found.push(what);
    }
    for path in listed.keys() {
        found.push(format!(
            "{path} is in tests/tidy/long_lines.txt but does not exist: remove it from the list"
        ));
    }
}

/// The long lines of a file. A text counts only as its quotes, so that no sentence is cut for its
/// width.
fn long_lines(source: &Source) -> Vec<usize> {
    let lines = source.text.lines().zip(source.code.lines()).enumerate();
    let long = lines.filter(|(_, (line, code))| width(line, code) > COLUMNS_MAX);
    long.map(|(nth, _)| nth + 1).collect()
}

/// Columns of a line without the insides of its texts, which are blank in its code.
fn width(line: &str, code: &str) -> usize {
    let shown = code.trim_end();
    let rest = line.get(shown.len()..).unwrap_or_default();
    let comment = if rest.trim_start().starts_with("//") {
        rest.chars().count()
    } else {
        0
    };
    let indent = shown.len() - shown.trim_start().len();
    // Every second part is the inside of a text, which counts as its two quotes.
    let outside: Vec<&str> = shown.trim_start().split('"').step_by(2).collect();
    let quotes = 2 * (outside.len() - 1);
    let columns: usize = quotes
        + outside
            .iter()
            .map(|part| part.chars().count())
            .sum::<usize>();
    if shown.is_empty() {
        comment
    } else {
        indent.min(COLUMNS_MAX / 2) + columns + comment
    }
}

#[test]
fn a_line_is_measured_without_its_texts_and_the_list_only_shrinks() {
    let text = "x".repeat(90);
    let long = format!(
        "let a = \"{text}{text}\";\n// {text}{text}\nlet a = \"b\"; // {text}\nlet {text} = {text};\n\
         let é = 1; // {}\n",
        "é".repeat(80)
    );
    let source = Source::new("src/x.rs", &long, false);
    assert_eq!(long_lines(&source), [2, 3, 4]);
    for (list, expected) in [
        ("3 src/x.rs\n", None),
        ("2 src/x.rs\n", Some("3 lines are over")),
        ("4 src/x.rs\n", Some("lower the number")),
        ("3 src/x.rs\n1 src/gone.rs\n", Some("does not exist")),
    ] {
        let mut found = Vec::new();
        check_widths(std::slice::from_ref(&source), list, &mut found);
        match expected {
            Some(words) => assert!(found.len() == 1 && found[0].contains(words), "{found:?}"),
            None => assert!(found.is_empty(), "{found:?}"),
        }
    }
}
