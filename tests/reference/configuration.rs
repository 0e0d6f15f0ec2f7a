//! `docs/reference/configuration.md` has every key of the file, with its default, and the variable
//! and the flag that `serve` has for it.

use std::collections::BTreeMap;

use clap::CommandFactory;
use countersign::cli::Cli;
use serde_json::Value;

use super::binary_says;
use super::tables::{page, quoted, tables};

const PAGE: &str = "reference/configuration.md";
/// Keys without a default value, and the page's text about them.
const DERIVED: &[(&str, &str)] = &[
    ("directory.timeout_ms", "2000"),
    ("directory.vouching", "every caller"),
    ("nats.inbox_prefix", "`_INBOX.<user>` if a user is known"),
];

/// Every key that the program knows, with its default.
fn known() -> BTreeMap<String, Value> {
    let shown: Value = serde_json::from_str(&binary_says(&["config", "show", "--json"])).unwrap();
    let settings = shown["settings"].as_array().unwrap();
    let pairs = settings.iter().map(|setting| {
        assert_eq!(setting["origin"], "default", "{setting}");
        let name = setting["name"].as_str().unwrap().to_owned();
        (name, setting["value"].clone())
    });
    pairs.collect()
}

/// Whether a cell shows this default.
fn is_default(key: &str, cell: &str, value: &Value) -> bool {
    if value.is_null() {
        let derived = DERIVED.iter().find(|(known, _)| *known == key);
        return match derived {
            Some((_, words)) => cell == *words,
            None => cell.starts_with("none"),
        };
    }
    let text = format!("x = {}", cell.trim_matches('`'));
    let parsed: Option<toml::Table> = toml::from_str(&text).ok();
    parsed.is_some_and(|table| serde_json::to_value(&table["x"]).unwrap() == *value)
}

/// The arguments of `serve` by their flag: the variable of each.
fn serve() -> BTreeMap<String, Option<String>> {
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let name = |env: &std::ffi::OsStr| env.to_str().unwrap().to_owned();
    let arguments = serve.get_arguments().filter_map(|argument| {
        let flag = format!("--{}", argument.get_long()?);
        Some((flag, argument.get_env().map(name)))
    });
    arguments.collect()
}

#[test]
fn the_page_has_every_key_of_the_file_with_its_default_variable_and_flag() {
    let (mut left, serve) = (known(), serve());
    // These keys have a page of their own.
    left.retain(|key, _| !key.starts_with("policy."));
    for table in tables(&page(PAGE)).iter().filter(|table| table.has("key")) {
        let section = table.heading.trim_matches(['`', '[', ']']);
        for row in &table.rows {
            let cell = |column| table.cell(row, column).unwrap();
            for key in quoted(cell("key")) {
                let key = format!("{section}.{key}");
                let value = left.remove(&key);
                let value = value.unwrap_or_else(|| panic!("{key} is no key, or has two rows"));
                let default = cell("default").split(", required").next().unwrap();
                assert!(
                    is_default(&key, default, &value),
                    "{key}: {default}, {value}"
                );
            }
            let list = |column| quoted(table.cell(row, column).unwrap_or_default());
            let (flags, variables) = (list("flag"), list("variable"));
            let of_flags: Vec<&str> = flags
                .iter()
                .filter_map(|flag| serve[*flag].as_deref())
                .collect();
            assert_eq!(variables, of_flags, "{section}: {row:?}");
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn another_default_is_found() {
    assert!(
        is_default("a.b", "`\"x\"`", &"x".into()) && !is_default("a.b", "`\"y\"`", &"x".into())
    );
    assert!(is_default("a.b", "none", &Value::Null) && !is_default("a.b", "1", &Value::Null));
    assert!(is_default("a.b", "`true`", &true.into()) && !is_default("a.b", "none", &true.into()));
}
