//! `json/` and two pages of `docs/reference/`: generated from the Rust types, checked in, and rewritten by
//! `UPDATE_SCHEMAS=1`.
//!
//! Before the first release a schema may change; afterwards a change that is not an added
//! optional field is a `v2` beside `v1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use countersign_schemas::catalogue;
use countersign_schemas::event::Event;
use countersign_schemas::refusal::ErrorCode;

use crate::files::{crate_folder, none, readable};
use crate::payload_source::described_fields;
use crate::registered::latest_events;

/// Every file of `json/` with what it has to hold.
fn generated() -> BTreeMap<String, Vec<u8>> {
    catalogue::documents()
        .into_iter()
        .map(|(name, document)| (format!("{name}.json"), escaped(&readable(&document))))
        .collect()
}

/// The generated pages of the documentation with what they have to hold.
fn pages() -> [(PathBuf, String); 2] {
    let folder = crate_folder().join("../docs/reference");
    [
        (folder.join("errors.md"), errors()),
        (folder.join("events.md"), events()),
    ]
}

/// JSON in ASCII: the patterns hold invisible characters.
fn escaped(json: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for c in std::str::from_utf8(json).unwrap().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(text, "\\u{unit:04x}").unwrap();
            }
        }
    }
    text.into_bytes()
}

const GENERATED: &str = "This page is generated from the Rust types by `UPDATE_SCHEMAS=1 cargo test -p countersign-schemas --test golden`; \
                         changes made by hand are overwritten.";

/// What a reader of the table of errors needs beside it.
const REMARKS: [&str; 4] = [
    "`code.second_required`: the same request succeeds only once enough of the wrong codes are older than 30 days. Ask the user for two consecutive codes, and send both with a new command id.",
    "`version.conflict`: reserved; this build does not send it.",
    "`approval.self`: another agent must do this, because it is the agent's own request or own account. `detail` says which.",
    "`directory.unavailable`: the directory is the password service of `[directory]`.",
];

fn errors() -> String {
    let mut text = format!(
        "# Refusals and faults\n\n\
         This page lists every word that a refusal (4xx) or a fault (5xx) can carry, for developers of clients.\n\
         The header `Countersign-Error` and the member `code` of the body carry the word; \
         `schemas/json/problem.json` describes the body, and [Contract](contract.md) says how to read both.\n\
         {GENERATED}\n\n\
         | code | status | same request can succeed later | title |\n|---|---|---|---|\n"
    );
    for code in ErrorCode::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        writeln!(
            text,
            "| `{}` | {} | {retry} | {} |",
            code.as_str(),
            code.status(),
            // A page would take the placeholder for a tag of HTML.
            code.title().replace('<', "&lt;")
        )
        .unwrap();
    }
    text.push_str("\nWhat the table does not say:\n\n");
    for remark in REMARKS {
        writeln!(text, "- {remark}").unwrap();
    }
    text
}

fn events() -> String {
    let mut text = format!(
        "# Events\n\n\
         This page lists every event of the log, for auditors and for developers who read the log or the published stream.\n\
         `data` holds what an auditor and a subscriber see of an event; the stored fields are the payload of its record. \
         `schemas/json/audit-event.json` describes the form that auditors read, and \
         [Published events](events-published.md) the messages of the stream.\n\
         {GENERATED}\n"
    );
    let described = described_fields();
    for (form, event) in latest_events() {
        let published = if event.is_published() {
            "published"
        } else {
            "not published"
        };
        let (name, version) = (form.name, form.version);
        let payload = format!("{event:?}");
        let payload = payload
            .split('(')
            .next()
            .expect("Debug begins with the variant");
        let (sentence, fields) = &described[&format!("v{version}::{payload}")];
        writeln!(text, "\n## {name}\n\n{sentence}\n").unwrap();
        writeln!(
            text,
            "Type {}, version {version}, {published}; {}.\n",
            form.event_type,
            data_members(&event)
        )
        .unwrap();
        writeln!(text, "| stored field | type | meaning |\n|---|---|---|").unwrap();
        for (field, kind, meaning) in fields {
            writeln!(text, "| `{field}` | `{kind}` | {meaning} |").unwrap();
        }
    }
    text
}

fn data_members(event: &Event) -> String {
    let data = event.data();
    let names = data.as_object().expect("data is an object").keys();
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("`data` has {}", names.join(", "))
}

/// A field that the list leaves out could not be stored: it would still be clear.
#[test]
fn the_list_of_events_names_every_protected_field() {
    let described = described_fields();
    let mut findings = Vec::new();
    for (_, mut event) in crate::event_cases::cases() {
        let (name, version) = (event.name(), event.schema_version());
        let shown = format!("{event:?}");
        let payload = shown
            .split('(')
            .next()
            .expect("Debug begins with the variant");
        let (_, fields) = &described[&format!("v{version}::{payload}")];
        let is_protected = |field: &&(String, String, String)| field.1.contains("Protected");
        let is_there =
            |field: &&(String, String, String)| !shown.contains(&format!("{}: None", field.0));
        let expected = fields.iter().filter(is_protected).filter(is_there).count();
        if event.protected().len() != expected {
            findings.push(format!("{name}: {expected} protected fields are there"));
        }
    }
    none(findings);
}

#[test]
fn the_page_of_published_events_names_those_that_are_not() {
    let page = include_str!("../../../docs/reference/events-published.md");
    let (_, rest) = page.split_once("Not published are ").expect("a sentence");
    let (sentence, _) = rest.split_once(".\n").expect("a sentence ends");
    let named: BTreeSet<&str> = sentence.split('`').skip(1).step_by(2).collect();
    let kept = latest_events().into_iter();
    let kept = kept.filter(|(_, event)| !event.is_published());
    let kept: BTreeSet<&str> = kept.map(|(_, event)| event.name()).collect();
    assert_eq!(named, kept);
}

#[test]
fn the_checked_in_documents_are_the_generated_ones() {
    let folder = crate_folder().join("json");
    let (generated, pages) = (generated(), pages());
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in &generated {
            fs::write(folder.join(name), content).unwrap();
        }
        for (page, content) in &pages {
            fs::write(page, content).unwrap();
        }
    }
    let cure = "UPDATE_SCHEMAS=1 cargo test -p countersign-schemas --test golden";
    let mut findings = Vec::new();
    for (name, content) in &generated {
        if fs::read(folder.join(name)).ok().as_ref() != Some(content) {
            findings.push(format!("json/{name} is not what the types say: {cure}"));
        }
    }
    for (page, content) in &pages {
        if fs::read_to_string(page).ok().as_ref() != Some(content) {
            let page = page.display();
            findings.push(format!("{page} is not what the types say: {cure}"));
        }
    }
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // It has a generator where the endpoints are.
        if !generated.contains_key(&name) && name != "asyncapi.yaml" {
            findings.push(format!("json/{name} is generated from nothing: remove it"));
        }
    }
    none(findings);
}
