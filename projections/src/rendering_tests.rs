//! The readable text of every stored event, compared with the golden file of its rendering number.
//!
//! `UPDATE_GOLDEN=1` adds the lines of new fixtures. A changed line is another rendering: raise
//! `RENDERING` and let a new file be written, so that older exports can be distinguished.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countersign_schemas::event::Event;

use super::{RENDERING, sentence};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Returns the rendered text of every stored event that has a fixture, by type, version and case.
fn rendered() -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for kind in folders(&root().join("../schemas/golden/events")) {
        let known = Event::ALL.iter().find(|e| e.2 == name(&kind));
        let (event_type, _, kind_name) = known.unwrap();
        for version in folders(&kind) {
            let number = name(&version)[1..].parse().unwrap();
            for case in folders(&version) {
                if case.extension().unwrap() != "bin" {
                    continue;
                }
                let event = Event::decode(*event_type, number, &fs::read(&case).unwrap()).unwrap();
                let fixture = format!("{kind_name}/v{number}/{}", name(&case));
                let line = format!("{}\t{}", sentence(&event), event.data());
                lines.insert(fixture, line);
            }
        }
    }
    lines
}

#[test]
fn what_people_read_of_an_event_changes_only_with_its_number() {
    let path = root().join(format!("golden/rendering-{RENDERING}.txt"));
    let rendered = rendered();
    let whole: String = rendered
        .iter()
        .map(|(fixture, line)| format!("{fixture}\t{line}\n"))
        .collect();
    let stored = fs::read_to_string(&path).unwrap_or_default();
    for line in stored.lines() {
        let (fixture, before) = line.split_once('\t').unwrap();
        let now = rendered.get(fixture).map(String::as_str);
        assert_eq!(now, Some(before), "{fixture}: raise RENDERING");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(root().join("golden")).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stored, whole, "run with UPDATE_GOLDEN=1 for new fixtures");
}
