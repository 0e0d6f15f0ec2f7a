//! Each view and the notices read exactly the events that the list of events names for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use countersign_schemas::event::{Event, Reader};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase};

use crate::testing::*;
use crate::{Views, notice_of};

/// Returns one event of every type, and every stored event that has a fixture.
fn fixtures() -> Vec<Event> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/golden/events");
    let mut found = one_of_each();
    for (code, version, name) in Event::ALL {
        for file in fs::read_dir(format!("{root}/{name}/v{version}")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "bin") {
                found.push(Event::decode(*code, *version, &fs::read(path).unwrap()).unwrap());
            }
        }
    }
    found
}

/// What a log can hold before an event: nothing; an enrolment; a factor with an open case; all that
/// an event can end, with the factor on or off.
fn pasts() -> Vec<Vec<Event>> {
    let of = |name: &str| {
        let mut one = one_of_each().into_iter();
        one.find(|event| event.name() == name).unwrap()
    };
    let begun = [of("account-registered"), of("enrolment-started")];
    let enabled = [of("two-factor-enabled"), of("backup-codes-issued")];
    let strained = [
        of("attempts-throttled"),
        of("double-code-required"),
        of("totp-rejected"),
    ];
    let on = [begun.as_slice(), &enabled, &[of("reset-requested")]].concat();
    let all = [on.as_slice(), &strained].concat();
    let off = of("two-factor-disabled");
    vec![
        Vec::new(),
        begun.to_vec(),
        [all.as_slice(), &[off]].concat(),
        on,
        all,
    ]
}

/// Events of the log itself that change nothing; here they belong to an account, as in no real log.
fn is_wide(event: &Event) -> bool {
    matches!(event, Event::EpochStarted(_) | Event::PolicyInForce(_))
}

/// Returns the rows of each view after a past and an event.
fn after(past: &[Event], event: &Event) -> [Vec<String>; 3] {
    let memory = |_: &Path| Database::builder().create_with_backend(InMemoryBackend::new());
    let (views, _) = Views::open_with(Path::new("none"), &seal(), memory).unwrap();
    let account = if is_wide(event) { "" } else { "ada" };
    let mut entries: Vec<_> = (1..)
        .zip(past)
        .map(|(position, event)| entry(position, "ada", event.clone()))
        .collect();
    entries.push(entry(1 + past.len() as u64, account, event.clone()));
    views.catch_up(&entries).unwrap();
    let lines = views.dump(&views.database().begin_read().unwrap());
    ["login-status@", "account-card@", "reset-queue@"].map(|view| {
        let of_view = lines.iter().filter(|line| line.starts_with(view));
        of_view.cloned().collect()
    })
}

#[test]
fn what_changes_a_view_is_what_the_list_of_events_says() {
    let readers = [Reader::Status, Reader::Card, Reader::Queue];
    // An event of an account moves its row's position; one of the log does not.
    let neutral = |wide: bool| {
        let name = if wide {
            "policy-in-force"
        } else {
            "login-pair-rejected"
        };
        let mut all = one_of_each().into_iter();
        all.find(|event| event.name() == name).unwrap()
    };
    let pasts = pasts();
    let unchanged = [false, true].map(|wide| -> Vec<_> {
        let after_neutral = |past: &Vec<Event>| after(past, &neutral(wide));
        pasts.iter().map(after_neutral).collect()
    });
    let (mut changed, mut listed) = (BTreeSet::new(), BTreeSet::new());
    for event in fixtures() {
        for (at, reader) in readers.into_iter().enumerate() {
            if event.is_read_by(reader) {
                listed.insert((event.name(), at));
            }
        }
        let unchanged = &unchanged[usize::from(is_wide(&event))];
        for (past, unchanged) in pasts.iter().zip(unchanged) {
            let rows = after(past, &event);
            for at in 0..readers.len() {
                if rows[at] != unchanged[at] {
                    changed.insert((event.name(), at));
                }
            }
        }
    }
    assert_eq!(changed, listed);
}

#[test]
fn what_owners_hear_of_is_what_the_list_of_events_says() {
    let names = |is_noticed: fn(&Event) -> bool| -> BTreeSet<_> {
        let noticed = fixtures().into_iter().filter(is_noticed);
        noticed.map(|event| event.name()).collect()
    };
    let listed = names(|event| event.is_read_by(Reader::Notice));
    assert_eq!(names(|event| notice_of(event).is_some()), listed);
}
