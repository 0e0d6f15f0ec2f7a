//! Given, when, then.

use super::{audit_event, sentence};
use crate::testing::*;
use countersign_schemas::event::Event;
use countersign_schemas::record::SourceFacts;

#[test]
fn every_event_is_one_plain_sentence_that_shows_nothing_sealed() {
    let events = one_of_each();
    let codes: Vec<u16> = events.iter().map(Event::type_code).collect();
    let all: Vec<u16> = Event::ALL.iter().map(|e| e.0).collect();
    assert_eq!(codes, all, "the list holds every type once");
    for event in &events {
        let text = sentence(event);
        assert!(text.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()));
        assert!(text.ends_with('.') && !text.contains(". "), "{text}");
        assert!(!text.contains("Sealed") && !text.contains("c5"), "{text}");
        assert!(!text.contains("a1") && !text.contains("K7QX"), "{text}");
    }
}

#[test]
fn the_sentences_say_what_happened() {
    let said: Vec<String> = one_of_each().iter().map(sentence).collect();
    for expected in [
        "Signed in with an authenticator code (step 59061240).",
        "An authenticator code was refused because it had been used before (step 59061240).",
        "Signed in with backup code 4 of set 1; 9 left.",
        "A confirming code was refused because the app's clock is behind, by 4 steps; no tries were left, so the enrolment was dropped.",
        "A wrong password was refused at login; its source must wait until 2026-02-23T09:00:00Z.",
    ] {
        assert!(
            said.iter().any(|text| text == expected),
            "{expected}: {said:#?}"
        );
    }
}

#[test]
fn an_entry_takes_the_form_of_the_contract() {
    let mut entry = entry(12, "ada", totp_accepted());
    entry.record.meta.trace_id =
        Some(*b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff");
    let facts = SourceFacts {
        ip: Some("203.0.113.7".into()),
        agent: None,
        on_behalf_of: Some("ops".into()),
    };
    let shown = serde_json::to_value(audit_event(&entry, Some(facts))).unwrap();
    let expected = serde_json::json!({
        "position": 12,
        "type": "totp-accepted",
        "account_id": "ada",
        "version": 1,
        "at": at(12),
        "caller": {"name": "login-gw", "role": "platform", "verified": true},
        "on_behalf_of": "ops",
        "command_id": "c-12",
        "trace_id": "000102030405060708090a0b0c0d0eff",
        "source": {"ip": "203.0.113.7"},
        "data": entry.event.data(),
        "text": "Signed in with an authenticator code (step 59061240).",
    });
    assert_eq!(shown, expected);
}

#[test]
fn what_is_unknown_or_log_wide_is_absent_and_not_null() {
    let facts = SourceFacts {
        on_behalf_of: Some("ops".into()),
        ..SourceFacts::default()
    };
    let account_less = entry(1, "", one_of_each().remove(2));
    for source in [None, Some(facts)] {
        let shown = serde_json::to_value(audit_event(&account_less, source)).unwrap();
        for absent in ["account_id", "source", "trace_id"] {
            assert!(shown.get(absent).is_none(), "{absent}");
        }
    }
}
