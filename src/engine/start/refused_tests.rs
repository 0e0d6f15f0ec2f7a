//! What a refused start leaves behind: nothing that a later start trusts.

use std::fs;

use countersign_schemas::event::EPOCH_STARTED;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::account::service;
use crate::crypto::keyring::Keyring;
use crate::engine::entries::record;
use crate::engine::followers::rehash;
use crate::engine::start::error::{NewEpochError, StartError};
use crate::engine::start::foundation::{Foundation, service_record};
use crate::engine::start::stopped_views::rebuild_stopped_view;
use crate::engine::system_random;
use crate::engine::tests::appended_tests::{Signed, forged, open};
use crate::engine::tests::changed_tests::{RECORDS, change_record, edit};
use crate::engine::tests::epoch_tests::{begin, restored};
use crate::engine::tests::fixture::{Fixture, verify};
use crate::log::LogOptions;
use crate::log::index::Finding;

type Tail = (u64, u64, &'static [u8; 16], &'static [u8; 16]);
const TAIL: TableDefinition<(), Tail> = TableDefinition::new("tail_v4");

fn foundation(fixture: &Fixture) -> Result<Foundation, StartError> {
    let (data, keyring, now) = (fixture.data(), fixture.keyring(), fixture.time());
    Foundation::open(&data, &keyring, LogOptions::default(), system_random, now)
}

/// Takes everything into the index, durably, and is killed before any further check.
fn killed_start(fixture: &Fixture) {
    let found = foundation(fixture).unwrap();
    let reader = found.log.reader();
    let now = fixture.time();
    let flushed = found.index.flush(true, now, |at| record(&reader, at));
    flushed.unwrap();
}

/// Whether the next start continues with this index.
fn index_is_believed(fixture: &Fixture) -> bool {
    let db = Database::open(fixture.data().join("index.redb")).unwrap();
    let table = db.begin_read().unwrap().open_table(TAIL).unwrap();
    table.len().unwrap() > 0
}

fn put_record(fixture: &Fixture, position: u64, bytes: &[u8]) {
    edit(fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        table.insert(position, bytes).unwrap();
    });
}

/// Ada, two of whose logins no checkpoint covers, as after a crash; returns the last position.
fn crashed() -> (Fixture, Signed, u64) {
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
    signed.restore();
    (fixture, signed, head)
}

/// Whether every record matches the index and the signed checkpoints.
fn is_consistent(fixture: &Fixture) -> bool {
    let engine = fixture.start();
    let log = engine.admin().log.clone();
    rehash::pass(&engine.shared, &log, |_| false).is_ok()
}

#[test]
fn an_index_that_names_an_epoch_which_is_not_in_the_log_is_built_again_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let (log, index) = (
        fixture.data().join("log/00000001.redb"),
        fixture.data().join("index.redb"),
    );
    let honest = fs::read(&log).unwrap();
    // In the place of the policy in force, the log's second event, which a checkpoint covers.
    let event = service::log_went_on(2, [9; 16], 2, fixture.time(), "forged");
    assert_eq!(event.type_code(), EPOCH_STARTED);
    let bytes = service_record(&event, 2, fixture.time()).encode().unwrap();
    put_record(&fixture, 2, &bytes);
    fs::remove_file(index).unwrap();
    killed_start(&fixture);
    assert!(
        index_is_believed(&fixture),
        "the kill came too early for that"
    );
    fs::write(&log, honest).unwrap();
    assert!(is_consistent(&fixture));
    assert!(is_consistent(&fixture));
}

/// while the checkpoints were missing nothing was compared, so an index built then is not
/// trusted once they are back.
#[test]
fn an_index_that_was_made_without_checkpoints_is_not_believed_with_them() {
    let (fixture, signed, head) = crashed();
    let log = fixture.data().join("log/00000001.redb");
    let honest = fs::read(&log).unwrap();
    change_record(&fixture, head - 1);
    fs::remove_file(fixture.data().join("index.redb")).unwrap();
    for file in ["checkpoint", "checkpoint-history"] {
        fs::remove_file(fixture.keyring().with_file_name(file)).unwrap();
    }
    killed_start(&fixture);
    signed.restore();
    fs::write(&log, honest).unwrap();
    assert!(is_consistent(&fixture));
}

#[test]
fn whatever_refuses_a_start_once_the_index_is_open_the_next_one_builds_it_again() {
    type Refuse = fn(&Fixture);
    let refusals: [(&str, Refuse); 4] = [
        ("a form of another build", |fixture| {
            let mut found = foundation(fixture).unwrap();
            let form = countersign_schemas::event::log::v1::Form {
                name: "totp-accepted".into(),
                version: 1,
                fingerprint: [7; 16],
            };
            let event = service::schemas_in_force(vec![form]);
            found.append(&event, fixture.time()).unwrap();
        }),
        ("a record that does not follow", |fixture| {
            let mut log = open(fixture);
            let mut record = forged(&log);
            record.version += 1;
            fixture.append(&mut log, vec![record]);
        }),
        ("an epoch that was begun", |fixture| {
            let mut found = foundation(fixture).unwrap();
            let event = service::log_went_on(2, [7; 16], 9, fixture.time(), "cut short");
            found.append(&event, fixture.time()).unwrap();
        }),
        ("no checkpoints", |fixture| {
            for file in ["checkpoint", "checkpoint-history"] {
                fs::remove_file(fixture.keyring().with_file_name(file)).unwrap();
            }
        }),
    ];
    for (what, refuse) in refusals {
        let fixture = Fixture::new();
        let engine = fixture.start();
        fixture.enrol(&engine, "ada");
        drop(engine);
        refuse(&fixture);
        if what != "no checkpoints" {
            assert!(index_is_believed(&fixture), "{what}");
        }
        assert!(fixture.try_start().is_err(), "{what}");
        assert!(!index_is_believed(&fixture), "{what}");
    }
}

#[test]
fn a_new_epoch_that_is_refused_leaves_no_index_either() {
    let (fixture, ..) = restored();
    killed_start(&fixture);
    assert!(index_is_believed(&fixture));
    assert!(matches!(
        begin(&fixture, 11),
        Err(NewEpochError::OtherLoss { due: 12 })
    ));
    assert!(!index_is_believed(&fixture));
}

/// A view built from a log that a start refuses would be trusted beside the restored log.
#[test]
fn no_view_is_built_from_a_log_that_was_not_signed_for() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let ada = countersign_schemas::ids::AccountId::parse("ada").unwrap();
    let place = engine.shared.index.positions(&StreamKey::of(&ada), 0, 9);
    drop(engine);
    change_record(&fixture, place.unwrap()[1]);
    fs::remove_file(fixture.data().join("index.redb")).unwrap();
    let views = fs::read(fixture.data().join("views.redb")).unwrap();
    let built = rebuild_stopped_view(
        &fixture.data(),
        &fixture.keyring(),
        fixture.time(),
        "login-status",
        |_, _| {},
    );
    let refused = built.err().unwrap();
    assert!(
        matches!(refused, StartError::Checkpoint(_) | StartError::Record(_)),
        "{refused}"
    );
    assert!(fs::read(fixture.data().join("views.redb")).unwrap() == views);
}

/// Between the two runs of `log new-epoch`, a record from before the loss is changed.
#[test]
fn an_interrupted_new_epoch_is_not_finished_over_a_log_that_changed_meanwhile() {
    for steps in [1, 2] {
        for strips_the_seal in [false, true] {
            let (fixture, ..) = restored();
            let (log, now) = (fixture.data().join("log/00000001.redb"), fixture.time());
            let mut found = foundation(&fixture).unwrap();
            let event = service::log_went_on(2, [7; 16], 12, now, "restored");
            found.append(&event, now).unwrap();
            drop(found);
            if steps == 2 {
                let keyring = Keyring::load(&fixture.keyring()).unwrap();
                keyring.begin_epoch(&fixture.keyring(), [7; 16]).unwrap();
            }
            let honest = fs::read(&log).unwrap();
            let opened = open(&fixture);
            let bytes = opened.reader().get(5).unwrap().unwrap();
            drop(opened);
            let mut record = Record::decode(&bytes).unwrap().into_owned();
            match strips_the_seal {
                true => record.seal = None,
                false => record.seal = Some([1; 8]),
            }
            put_record(&fixture, 5, &record.encode().unwrap());
            fs::remove_file(fixture.data().join("index.redb")).unwrap();
            let refused = begin(&fixture, 12).unwrap_err();
            assert!(
                matches!(
                    refused,
                    NewEpochError::Start(StartError::Changed(Finding::Root { size: 11 }))
                ),
                "{refused}"
            );
            fs::write(&log, honest).unwrap();
            assert_eq!(begin(&fixture, 12).unwrap().position, 12);
            fixture.start();
        }
    }
}
