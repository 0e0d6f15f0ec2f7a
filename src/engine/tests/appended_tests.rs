//! An attacker who can write the data folder but has no keyring cannot append an event that no rule
//! decided, and a log that a crash left unsigned still starts.

use std::path::PathBuf;

use countersign_schemas::event::Event;
use countersign_schemas::event::enrolment::v1::{DisabledBy, FirstFactor, TwoFactorDisabled};
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;

use super::changed_tests::change_record;
use super::fixture::{Fixture, verify};
use crate::account::service;
use crate::engine::StartError;
use crate::engine::start::epoch::new_epoch;
use crate::engine::start::foundation::service_record;
use crate::log::index::Finding;
use crate::log::{EventLog, LogOptions};

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

/// The signed checkpoints of a moment.
pub(in crate::engine) struct Signed(Vec<(PathBuf, Vec<u8>)>);

impl Signed {
    pub(in crate::engine) fn of(fixture: &Fixture) -> Self {
        let files = ["checkpoint", "checkpoint-history"];
        let files = files.map(|name| fixture.keyring().with_file_name(name));
        Self(
            files
                .map(|file| (file.clone(), std::fs::read(file).unwrap()))
                .into(),
        )
    }

    /// Restores the signed checkpoints of that moment, as if a crash had come before the next ones.
    pub(in crate::engine) fn restore(&self) {
        for (file, bytes) in &self.0 {
            std::fs::write(file, bytes).unwrap();
        }
    }
}

pub(in crate::engine) fn open(fixture: &Fixture) -> EventLog {
    EventLog::open(&fixture.data().join("log"), LogOptions::default()).unwrap()
}

/// "2FA was turned off", well-formed, as the account's next event.
pub(in crate::engine) fn forged(log: &EventLog) -> Record<'static> {
    let last = log.reader().get(log.head()).unwrap().unwrap();
    let mut record = Record::decode(&last).unwrap().into_owned();
    assert_eq!(record.stream_key, StreamKey::of(&ada()));
    let event = Event::TwoFactorDisabled(TwoFactorDisabled {
        by: DisabledBy::User(FirstFactor::Vouched),
    });
    let id = CommandId::parse("forged").unwrap();
    record.event_type = event.type_code();
    record.schema_version = event.schema_version();
    record.payload = event.encode().unwrap().into();
    record.version += 1;
    (record.group_index, record.group_len) = (0, 1);
    record.command_key = CommandKey::of(&record.meta.caller, &id);
    record.meta.command_id = "forged".into();
    (record.meta.source, record.meta.source_commitment) = (None, None);
    record
}

pub(in crate::engine) fn refusal(fixture: &Fixture) -> Option<u64> {
    match fixture.try_start() {
        Ok(_) => None,
        Err(StartError::Changed(Finding::Appended { position })) => Some(position),
        Err(other) => panic!("{other}"),
    }
}

/// without a seal, with the seal of the record before it, and with one that is made up.
#[test]
fn a_record_appended_to_a_stopped_log_stops_the_start() {
    for choice in 0..3 {
        let fixture = Fixture::new();
        let engine = fixture.start();
        fixture.enrol(&engine, "ada");
        drop(engine);
        let mut log = open(&fixture);
        let mut record = forged(&log);
        let before = record.seal;
        assert!(before.is_some(), "the service seals what it writes");
        record.seal = [None, before, Some([0; 8])][choice];
        let bytes = record.encode().unwrap();
        let head = log.head();
        log.append(head, &[bytes]).unwrap();
        log.close().unwrap();
        assert_eq!(refusal(&fixture), Some(head + 1), "{choice}");
    }
}

/// A record that the service wrote has its place: it does not count a second time.
#[test]
fn a_record_of_the_service_at_another_position_stops_the_start() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let mut log = open(&fixture);
    let head = log.head();
    let last = log.reader().get(head).unwrap().unwrap();
    log.append(head, &[last.to_vec()]).unwrap();
    log.close().unwrap();
    assert_eq!(refusal(&fixture), Some(head + 1));
}

/// Records that the service wrote after its last signature, as before a crash, start and count.
#[test]
fn records_that_the_service_wrote_and_did_not_sign_yet_start() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    let signed = Signed::of(&fixture);
    let engine = fixture.start();
    fixture
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    drop(engine);
    signed.restore();
    let engine = fixture.start();
    let again = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(again.unwrap_err(), ErrorCode::CodeInvalid);
    let status = engine.queries().login_status(&ada(), None);
    assert_eq!(status.unwrap().second_factor, FactorState::On);
}

/// the index of a refused start would vouch for the forged record once the honest log is back
/// for a moment, and the record would be signed. So nothing is derived from unchecked records.
#[test]
fn a_start_that_refuses_a_record_has_derived_nothing_from_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    let signed = Signed::of(&fixture);
    let engine = fixture.start();
    for code in &codes[..2] {
        fixture.send(&engine, "verify-login", verify(code)).unwrap();
    }
    let head = engine.readings().head;
    drop(engine);
    // As after a crash: two records after the last signature.
    signed.restore();
    let (log, index) = (
        fixture.data().join("log/00000001.redb"),
        fixture.data().join("index.redb"),
    );
    let honest = std::fs::read(&log).unwrap();
    change_record(&fixture, head - 1);
    std::fs::remove_file(&index).unwrap();
    assert_eq!(refusal(&fixture), Some(head - 1));
    assert!(!index.exists(), "nothing was derived");
    std::fs::write(&log, honest).unwrap();
    assert_eq!(refusal(&fixture), None, "the honest log starts");
    change_record(&fixture, head - 1);
    std::fs::remove_file(&index).unwrap();
    assert!(
        matches!(fixture.try_start().err(), Some(StartError::Checkpoint(_))),
        "and is what was signed for"
    );
}

/// an unsealed event that begins another epoch excuses no record and starts no remedy: the
/// message about an interrupted `log new-epoch` would make an operator sign it.
#[test]
fn a_forged_epoch_is_refused_as_what_it_is() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let version = engine.shared.index.version(&StreamKey::LOG).unwrap();
    drop(engine);
    let mut log = open(&fixture);
    let head = log.head();
    let event = service::log_went_on(2, [9; 16], head, fixture.time(), "forged");
    let bytes = service_record(&event, version + 1, fixture.time())
        .encode()
        .unwrap();
    log.append(head, &[bytes]).unwrap();
    log.close().unwrap();
    assert_eq!(refusal(&fixture), Some(head + 1));
    let begun = new_epoch(
        &fixture.data(),
        &fixture.keyring(),
        head,
        "as the sentence said",
        fixture.time(),
        LogOptions::default(),
    );
    let refused = begun.unwrap_err().to_string();
    assert!(
        refused.contains("was not written by this service"),
        "{refused}"
    );
}
