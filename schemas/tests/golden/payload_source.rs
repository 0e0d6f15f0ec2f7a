//! Payloads are plain: no serde attribute, no type of another crate, nothing written by hand.
//!
//! postcard is not self-describing, so what an attribute or a foreign type does to the bytes shows
//! in no name; the source of `src/event/` is therefore read line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::files::{crate_folder, none};

/// Types that a payload may hold beside those that the event modules declare.
const PLAIN: &[&str] = &[
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "i8",
    "i16",
    "i32",
    "i64",
    "String",
    "Option",
    "Vec",
    "Protected",
    "Micros",
];
const USES: &[&str] = &[
    "use serde::{Deserialize, Serialize};",
    "use crate::sealed::Protected;",
    "use crate::time::Micros;",
];
/// Not payloads: the list of events, what auditors see of them, and how earlier forms are read.
const NOT_PAYLOADS: &[&str] = &["mod.rs", "public.rs", "upcast.rs"];

/// Name and source of each payload module.
fn sources() -> Vec<(String, String)> {
    let folder = crate_folder().join("src/event");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !NOT_PAYLOADS.contains(&name.as_str()) {
            found.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty() && !word.bytes().all(|b| b.is_ascii_digit()))
}

/// The names of the structs and enums that a source declares.
fn declared(source: &str) -> impl Iterator<Item = String> {
    source.lines().filter_map(|line| {
        let line = line.trim();
        let heading = line
            .strip_prefix("pub struct ")
            .or(line.strip_prefix("pub enum "))?;
        words(heading).next().map(str::to_owned)
    })
}

/// A payload's sentence, and each field's name, type and sentence.
pub type Described = (String, Vec<(String, String, String)>);

/// What the sources say of each struct, by `vN::Name`.
pub fn described_fields() -> BTreeMap<String, Described> {
    let mut found: BTreeMap<String, Described> = BTreeMap::new();
    for (_, source) in sources() {
        let (mut module, mut within, mut doc) = ("", String::new(), Vec::new());
        for line in source.lines().map(str::trim) {
            if let Some(sentence) = line.strip_prefix("/// ") {
                doc.push(sentence);
            } else if let Some(name) = line.strip_prefix("pub mod ") {
                module = name.trim_end_matches(" {");
                doc.clear();
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                within = format!("{module}::{}", name.trim_end_matches(" {"));
                found.insert(within.clone(), (doc.join(" "), Vec::new()));
                doc.clear();
            } else if let Some((field, kind)) = line
                .strip_prefix("pub ")
                .and_then(|field| field.split_once(": "))
            {
                let described = found.get_mut(&within).expect("a field is in a struct");
                let kind = kind.trim_end_matches(',');
                described.1.push((field.into(), kind.into(), doc.join(" ")));
                doc.clear();
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    found
}

/// What one line may not be, with its cure.
fn finding(line: &str, known: &BTreeSet<String>) -> Option<String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with("//") || matches!(line, "{" | "}" | "},") {
        return None;
    }
    if let Some(attribute) = line.strip_prefix("#[") {
        let derived = attribute.strip_prefix("derive(")?;
        let both = derived.contains("Serialize") && derived.contains("Deserialize");
        return (!both).then(|| "a payload derives Serialize and Deserialize".into());
    }
    if line.starts_with("use ") {
        let own = line.starts_with("use crate::event::");
        return (!own && !USES.contains(&line)).then(|| "payloads use no type of elsewhere".into());
    }
    let is_heading = |start: &str| line.starts_with(start) && line.ends_with('{');
    if ["pub mod v", "pub struct ", "pub enum "]
        .into_iter()
        .any(is_heading)
    {
        return None;
    }
    let content = match line.strip_suffix(',') {
        Some(entry) => match entry.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
            Some((_, content)) => content,
            None => entry.split_once('(').map_or("", |(_, content)| content),
        },
        None => return Some("this is neither a field nor a variant: one of them a line, no functions, no tuple structs".into()),
    };
    words(content)
        .find(|word| !PLAIN.contains(word) && !known.contains(*word))
        .map(|word| format!("{word} is no type for a stored payload: use {PLAIN:?} or a type declared in src/event"))
}

fn findings(name: &str, source: &str, known: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in source.lines().enumerate() {
        let attribute = line.trim().starts_with("#[serde") || line.contains("cfg_attr");
        let what = match attribute {
            true => {
                Some("payloads carry no serde attribute: it would change the bytes unseen".into())
            }
            false => finding(line, known),
        };
        found.extend(what.map(|what| format!("src/event/{name}:{}: {what}", at + 1)));
    }
    found
}

#[test]
fn payloads_are_plain() {
    let sources = sources();
    let known = sources
        .iter()
        .flat_map(|(_, source)| declared(source))
        .collect();
    none(
        sources
            .iter()
            .flat_map(|(name, source)| findings(name, source, &known))
            .collect(),
    );
}

#[test]
fn what_is_not_plain_is_found() {
    let plain = "pub mod v1 {\n use serde::{Deserialize, Serialize};\n #[derive(Serialize, Deserialize)]\n pub struct X {\n pub a: Option<[u8; 16]>,\n }\n}\n";
    let known = declared(plain).collect();
    assert_eq!(findings("x.rs", plain, &known), [""; 0]);
    for (line, word) in [
        ("#[serde(skip)]", "attribute"),
        ("#[serde(flatten)]", "attribute"),
        ("#[serde(tag = \"t\")]", "attribute"),
        ("#[serde(untagged)]", "attribute"),
        ("#[serde(default)]", "attribute"),
        ("#[cfg_attr(all(), serde(default))]", "attribute"),
        ("use std::collections::HashMap;", "elsewhere"),
        ("pub a: uuid::Uuid,", "uuid"),
        ("pub a: usize,", "usize"),
        ("pub a: f64,", "f64"),
        ("pub a: HashMap<u8, u8>,", "HashMap"),
        ("Variant(AccountId),", "AccountId"),
        ("pub struct Y(u8);", "tuple structs"),
        ("impl Serialize for X {", "neither"),
        ("#[derive(Clone, Serialize)]", "derives"),
    ] {
        let source = plain.replace(" pub a", &format!(" {line}\n pub a"));
        let found = findings("x.rs", &source, &known);
        assert!(
            found.iter().any(|what| what.contains(word)),
            "{line}: {found:?}"
        );
    }
}
