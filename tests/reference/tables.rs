//! The tables of a page, as rows of cells.

use std::fs;
use std::path::Path;

/// A table: the heading that it is under, the names of its columns, and its rows.
#[derive(Debug, Clone)]
pub struct Table {
    pub heading: String,
    columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The cell of a row in the column of that name; `None` if the table has no such column.
    pub fn cell<'a>(&self, row: &'a [String], column: &str) -> Option<&'a str> {
        let at = self.columns.iter().position(|name| name == column)?;
        row.get(at).map(String::as_str)
    }

    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }
}

/// A page of `docs/`.
pub fn page(name: &str) -> String {
    fs::read_to_string(Path::new(super::ROOT).join("docs").join(name)).unwrap()
}

/// The tables of a text, in order.
pub fn tables(text: &str) -> Vec<Table> {
    let mut found: Vec<Table> = Vec::new();
    let (mut heading, mut is_open) = (String::new(), false);
    for line in text.lines() {
        let cells = cells(line);
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().into();
        }
        match cells {
            None => is_open = false,
            Some(cells) if !is_open => {
                is_open = true;
                found.push(Table {
                    heading: heading.clone(),
                    columns: cells,
                    rows: Vec::new(),
                });
            }
            Some(cells) if cells.iter().all(|cell| cell.trim_matches('-').is_empty()) => {}
            Some(cells) => {
                let table = found.last_mut().unwrap();
                assert_eq!(cells.len(), table.columns.len(), "{line}");
                table.rows.push(cells);
            }
        }
    }
    found
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let marked = inner.replace("\\|", "\u{0}");
    let cells = marked
        .split('|')
        .map(|cell| cell.trim().replace('\u{0}', "|"));
    Some(cells.collect())
}

/// The texts of a cell in backticks.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn tables_are_read_with_their_headings() {
    let text = "# A\n| x | y |\n|---|---|\n| `a`, `b` | c \\| d |\n\n## B\n| z |\n|-|\n";
    let found = tables(text);
    assert_eq!((found.len(), found[1].heading.as_str()), (2, "B"));
    let row = &found[0].rows[0];
    assert_eq!(found[0].cell(row, "y"), Some("c | d"));
    assert_eq!(quoted(found[0].cell(row, "x").unwrap()), ["a", "b"]);
}
