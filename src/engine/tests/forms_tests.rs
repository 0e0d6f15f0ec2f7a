//! The stored forms that a log names, and the build that would misread them.

use countersign_schemas::event::log::v1::Form;
use countersign_schemas::stored_forms;

use super::fixture::Fixture;
use crate::account::service;
use crate::engine::start::error::StartError;
use crate::engine::start::foundation::{Foundation, recorded};
use crate::engine::system_random;
use crate::log::LogOptions;

fn foundation(fixture: &Fixture) -> Foundation {
    Foundation::open(
        &fixture.data(),
        &fixture.keyring(),
        LogOptions::default(),
        system_random,
        fixture.time(),
    )
    .unwrap()
}

/// Makes a log in which another build names a form.
fn named(fixture: &Fixture, name: &str, fingerprint: [u8; 16]) {
    let mut found = foundation(fixture);
    let form = Form {
        name: name.to_owned(),
        version: 1,
        fingerprint,
    };
    let event = service::schemas_in_force(vec![form]);
    found.append(&event, fixture.time()).unwrap();
}

#[test]
fn the_forms_are_named_once_and_before_the_first_command() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        drop(fixture.start());
        let found = foundation(&fixture);
        assert_eq!(found.log.head(), 3, "epoch, policy, schemas");
        let event = recorded(&found.log.reader(), 3).unwrap();
        assert_eq!(event, service::schemas_in_force(stored_forms()));
    }
}

#[test]
fn a_log_whose_form_this_build_would_misread_is_refused_with_or_without_an_index() {
    let fixture = Fixture::new();
    drop(fixture.start());
    named(&fixture, "totp-accepted", [7; 16]);
    for index_is_there in [true, true, false] {
        if !index_is_there {
            std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
        }
        let refused = fixture.try_start().err().unwrap();
        let StartError::Form {
            name,
            version,
            position,
        } = &refused
        else {
            panic!("{refused}");
        };
        assert_eq!(
            (name.as_str(), *version, *position),
            ("totp-accepted", 1, 4)
        );
    }
}

#[test]
fn a_form_that_this_build_does_not_have_is_no_reason_until_a_record_holds_it() {
    let fixture = Fixture::new();
    drop(fixture.start());
    named(&fixture, "passkey-accepted", [7; 16]);
    drop(fixture.start());
}
