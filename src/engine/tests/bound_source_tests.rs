//! The commitments that bind the source of a request to its record: in exports, and useless without
//! the key.

use std::collections::BTreeSet;

use countersign_schemas::audit::{AuditExportQuery, ExportFormat, ExportedEvent};
use countersign_schemas::record::{COMMITMENT_BYTES, Record, SourceFacts};
use data_encoding::BASE64;
use serde_json::json;

use super::fixture::{Fixture, PASSWORD};
use crate::engine::Engine;

fn exported(engine: &Engine, proofs: bool) -> Vec<ExportedEvent> {
    let query = AuditExportQuery {
        format: ExportFormat::Jsonl,
        through: engine.shared.progress.committed(),
        after: None,
        types: None,
        account_id: None,
        from: None,
        to: None,
        proofs,
    };
    engine.queries().audit_export(&query).unwrap().events
}

/// Returns salt and commitment of each of ada's events, as a reader of the export has them.
fn bound(engine: &Engine) -> Vec<(Option<[u8; 16]>, [u8; COMMITMENT_BYTES])> {
    let hers = |exported: &ExportedEvent| {
        let record = BASE64.decode(exported.record.as_ref()?.as_bytes()).unwrap();
        let record = Record::decode(&record).unwrap();
        let commitment = record.meta.source_commitment?;
        assert!(record.meta.source.is_some());
        let salt = exported.source_salt.as_ref();
        let salt = salt.map(|salt| BASE64.decode(salt.as_bytes()).unwrap().try_into().unwrap());
        (&*record.meta.account_id == "ada").then_some((salt, commitment))
    };
    exported(engine, true).iter().filter_map(hers).collect()
}

fn log_in(fixture: &Fixture, engine: &Engine) {
    let context = json!({"ip": "203.0.113.7", "agent": "Firefox"});
    let body = json!({"username": "ada", "password": PASSWORD, "context": context});
    fixture.send(engine, "start-login", body).unwrap();
}

#[test]
fn an_export_opens_what_binds_a_source_until_its_account_is_erased() {
    let fixture = Fixture::new();
    let mut engine = fixture.start();
    fixture.enrol(&engine, "ada");
    log_in(&fixture, &engine);
    log_in(&fixture, &engine);
    let facts = SourceFacts {
        ip: Some("203.0.113.7".into()),
        agent: Some("Firefox".into()),
        on_behalf_of: None,
    };
    let two = bound(&engine);
    assert_eq!(two.len(), 2, "what came without a source binds none");
    for (salt, commitment) in &two {
        assert_eq!(facts.commitment(&salt.unwrap()), *commitment);
    }
    // Nothing in the records links two events with the same source.
    let distinct: BTreeSet<_> = two.iter().collect();
    assert_eq!(distinct.len(), 2);
    drop(engine);
    engine = fixture.start();
    assert_eq!(bound(&engine), two, "a salt is derived, so it stays");
    let body = json!({"account_id": "ada", "reason": "she asked for it"});
    fixture.send(&engine, "erase-account", body).unwrap();
    let after: Vec<_> = two
        .iter()
        .map(|(_, commitment)| (None, *commitment))
        .collect();
    assert_eq!(bound(&engine), after);
}

/// The forms that carry no record have nothing to open.
#[test]
fn without_records_an_export_brings_no_salt() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    log_in(&fixture, &engine);
    let events = exported(&engine, false);
    assert!(events.iter().any(|e| e.event.source.is_some()));
    assert!(events.iter().all(|e| e.source_salt.is_none()));
}

#[test]
fn binding_a_source_costs_sixteen_bytes_and_no_source_none() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    log_in(&fixture, &engine);
    let last = engine.shared.progress.committed();
    for (position, bytes) in [(last, COMMITMENT_BYTES), (last - 1, 0)] {
        let mut record = engine.shared.accounts.record(position).unwrap();
        let bound = record.encode().unwrap().len();
        record.meta.source_commitment = None;
        assert_eq!(bound - record.encode().unwrap().len(), bytes);
    }
}
