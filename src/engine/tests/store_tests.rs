//! The engine's stores: what operators and auditors see of them, and what a start refuses or
//! rebuilds.

use countersign_schemas::admin::ViewName;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey};
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::record::Record;
use countersign_schemas::refusal::ErrorCode;

use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::engine::Engine;
use crate::engine::new_epoch;
use crate::log::{EventLog, LogOptions};

#[test]
fn the_history_shows_the_life_in_order_without_a_secret() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(30);
    fixture
        .send(&engine, "verify-login", verify(&fixture.code(&secret, 0)))
        .unwrap();
    let ada = AccountId::parse("ada").unwrap();
    let page = engine
        .queries()
        .audit_timeline(&ada, &AuditTimelineQuery::default(), None)
        .unwrap();
    let kinds: Vec<_> = page
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    let expected = [
        "account-registered",
        "password-set",
        "enrolment-started",
        "two-factor-enabled",
        "backup-codes-issued",
        "totp-accepted",
    ];
    assert_eq!(kinds, expected);
    let text = serde_json::to_string(&page).unwrap();
    for hidden in [secret.base32().as_str(), codes[0].as_str(), PASSWORD] {
        assert!(!text.contains(hidden));
    }
    let query = AuditPageQuery {
        types: Some(vec!["totp-accepted".into()]),
        ..AuditPageQuery::default()
    };
    let filtered = engine.queries().audit_page(&query, None).unwrap();
    assert_eq!(filtered.events, page.events[5..]);
}

#[test]
fn pages_of_any_size_give_the_whole_history_and_split_no_command() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let all = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    assert_eq!((all.events.len(), all.next), (8, None));
    for limit in 1..=8 {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let query = AuditPageQuery {
                after,
                limit: Some(limit),
                ..AuditPageQuery::default()
            };
            let page = engine.queries().audit_page(&query, None).unwrap();
            if let (Some(last), Some(first)) = (events.last(), page.events.first()) {
                let last: &countersign_schemas::reply::AuditEvent = last;
                assert_ne!(last.command_id, first.command_id, "limit {limit}");
            }
            events.extend(page.events);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(events, all.events, "limit {limit}");
    }
}

/// V-09, J-04: an event of a later build is named, never skipped.
#[test]
fn v09_an_event_of_a_future_version_stops_the_start_and_is_named() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let folder = fixture.data().join("log");
    let mut log = EventLog::open(&folder, LogOptions::default()).unwrap();
    let head = log.head();
    let last = log.reader().get(head).unwrap().unwrap();
    let mut record = Record::decode(&last).unwrap();
    record.schema_version = 77;
    record.version += 1;
    (record.group_index, record.group_len) = (0, 1);
    let command_id = CommandId::parse("later").unwrap();
    record.meta.command_id = "later".into();
    record.command_key = CommandKey::of(&record.meta.caller, &command_id);
    fixture.append(&mut log, vec![record.into_owned()]);
    log.close().unwrap();
    let message = fixture.try_start().err().unwrap().to_string();
    assert!(message.contains("version 77 is unknown"), "{message}");
}

#[test]
fn a_second_process_a_foreign_keyring_and_a_missing_log_are_refused_with_a_cure() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let second = fixture.try_start().err().unwrap();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
    drop(engine);
    let other = Fixture::new();
    std::fs::rename(fixture.data().join("log"), fixture.folder().join("aside")).unwrap();
    let missing = fixture.try_start().err().unwrap().to_string();
    assert!(missing.contains("restore"), "{missing}");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copy(&other.data().join("log"), &fixture.data().join("log"));
    let foreign = fixture.try_start().err().unwrap().to_string();
    assert!(foreign.contains("is not the one"), "{foreign}");
}

#[test]
fn views_that_are_deleted_are_rebuilt_from_the_log() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let ada = AccountId::parse("ada").unwrap();
    let before = engine.queries().login_status(&ada, None).unwrap();
    drop(engine);
    std::fs::remove_file(fixture.data().join("views.redb")).unwrap();
    let engine = fixture.start();
    assert_eq!(engine.queries().login_status(&ada, None).unwrap(), before);
}

#[test]
fn an_operator_sees_the_numbers_rebuilds_a_view_and_takes_a_backup_that_opens() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let stats = engine.admin().log_stats().unwrap();
    assert_eq!((stats.position, stats.segments.len()), (8, 1));
    assert_eq!(stats.events.iter().map(|event| event.count).sum::<u64>(), 8);
    let before = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    let unknown = engine.admin().view_rebuild("no-such-view").unwrap_err();
    assert_eq!(unknown.code, ErrorCode::RequestInvalid);
    let begun = engine.admin().view_rebuild("audit-trail").unwrap();
    assert_eq!(begun.head, Some(8));
    loop {
        let page = engine
            .queries()
            .audit_page(&AuditPageQuery::default(), None);
        assert_eq!(
            page.unwrap(),
            before,
            "the old one serves until the new one does"
        );
        if engine.admin().view_list().views[1].building.is_none() {
            break;
        }
    }
    let other = engine.admin().backing_up.lock().unwrap();
    let refused = engine.admin().backup().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Overloaded, "one at a time");
    drop(other);
    let backup = engine.admin().backup().unwrap();
    assert_eq!((backup.position, backup.files.len()), (8, 2));
    assert!(
        fixture
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
    drop(engine);
    // After the restore the log is as it was at the backup: one event shorter, and that event is
    // given up.
    take_the_backup_for_the_data(&fixture);
    let shorter = fixture.try_start().err().unwrap().to_string();
    assert!(shorter.contains("new-epoch --lost-from 9"), "{shorter}");
    let (data, keyring, options) = (fixture.data(), fixture.keyring(), LogOptions::default());
    new_epoch(&data, &keyring, 9, "the disk died", fixture.time(), options).unwrap();
    let engine = fixture.start();
    assert_eq!(engine.admin().log_stats().unwrap().position, 9);
    let restored = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None);
    assert_eq!(restored.unwrap().events[..8], before.events);
    // Sealed fields open with the copied keys, so a password is judged. The loss of events suspends
    // the factor, which only the right password reveals.
    let login = |password: &str| {
        let body = json!({"username": "ada", "password": password});
        fixture.send(&engine, "start-login", body).unwrap_err()
    };
    assert_eq!(
        login("another long password"),
        ErrorCode::CredentialsInvalid
    );
    assert_eq!(login(PASSWORD), ErrorCode::FactorSuspended);
}

fn take_the_backup_for_the_data(fixture: &Fixture) {
    for name in [
        "log",
        "keys.redb",
        "index.redb",
        "views.redb",
        "snapshots.redb",
    ] {
        let path = fixture.data().join(name);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
    }
    let copy = fixture.folder().join("backup");
    std::fs::rename(copy.join("log"), fixture.data().join("log")).unwrap();
    std::fs::rename(
        fixture.backups().keys.join("keys.redb"),
        fixture.data().join("keys.redb"),
    )
    .unwrap();
}

#[test]
fn the_numbers_of_the_log_are_those_of_its_records_and_files() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "grace");
    assert_numbers(&fixture, &engine);
    let cache = engine.admin().log_stats().unwrap().cache;
    assert!(cache.accounts == 2 && (1..cache.bytes_max).contains(&cache.bytes));
    drop(engine);
    // The counts in memory were written to the file and read back.
    let engine = fixture.start();
    assert_numbers(&fixture, &engine);
    let stats = engine.admin().log_stats().unwrap();
    assert_eq!((stats.index.waiting, stats.cache.accounts), (0, 0));
}

fn assert_numbers(fixture: &Fixture, engine: &Engine) {
    let stats = engine.admin().log_stats().unwrap();
    let page = engine.admin().log.read(1, usize::MAX, usize::MAX).unwrap();
    let mut expected = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for (_, bytes) in page.iter() {
        let event = Record::decode(bytes).unwrap().event().unwrap();
        let (count, len) = expected.entry(event.name().into()).or_default();
        (*count, *len) = (*count + 1, *len + bytes.len() as u64);
    }
    assert_eq!(
        stats.record_bytes,
        expected.values().map(|(_, len)| len).sum::<u64>()
    );
    let found = stats
        .events
        .into_iter()
        .map(|e| (e.kind, (e.count, e.record_bytes)));
    assert_eq!(
        found.collect::<std::collections::BTreeMap<_, _>>(),
        expected
    );
    assert_eq!(
        (stats.position, stats.index.position),
        (page.len() as u64, page.len() as u64)
    );
    let file = fixture.data().join("log").join(&stats.segments[0].file);
    assert_eq!(stats.file_bytes, std::fs::metadata(file).unwrap().len());
}

#[test]
fn a_restart_shows_the_history_at_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let engine = fixture.start();
    let page = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    assert_eq!(page.events.len(), 8);
}

#[test]
fn the_views_that_can_be_rebuilt_are_the_existing_ones() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let views = engine.admin().view_list().views;
    let schema = countersign_schemas::catalogue::document("view-rebuild-request").unwrap();
    let names = schema["$defs"]["ViewName"]["oneOf"].as_array().unwrap();
    assert_eq!(names.len(), views.len());
    for entry in views {
        let name: ViewName = serde_json::from_value(entry.view.clone().into()).unwrap();
        assert_eq!(name.as_str(), entry.view);
    }
}
