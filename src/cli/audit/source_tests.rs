//! The sources of requests in exports that an attacker changes.

use countersign_schemas::audit::{AuditExportQuery, ExportPage, ExportedEvent};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::record::Record;
use countersign_schemas::reply::Source;
use data_encoding::BASE64;
use serde_json::json;

use super::super::export_file::tests::{
    Desk, everything, exported, of, page, records, salt_at, with_manifest, with_source, written,
};
use super::{NO_SOURCE, OTHER_SOURCE, RENDERING, WITHHELD};

fn ip(event: &mut ExportedEvent) -> &mut Option<String> {
    &mut event.event.source.as_mut().unwrap().ip
}

/// The record, changed.
fn changed(bytes: &[u8], change: impl Fn(&mut Record)) -> Vec<u8> {
    let mut record = Record::decode(bytes).unwrap().into_owned();
    change(&mut record);
    record.encode().unwrap()
}

fn of_type(name: &str) -> AuditExportQuery {
    AuditExportQuery {
        types: Some(vec![name.into()]),
        ..everything(21)
    }
}

#[test]
fn a_changed_source_is_found_whatever_rendering_is_claimed() {
    let desk = Desk::taking_other_renderings();
    let records = records();
    let changes: [&dyn Fn(&mut ExportPage); 9] = [
        &|page| *ip(&mut page.events[1]) = Some("203.0.113.8".into()),
        &|page| *ip(&mut page.events[1]) = None,
        &|page| page.events[1].event.source.as_mut().unwrap().agent = Some("curl".into()),
        &|page| page.events[1].event.source = None,
        &|page| page.events[1].event.on_behalf_of = Some("eve".into()),
        &|page| page.events[1].event.on_behalf_of = None,
        &|page| page.events[1].source_salt = None,
        &|page| page.events[1].source_salt = Some(BASE64.encode(&[9; 15])),
        // Address and agent change places with those of another event, together with their salt.
        &|page| {
            *ip(&mut page.events[2]) = Some("203.0.113.8".into());
            page.events[1].event.source = page.events[2].event.source.clone();
            page.events[1].source_salt = page.events[2].source_salt.clone();
        },
    ];
    for query in [everything(21), of("ada", 21)] {
        for change in changes {
            let mut page = page(&records, &query);
            change(&mut page);
            let position = page.events[1].event.position;
            for rendering in [RENDERING, RENDERING + 1] {
                let bytes = written(&records, &query, std::slice::from_ref(&page));
                let bytes = with_manifest(&bytes, |m| m.rendering = Some(rendering));
                let error = desk.refused(&bytes);
                assert_eq!(error, format!("position {position}: {OTHER_SOURCE}"));
            }
        }
    }
}

/// A record without a source binds its event to none.
#[test]
fn a_source_that_no_record_has_is_refused() {
    let desk = Desk::new();
    let mut records = records();
    records[1] = changed(&records[1], |record| {
        record.meta.source = None;
        record.meta.source_commitment = None;
    });
    let query = everything(21);
    desk.verify(&exported(&records, &query)).unwrap();
    let made_up: [&dyn Fn(&mut ExportedEvent); 3] = [
        &|event| {
            event.event.source = Some(Source {
                ip: Some("203.0.113.7".into()),
                agent: None,
            });
        },
        &|event| event.event.on_behalf_of = Some("eve".into()),
        &|event| event.source_salt = Some(BASE64.encode(&salt_at(2))),
    ];
    for change in made_up {
        let mut page = page(&records, &query);
        change(&mut page.events[1]);
        let error = desk.refused(&written(&records, &query, &[page]));
        assert_eq!(error, format!("position 2: {NO_SOURCE}"));
    }
}

fn without_source(page: &mut ExportPage, at: usize) {
    let exported = &mut page.events[at];
    exported.event.source = None;
    exported.event.on_behalf_of = None;
    exported.source_salt = None;
}

#[test]
fn a_source_that_is_removed_with_its_salt_is_refused_unless_an_erasure_follows() {
    let desk = Desk::new();
    let mut records = records();
    let query = everything(21);
    let mut bare = page(&records, &query);
    without_source(&mut bare, 1);
    let error = desk.refused(&written(&records, &query, &[bare]));
    assert_eq!(error, format!("position 2: {WITHHELD}"));
    // The same account's last event becomes its erasure.
    let account = |bytes: &[u8]| Record::decode(bytes).unwrap().meta.account_id.to_string();
    let owner = account(&records[1]);
    let last = records.iter().rposition(|record| account(record) == owner);
    let last = last.unwrap();
    let erased = Event::AccountErased(AccountErased { reason: None });
    let erasure = changed(&records[last], |record| {
        record.event_type = erased.type_code();
        record.schema_version = erased.schema_version();
        record.payload = erased.encode().unwrap().into();
    });
    records[last] = with_source(last as u64 + 1, &erasure);
    let mut page = page(&records, &query);
    without_source(&mut page, 1);
    let report = desk.verify(&written(&records, &query, std::slice::from_ref(&page)));
    assert_eq!(report.unwrap().document["not_compared"], json!([]));
    // A field under the service's own key outlives the erasure, and so does another account's
    // source.
    assert_ne!(account(&records[2]), owner);
    for (other, desk) in [
        (last, &Desk::taking_missing_sources()),
        (last, &desk),
        (2, &desk),
    ] {
        let mut page = page.clone();
        without_source(&mut page, other);
        let error = desk.refused(&written(&records, &query, &[page]));
        assert_eq!(error, format!("position {}: {WITHHELD}", other + 1));
    }
}

/// The filter may exclude the erasure; the filter is not signed either.
#[test]
fn missing_sources_are_accepted_only_with_the_flag_and_are_counted() {
    let (strict, lenient) = (Desk::new(), Desk::taking_missing_sources());
    let records = records();
    for query in [
        of_type("unknown-name-refused"),
        of("ada", 21),
        everything(21),
    ] {
        let mut page = page(&records, &query);
        without_source(&mut page, 1);
        without_source(&mut page, 2);
        let position = page.events[1].event.position;
        let bytes = written(&records, &query, &[page]);
        let error = strict.refused(&bytes);
        assert_eq!(error, format!("position {position}: {WITHHELD}"));
        let report = lenient.verify(&bytes).unwrap();
        assert_eq!(report.document["sources_not_shown"], 2);
        assert!(report.text.contains("2 events show no source although"));
    }
}

/// In records of older builds, which do not bind sources, the verifier cannot compare the source.
#[test]
fn a_source_that_its_record_does_not_bind_is_reported_as_not_compared() {
    let desk = Desk::new();
    let records: Vec<_> = records()
        .iter()
        .map(|bytes| changed(bytes, |record| record.meta.source_commitment = None))
        .collect();
    let query = everything(21);
    let report = desk.verify(&exported(&records, &query)).unwrap();
    let columns = json!(["source", "on_behalf_of"]);
    assert_eq!(report.document["not_compared"], columns);
    assert!(
        report
            .text
            .contains("not compared: source, on_behalf_of of")
    );
}
