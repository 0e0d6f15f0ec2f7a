//! Who can write the data folder but has no keyring cannot append what no rule decided, and what a
//! crash left unsigned still starts.

use countersign_schemas::event::Event;
use countersign_schemas::event::enrolment::v1::{DisabledBy, FirstFactor, TwoFactorDisabled};
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;

use super::StartError;
use super::house::{House, verify};
use crate::log::index::Finding;
use crate::log::{EventLog, LogOptions};

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

fn open(house: &House) -> EventLog {
    EventLog::open(&house.data().join("log"), LogOptions::default()).unwrap()
}

/// "2FA was turned off", well-formed, as the account's next event.
fn forged(log: &EventLog) -> Record<'static> {
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

fn refusal(house: &House) -> Option<u64> {
    match house.try_start() {
        Ok(_) => None,
        Err(StartError::Changed(Finding::Appended { position })) => Some(position),
        Err(other) => panic!("{other}"),
    }
}

/// without a seal, with the seal of the record before it, and with one that is made up.
#[test]
fn a_record_that_somebody_appends_to_a_stopped_log_stops_the_start() {
    for choice in 0..3 {
        let house = House::new();
        let engine = house.start();
        house.enrol(&engine, "ada");
        drop(engine);
        let mut log = open(&house);
        let mut record = forged(&log);
        let before = record.seal;
        assert!(before.is_some(), "the service seals what it writes");
        record.seal = [None, before, Some([0; 8])][choice];
        let bytes = record.encode().unwrap();
        let head = log.head();
        log.append(head, &[bytes]).unwrap();
        log.close().unwrap();
        assert_eq!(refusal(&house), Some(head + 1), "{choice}");
    }
}

/// A record that the service wrote has its place: it does not count a second time.
#[test]
fn a_record_of_the_service_at_another_position_stops_the_start() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    drop(engine);
    let mut log = open(&house);
    let head = log.head();
    let last = log.reader().get(head).unwrap().unwrap();
    log.append(head, &[last.to_vec()]).unwrap();
    log.close().unwrap();
    assert!(house.try_start().is_err());
}

/// What the service wrote behind its last signature, as before a crash, starts and counts.
#[test]
fn what_the_service_wrote_and_nobody_signed_for_yet_starts() {
    let house = House::new();
    let engine = house.start();
    let (_, codes) = house.enrol(&engine, "ada");
    drop(engine);
    let folder = house.keyring().parent().unwrap().to_owned();
    let signed = std::fs::read(folder.join("checkpoint")).unwrap();
    let engine = house.start();
    house
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    drop(engine);
    std::fs::write(folder.join("checkpoint"), signed).unwrap();
    let engine = house.start();
    let again = house.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(again.unwrap_err(), ErrorCode::CodeInvalid);
    let status = engine.queries().login_status(&ada(), None);
    assert_eq!(status.unwrap().second_factor, FactorState::On);
}
