//! Compares the reference with the code: the generated files, `schemas/json/asyncapi.yaml` and
//! `docs/reference/exit-codes.md`, which `UPDATE_SCHEMAS=1 cargo test --test reference` rewrites,
//! and the tables that people write. `tests/blackbox/pages.rs` tests the metrics.
#![allow(clippy::unwrap_used)]

mod alerts;
mod asyncapi;
mod command_line;
mod configuration;
mod exit_codes;
mod policy;
mod requests;
mod tables;
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use countersign::bus::all_endpoints;
use serde_json::Value;

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The folder of the schemas that the document refers to.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/json");

/// The output of the program, without the environment variables of the tests.
fn binary_says(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NATS_") || text.starts_with("COUNTERSIGN_") {
            command.env_remove(&name);
        }
    }
    let output = command.args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_checked_in_asyncapi_document_is_the_generated_one() {
    is_in_force(
        "schemas/json/asyncapi.yaml",
        &yaml::written(&asyncapi::document()),
    );
}

/// Compares a file with its generated text; `UPDATE_SCHEMAS=1` rewrites the file first.
fn is_in_force(path: &str, generated: &str) {
    let file = Path::new(ROOT).join(path);
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        fs::write(&file, generated).unwrap();
    }
    let cure = "UPDATE_SCHEMAS=1 cargo test --test reference";
    assert_eq!(fs::read_to_string(file).unwrap(), generated, "{cure}");
}

/// Every `$ref` of a document.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                into.insert(reference.clone());
            }
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_endpoint_is_a_channel_and_every_reference_leads_somewhere() {
    let document = asyncapi::document();
    let channels = document["channels"].as_object().unwrap();
    for endpoint in all_endpoints() {
        let parameter = if endpoint.names_user() {
            "{user}"
        } else {
            "{id}"
        };
        let address = endpoint.subject().replace('*', parameter);
        let is_its_own = |channel: &Value| channel["address"] == address.as_str();
        assert!(channels.values().any(is_its_own), "{address}");
        let operation = &document["operations"][endpoint.name];
        assert_eq!(operation["bindings"]["nats"]["queue"], "countersign");
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        let leads = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => Path::new(FOLDER).join(&reference).exists(),
        };
        assert!(leads, "{reference}");
    }
}

#[test]
fn a_string_stays_a_string_in_yaml() {
    let value = serde_json::json!({
        "a": {"b": [], "c": {}, "no": "no", "n": 1},
        "list": [{"x": "1", "y\"": [true, null]}, "# no comment", "a: b"],
    });
    let expected = [
        "a:",
        "  b: []",
        "  c: {}",
        "  n: 1",
        "  no: \"no\"",
        "list:",
        "  - x: \"1\"",
        "    \"y\\\"\":",
        "      - true",
        "      - null",
        "  - \"# no comment\"",
        "  - \"a: b\"",
        "",
    ];
    assert_eq!(yaml::written(&value), expected.join("\n"));
}
