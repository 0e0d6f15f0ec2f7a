//! `docs/reference/policy.md` matches the code: every key with default and range, and the odds that
//! `policy explain` computes.

use std::collections::BTreeMap;

use countersign::account::Policy;
use serde_json::{Value, json};

use super::binary_says;
use super::tables::{page, quoted, tables};

const PAGE: &str = "reference/policy.md";
/// Values of which at least one is outside of each range.
const OUTSIDE: &[u64] = &[0, 255, 65_535, 4_294_967_295, i64::MAX as u64];

/// The code's error about a number outside of its range; `None` if the code accepts the number.
fn refused(key: &str, value: u64) -> Option<String> {
    let mut policy = serde_json::to_value(Policy::default()).unwrap();
    policy[key] = json!(value);
    let policy: Policy = serde_json::from_value(policy).ok()?;
    let said = policy.check().err()?.to_string();
    let rest = said.strip_prefix(&format!("[policy] {key} is out of range: it must be "))?;
    Some(rest.into())
}

/// Finds a written bound of a range that differs from the code.
fn wrong_bound(key: &str, range: &str) -> Option<String> {
    let (low, high) = match range.split_once(" to ") {
        Some((low, high)) => (low.parse::<u64>().ok(), high.parse::<u64>().ok()),
        None => (range.strip_suffix(" or more")?.parse().ok(), None),
    };
    let inside = low.into_iter().chain(high);
    let below = low.and_then(|low| low.checked_sub(1));
    let outside = below.into_iter().chain(high.map(|high| high + 1));
    let wrong_inside = inside.filter(|value| refused(key, *value).is_some());
    // A number cannot pass the bound of its type.
    let is_taken = |value: &u64| {
        let mut policy = serde_json::to_value(Policy::default()).unwrap();
        policy[key] = json!(value);
        serde_json::from_value::<Policy>(policy).is_ok() && refused(key, *value).is_none()
    };
    let mut wrong = wrong_inside.chain(outside.filter(is_taken));
    wrong
        .next()
        .map(|value| format!("{key}: {range}, and {value}"))
}

#[test]
fn the_page_has_every_key_of_the_policy_with_its_default_and_its_range() {
    let defaults = serde_json::to_value(Policy::default()).unwrap();
    let defaults = defaults.as_object().unwrap();
    let mut listed: BTreeMap<String, (String, String)> = BTreeMap::new();
    for table in tables(&page(PAGE)).iter().filter(|table| table.has("key")) {
        for row in &table.rows {
            let cell = |column| table.cell(row, column).unwrap().to_owned();
            let key = quoted(&cell("key"))[0].to_owned();
            let default = cell("default").split(" (").next().unwrap().to_owned();
            let range = cell("range").replace('`', "");
            assert!(
                listed.insert(key.clone(), (default, range)).is_none(),
                "{key} twice"
            );
        }
    }
    let keys = |of: Vec<&String>| of.into_iter().cloned().collect::<Vec<_>>();
    let mut known = keys(defaults.keys().collect());
    known.sort();
    assert_eq!(keys(listed.keys().collect()), known, "keys of {PAGE}");
    for (key, (default, range)) in &listed {
        assert_eq!(*default, defaults[key].to_string(), "the default of {key}");
        let in_code = match defaults[key] {
            Value::Bool(_) => "true, false".into(),
            _ => OUTSIDE
                .iter()
                .find_map(|value| refused(key, *value))
                .unwrap(),
        };
        assert_eq!(*range, in_code, "the range of {key}");
        assert_eq!(wrong_bound(key, range), None);
    }
}

/// Whether a number of the page is this one, at the digits that the page shows.
fn is_shown(cell: &str, value: f64) -> bool {
    let text = cell.replace(['*', ','], "");
    let (text, value) = match text.strip_suffix(" %") {
        Some(text) => (text, value * 100.0),
        None => (text.as_str(), value),
    };
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, digits)| digits.len());
    match text.split_once('e') {
        Some((mantissa, _)) => format!("{value:.*e}", decimals(mantissa)) == text,
        None => format!("{value:.*}", decimals(text)) == text,
    }
}

#[test]
fn the_odds_of_the_page_are_those_that_the_program_computes() {
    let explained: Value =
        serde_json::from_str(&binary_says(&["policy", "explain", "--json"])).unwrap();
    let text = page(PAGE);
    let tables = tables(&text);
    let table = tables
        .iter()
        .find(|table| table.has("odds per account"))
        .unwrap();
    let limits = explained["limits"].as_array().unwrap();
    for row in &table.rows {
        let cell = |column| table.cell(row, column).unwrap();
        let limit = match cell("limit") {
            "**Countersign's default**" => "this policy",
            "the same, support clears the attempts whenever it may" => "same, support clears",
            usual => usual.split(" (").next().unwrap(),
        };
        let owner = match cell("owner logs in") {
            "never" => "away",
            daily => daily,
        };
        let is_row = |row: &&Value| {
            let name = row["limit"].as_str().unwrap();
            (name == limit || name.split(" (").next() == Some(limit)) && row["owner"] == owner
        };
        let computed = limits.iter().find(is_row);
        let computed = computed.unwrap_or_else(|| panic!("no {limit} for {owner}: {limits:?}"));
        let mut columns = vec![
            ("single codes", "singles"),
            ("odds per account", "odds"),
            ("falls among 10,000 accounts", "expected_in_10000"),
        ];
        columns.extend((cell("pairs") != "–").then_some(("pairs", "pairs")));
        for (column, name) in columns {
            let value = computed[name].as_f64().unwrap();
            assert!(
                is_shown(cell(column), value),
                "{limit}, {owner}, {column}: {value}"
            );
        }
    }
    let ours = limits.iter().filter(|row| row["limit"] == "this policy");
    assert_eq!(ours.count(), 2);
    for name in ["odds_max", "backup_code_odds"] {
        let value = format!("{:.1e}", explained[name].as_f64().unwrap());
        assert!(text.contains(&value), "{name} is {value}");
    }
}

#[test]
fn a_wrong_range_and_wrong_odds_are_found() {
    assert_eq!(wrong_bound("window_steps", "1 to 2"), None);
    for range in ["0 to 2", "1 to 3", "2 to 2", "1 to 1", "2 or more"] {
        assert!(wrong_bound("window_steps", range).is_some(), "{range}");
    }
    assert!(is_shown("**3.0e-5**", 2.96e-5) && !is_shown("3.1e-5", 2.96e-5));
    assert!(is_shown("6.3 %", 0.0628) && !is_shown("6.4 %", 0.0628) && is_shown("10,000", 9999.6));
}
