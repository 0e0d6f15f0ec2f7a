//! The metrics that `docs/reference/metrics.md` lists, and those that a page of OpenMetrics emits.

use std::collections::BTreeSet;
use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");

/// A metric: the name of its sample, its type, and its labels.
pub(super) type Family = (String, String, BTreeSet<String>);

/// The metrics that `docs/reference/metrics.md` lists.
pub(super) fn listed() -> BTreeSet<Family> {
    let text = fs::read_to_string(PAGE).unwrap();
    let table = text.split("\n| metric | type | labels |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(Into::into).collect()
    };
    let family = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        // The values of a label follow a colon.
        let labels = cells[2].split(':').next().unwrap();
        let name = quoted(cells[0]).remove(0);
        (
            name,
            cells[1].to_owned(),
            quoted(labels).into_iter().collect(),
        )
    };
    rows.map(family).collect()
}

/// The metrics that a page of OpenMetrics emits.
pub(super) fn families(page: &str) -> BTreeSet<Family> {
    let types = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE countersign_"));
    let family = |line: &str| {
        let (family, kind) = line.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            _ => family.into(),
        };
        let is_sample = |line: &&str| {
            let rest = line
                .strip_prefix("countersign_")
                .and_then(|line| line.strip_prefix(&name));
            let bucket = rest.map(|rest| rest.strip_prefix("_bucket").unwrap_or(rest));
            bucket.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let samples = page.lines().filter(is_sample);
        let labels = samples.flat_map(|line| {
            let inside = line.split_once('{').map_or("", |(_, rest)| rest);
            let pairs = inside
                .split("=\"")
                .map(|part| part.rsplit([',', '{']).next().unwrap());
            pairs.filter(|name| !name.is_empty() && !name.contains(['"', '}', ' ']))
        });
        let labels = labels
            .filter(|name| *name != "le")
            .map(Into::into)
            .collect();
        (name, kind.to_owned(), labels)
    };
    types.map(family).collect()
}

#[test]
fn metrics_are_read_with_type_and_labels() {
    let page = "# TYPE countersign_a counter\ncountersign_a_total{x=\"1\",y=\"2 3\"} 4\n\
        # TYPE countersign_b histogram\ncountersign_b_bucket{e=\"a\",le=\"0.5\"} 1\n\
        # TYPE countersign_c gauge\ncountersign_c 1\ncountersign_cd{z=\"1\"} 1\n";
    let expected = [
        ("a_total", "counter", "x y"),
        ("b", "histogram", "e"),
        ("c", "gauge", ""),
    ];
    let expected = expected.map(|(name, kind, labels)| {
        let labels = labels.split_whitespace().map(Into::into).collect();
        (name.to_owned(), kind.to_owned(), labels)
    });
    assert_eq!(families(page), expected.into());
    assert!(listed().len() > 15);
}
