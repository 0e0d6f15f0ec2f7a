//! The stored events: `events/<type>/v<N>/<case>.bin` with its reading `<case>.json`.

use std::collections::{BTreeMap, BTreeSet};

use countersign_schemas::event::Event;
use serde_json::json;

use crate::event_cases::cases;
use crate::files::{hold, listed, none, read, readable};
use crate::mutants::{every_byte, mutations, truncations};
use crate::registered::{payload, stored_forms};

/// Cases that every type and version must have.
const CASES_MIN: usize = 3;

/// The readable form: identity, every stored field, and what auditors see.
fn reading(event: &Event) -> Vec<u8> {
    readable(&json!({
        "type": event.name(),
        "type_number": event.type_code(),
        "version": event.schema_version(),
        "payload": payload(event),
        "data": event.data(),
    }))
}

/// A fixture's name without extension: folder, type, version, case.
struct Fixture {
    stem: String,
    name: String,
    event_type: u16,
    version: u16,
}

impl Fixture {
    fn of(path: &str) -> Option<Self> {
        let stem = path.strip_suffix(".bin")?;
        let parts: Vec<&str> = stem.split('/').collect();
        let ["events", name, version, _] = parts[..] else {
            return None;
        };
        let event_type = Event::ALL.iter().find(|(_, _, known)| *known == name)?.0;
        Some(Self {
            stem: stem.into(),
            name: name.into(),
            event_type,
            version: version.strip_prefix('v')?.parse().ok()?,
        })
    }

    fn decode(&self, bytes: &[u8]) -> Result<Event, impl std::error::Error + use<>> {
        Event::decode(self.event_type, self.version, bytes)
    }

    /// The file of the reading in the latest form: a file beside if that is a later version.
    fn reading_path(&self, latest: u16) -> String {
        match self.version == latest {
            true => format!("{}.json", self.stem),
            false => format!("{}.v{latest}.json", self.stem),
        }
    }
}

/// What the files hold; what is missing is added first, and reported by one test only.
fn fixtures() -> Vec<Fixture> {
    hold_cases();
    let paths = listed("events");
    let of =
        |path: &String| Fixture::of(path).unwrap_or_else(|| panic!("golden/{path}: what is it?"));
    paths
        .iter()
        .filter(|path| path.ends_with(".bin"))
        .map(of)
        .collect()
}

/// Compares the files with the cases, and adds what is missing. Returns what is wrong.
fn hold_cases() -> Vec<String> {
    let mut findings = Vec::new();
    for (case, event) in cases() {
        let (name, version) = (event.name(), event.schema_version());
        let stem = format!("events/{name}/v{version}/{case}");
        findings.extend(hold(&format!("{stem}.bin"), &event.encode().unwrap()).err());
        findings.extend(hold(&format!("{stem}.json"), &reading(&event)).err());
    }
    findings
}

#[test]
fn every_event_reads_as_its_fixture_says_and_writes_the_same_bytes() {
    let mut findings = hold_cases();
    for fixture in fixtures() {
        let bytes = read(&format!("{}.bin", fixture.stem));
        let event = match fixture.decode(&bytes) {
            Ok(event) => event,
            Err(error) => {
                findings.push(format!("golden/{}.bin: {error}", fixture.stem));
                continue;
            }
        };
        let latest = event.schema_version();
        findings.extend(hold(&fixture.reading_path(latest), &reading(&event)).err());
        if fixture.version == latest && event.encode().unwrap() != bytes {
            findings.push(format!("golden/{}.bin: writes other bytes", fixture.stem));
        }
    }
    none(findings);
}

#[test]
fn every_type_and_version_has_its_fixtures() {
    let mut counts: BTreeMap<(String, u16), usize> = BTreeMap::new();
    for fixture in fixtures() {
        *counts.entry((fixture.name, fixture.version)).or_default() += 1;
    }
    let events = stored_forms()
        .into_iter()
        .filter(|form| form.event_type != 0);
    none(
        events
            .filter_map(|form| {
                let held = counts
                    .remove(&(form.name.to_owned(), form.version))
                    .unwrap_or(0);
                (held < CASES_MIN).then(|| {
                    let (name, version) = (form.name, form.version);
                    format!(
                        "{name} v{version} has {held} fixtures: add cases until there are {CASES_MIN}"
                    )
                })
            })
            .collect(),
    );
}

#[test]
fn every_fixture_has_a_reading_and_every_reading_a_fixture() {
    fixtures();
    let paths = listed("events");
    let stem = |path: &String| path.split('.').next().map(str::to_owned);
    let with = |extension: &str| -> BTreeSet<String> {
        paths
            .iter()
            .filter(|path| path.ends_with(extension))
            .filter_map(stem)
            .collect()
    };
    assert_eq!(with(".bin"), with(".json"));
}

/// V-07.
#[test]
fn a_truncated_event_is_refused() {
    for fixture in fixtures() {
        let bytes = read(&format!("{}.bin", fixture.stem));
        for cut in truncations(&bytes) {
            assert!(
                fixture.decode(cut).is_err(),
                "{} cut to {}",
                fixture.stem,
                cut.len()
            );
        }
    }
}

#[test]
fn a_changed_byte_is_refused_or_reads_as_another_event() {
    let values = every_byte();
    for fixture in fixtures() {
        let bytes = read(&format!("{}.bin", fixture.stem));
        let original = fixture.decode(&bytes).unwrap();
        mutations(&bytes, &values, |mutant| {
            let Ok(event) = fixture.decode(mutant) else {
                return;
            };
            assert_ne!(
                event,
                original,
                "{}: {}",
                fixture.stem,
                mutant.escape_ascii()
            );
            // An earlier form is read, and written as the latest.
            if fixture.version == event.schema_version() {
                assert_eq!(event.encode().unwrap(), mutant, "{}", fixture.stem);
            }
        });
    }
}
