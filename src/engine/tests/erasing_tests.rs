//! Erasing accounts: what is gone, what stays, and what a start completes.

use std::path::Path;
use std::sync::{Arc, mpsc};

use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::query::AuditTimelineQuery;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Held, LoginReply, Reply};
use crate::engine::intake::pool::Pool;
use crate::engine::message::Job;
use crate::engine::message::Submission;
use crate::engine::message::ToWriter;
use crate::engine::start::error::StartError;
use crate::engine::writer::Writer;
use crate::engine::writer::batch::{BATCH_ALONE_MAX, Batch};
use crate::engine::{Engine, Outcome, PasswordsBy, new_epoch, start};
use crate::log::{EventLog, LogOptions};

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

fn erase_ada() -> Value {
    json!({"account_id": "ada", "reason": "she asked for it"})
}

fn register(id: &str, name: &str) -> Value {
    json!({"account_id": id, "username": name, "password": PASSWORD})
}

fn erase(fixture: &Fixture, engine: &Engine) {
    let erased = fixture.send(engine, "erase-account", erase_ada());
    assert!(matches!(erased, Ok(Reply::AccountErased)), "{erased:?}");
}

/// Type and version of each event of ada's, as the audit trail shows them.
fn history(engine: &Engine) -> Vec<(String, u32)> {
    let page = engine
        .queries()
        .audit_timeline(&ada(), &AuditTimelineQuery::default(), None)
        .unwrap();
    let events = page.events.into_iter();
    events.map(|event| (event.kind, event.version)).collect()
}

fn status(engine: &Engine) -> Result<FactorState, ErrorCode> {
    let status = engine.queries().login_status(&ada(), None);
    status.map(|s| s.second_factor).map_err(|r| r.code)
}

fn log_in(fixture: &Fixture, engine: &Engine, name: &str) -> Result<Reply, ErrorCode> {
    let body = json!({"username": name, "password": PASSWORD});
    fixture.send(engine, "start-login", body)
}

/// Returns the reason of the log's last `account-erased`, if it can be read.
fn reason(engine: &Engine) -> Option<String> {
    let shared = &engine.shared;
    let found = (1..=shared.progress.committed())
        .rev()
        .find_map(|position| {
            let record = shared.accounts.record(position).unwrap();
            match record.event().unwrap() {
                Event::AccountErased(erased) => Some((record, erased.reason)),
                _ => None,
            }
        });
    let (record, reason) = found.unwrap();
    let held = Held {
        value: reason?,
        version: record.version,
        event_type: record.event_type,
        field: 1,
    };
    let bytes = shared.vault.open(record.stream_key, &held).unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

fn assert_gone(fixture: &Fixture, engine: &Engine, events: usize) {
    assert_eq!(status(engine), Err(ErrorCode::AccountNotFound));
    let shown = history(engine);
    assert_eq!(shown.len(), events);
    assert_eq!(shown.last().unwrap().0, "account-erased");
    let refused = log_in(fixture, engine, "ada").unwrap_err();
    assert_eq!(refused, ErrorCode::CredentialsInvalid);
    let shared = &engine.shared;
    assert!(shared.vault.is_erased(StreamKey::of(&ada()), 1).unwrap());
    assert!(!shared.vault.has_condemned());
}

#[test]
fn an_erased_account_is_gone_and_its_history_stays_without_what_was_sealed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    erase(&fixture, &engine);
    assert_gone(&fixture, &engine, 6);
    let code = fixture.code(&secret, 0);
    let refused = fixture.send(&engine, "verify-login", verify(&code));
    assert_eq!(refused.unwrap_err(), ErrorCode::AccountNotFound);
    let again = fixture.send(&engine, "erase-account", erase_ada());
    assert_eq!(again.unwrap_err(), ErrorCode::AccountNotFound);
    assert_eq!(reason(&engine).as_deref(), Some("she asked for it"));
}

#[test]
fn replies_about_an_erased_account_are_not_repeated() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture
        .send(&engine, "register-account", register("ada", "ada"))
        .unwrap();
    let enable = || {
        let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
        fixture.send_as(&engine, "once", "enable-2fa", body)
    };
    assert!(enable().result.is_ok() && enable().replayed);
    erase(&fixture, &engine);
    let refused = enable().result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OutcomeUnseen);
}

/// Every derived file is rebuilt from a log whose sealed names have no key any more.
#[test]
fn an_erased_account_stays_gone_over_restarts_and_rebuilds() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    erase(&fixture, &engine);
    let root = engine.shared.index.tree_head().unwrap();
    drop(engine);
    for gone in [&[][..], &["index.redb", "views.redb", "snapshots.redb"]] {
        for file in gone {
            std::fs::remove_file(fixture.data().join(file)).unwrap();
        }
        let engine = fixture.start();
        assert_gone(&fixture, &engine, 6);
        assert!(log_in(&fixture, &engine, "bob").is_ok());
        let same = engine.shared.index.root_at(root.0).unwrap();
        assert_eq!(same, root.1, "the tree commits to what is sealed");
    }
}

#[test]
fn id_and_name_are_free_again_and_the_next_life_goes_on_counting() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    erase(&fixture, &engine);
    let another = fixture.send(&engine, "register-account", register("eve", "ada"));
    assert!(another.is_ok(), "{another:?}");
    let taken = fixture.send(&engine, "register-account", register("ada", "ada"));
    assert_eq!(taken.unwrap_err(), ErrorCode::AccountExists);
    fixture
        .send(&engine, "register-account", register("ada", "ada2"))
        .unwrap();
    let versions: Vec<_> = history(&engine).into_iter().map(|event| event.1).collect();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    drop(engine);
    std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
    let engine = fixture.start();
    for (name, id) in [("ada", "eve"), ("ada2", "ada")] {
        let Ok(Reply::Login(LoginReply::ByPassword { account_id, .. })) =
            log_in(&fixture, &engine, name)
        else {
            panic!("{name} logs in");
        };
        assert_eq!(account_id.as_str(), id);
    }
}

/// Sends an erasure and returns where its outcome will arrive.
fn begin_erasure(
    fixture: &Fixture,
    engine: &Engine,
    id: &str,
    body: &Value,
) -> mpsc::Receiver<Outcome> {
    let (sender, receiver) = mpsc::channel();
    let request = fixture.request("erase-account", body, id, engine);
    let reply = Box::new(move |outcome| sender.send(outcome).unwrap());
    engine.submit(request, reply);
    receiver
}

#[test]
fn a_second_erasure_within_the_minute_and_its_repeat_are_answered_only_after_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture
        .send(&engine, "register-account", register("bob", "bob"))
        .unwrap();
    erase(&fixture, &engine);
    let body = json!({"account_id": "bob", "reason": "he too"});
    let first = begin_erasure(&fixture, &engine, "bob-1", &body);
    // Its event is durable and decides the next command, but its reply is still held back.
    while engine
        .queries()
        .login_status(&AccountId::parse("bob").unwrap(), None)
        .is_ok()
    {
        std::thread::yield_now();
    }
    let repeated = begin_erasure(&fixture, &engine, "bob-1", &body);
    let refused = log_in(&fixture, &engine, "bob");
    assert_eq!(refused.unwrap_err(), ErrorCode::CredentialsInvalid);
    assert!(first.try_recv().is_err() && repeated.try_recv().is_err());
    // Meanwhile the id is free, and its new life is not touched by the end of the old one.
    let again = fixture.send(&engine, "register-account", register("bob", "bob"));
    assert!(again.is_ok(), "{again:?}");
    assert!(engine.shared.vault.has_condemned());
    fixture.pass(60);
    let (first, repeated) = (first.recv().unwrap(), repeated.recv().unwrap());
    assert!(first.result.is_ok() && !first.replayed);
    assert!(repeated.result.is_ok() && repeated.replayed);
    assert!(log_in(&fixture, &engine, "bob").is_ok());
    drop(engine);
    let engine = fixture.start();
    assert!(log_in(&fixture, &engine, "bob").is_ok());
}

#[test]
fn a_stop_does_not_wait_for_the_minute() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture
        .send(&engine, "register-account", register("bob", "bob"))
        .unwrap();
    erase(&fixture, &engine);
    let body = json!({"account_id": "bob", "reason": "he too"});
    let waiting = begin_erasure(&fixture, &engine, "bob-1", &body);
    drop(engine);
    assert!(waiting.recv().unwrap().result.is_ok());
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        let target = to.join(file.file_name().unwrap());
        match file.is_dir() {
            true => copy(&file, &target),
            false => drop(std::fs::copy(&file, &target).unwrap()),
        }
    }
}

#[test]
fn a_restored_old_key_store_is_erased_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let (keys, old) = (
        fixture.data().join("keys.redb"),
        fixture.folder().join("old"),
    );
    std::fs::copy(&keys, &old).unwrap();
    let engine = fixture.start();
    erase(&fixture, &engine);
    drop(engine);
    std::fs::copy(&old, &keys).unwrap();
    let engine = fixture.start();
    assert_gone(&fixture, &engine, 6);
}

/// The log is restored to a time before the erasure and continues as a new epoch: the keys are gone
/// all the same, so the account must be too. The erasure's record is completed with what is known.
#[test]
fn a_restored_old_log_gets_the_erasure_once() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let old = fixture.folder().join("old");
    copy(&fixture.data(), &old);
    let engine = fixture.start();
    assert!(log_in(&fixture, &engine, "ada").is_ok());
    erase(&fixture, &engine);
    drop(engine);
    go_back(&fixture, &old);
    for _ in 0..2 {
        let engine = fixture.start();
        assert_gone(&fixture, &engine, 6);
        assert_eq!(reason(&engine), None);
    }
}

/// Restores the data folder to an older copy and continues as a new epoch.
fn go_back(fixture: &Fixture, old: &Path) {
    copy(old, &fixture.data());
    let Some(StartError::Checkpoint(refusal)) = fixture.try_start().err() else {
        panic!("events are lost");
    };
    let (data, keyring) = (fixture.data(), fixture.keyring());
    let lost_from = refusal.lost_from().unwrap();
    let options = LogOptions::default();
    new_epoch(&data, &keyring, lost_from, "lost", fixture.time(), options).unwrap();
}

/// A tombstone whose record was lost with its whole life concerns that life, not the next.
#[test]
fn a_tombstone_of_a_lost_life_does_not_erase_the_next_one() {
    let fixture = Fixture::new();
    let old = fixture.folder().join("old");
    copy(&fixture.data(), &old);
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    erase(&fixture, &engine);
    drop(engine);
    go_back(&fixture, &old);
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let engine = fixture.start();
    assert_eq!(status(&engine), Ok(FactorState::On));
    assert!(log_in(&fixture, &engine, "ada").is_ok());
}

/// Nothing of an account is sealed if another service checks its password and it only logged in.
fn begin_unsealed(fixture: &Fixture, engine: &Engine) {
    let login = fixture.send(engine, "start-login", json!({"account_id": "ada"}));
    assert!(login.is_ok(), "{login:?}");
}

/// No key identifies the life.
#[test]
fn a_tombstone_of_a_lost_life_does_not_erase_a_next_one_of_which_nothing_is_sealed() {
    let fixture = Fixture::new();
    let start = || fixture.start_with(|options| options.passwords_by = PasswordsBy::Caller);
    let old = fixture.folder().join("old");
    drop(start());
    copy(&fixture.data(), &old);
    let engine = start();
    begin_unsealed(&fixture, &engine);
    erase(&fixture, &engine);
    drop(engine);
    go_back(&fixture, &old);
    let engine = start();
    fixture.pass(1);
    begin_unsealed(&fixture, &engine);
    let before = history(&engine);
    drop(engine);
    assert_eq!(history(&start()), before);
}

/// The same account with an interrupted erasure: this life is the one to erase.
#[test]
fn an_interrupted_erasure_is_completed_although_nothing_is_sealed() {
    let fixture = Fixture::new();
    let start = || fixture.start_with(|options| options.passwords_by = PasswordsBy::Caller);
    let engine = start();
    begin_unsealed(&fixture, &engine);
    drop(engine);
    let old = fixture.folder().join("old");
    let keys = fixture.keyring();
    let keys = keys.parent().unwrap();
    copy(&fixture.data(), &old.join("data"));
    copy(keys, &old.join("keys"));
    let engine = start();
    erase(&fixture, &engine);
    drop(engine);
    let tombstones = old.join("keys").join("tombstones");
    copy(&keys.join("tombstones"), &tombstones);
    copy(&old.join("data"), &fixture.data());
    copy(&old.join("keys"), keys);
    assert_eq!(history(&start()).last().unwrap().0, "account-erased");
}

/// What a crash between the tombstone and the commit leaves: a log that does not have the record.
#[test]
fn an_erasure_that_never_reached_the_log_is_completed_and_its_repetition_is_answered() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    let (keys, old) = (fixture.keyring(), fixture.folder().join("old"));
    let keys = keys.parent().unwrap();
    copy(&fixture.data(), &old.join("data"));
    copy(keys, &old.join("keys"));
    let engine = fixture.start();
    let erased = fixture.send_as(&engine, "once", "erase-account", erase_ada());
    assert!(erased.result.is_ok());
    drop(engine);
    copy(
        &keys.join("tombstones"),
        &old.join("keys").join("tombstones"),
    );
    copy(&old.join("data"), &fixture.data());
    copy(&old.join("keys"), keys);
    let engine = fixture.start();
    assert_gone(&fixture, &engine, 6);
    let again = fixture.send_as(&engine, "once", "erase-account", erase_ada());
    assert!(again.replayed && again.result.is_ok());
}

#[test]
fn erasures_give_way_to_what_is_queued_behind_them() {
    const BEYOND: usize = 4;
    let fixture = Fixture::new();
    let engine = fixture.start();
    let erasures: Vec<_> = (0..BATCH_ALONE_MAX + BEYOND)
        .map(|n| fixture.request("erase-account", &erase_ada(), &format!("e-{n}"), &engine))
        .collect();
    let login = fixture.request("verify-login", &verify("000000"), "login", &engine);
    drop(engine);
    let (shared, log) = start::open(fixture.options()).unwrap();
    let (queue, inbox) = ToWriter::open();
    let pool = Arc::new(Pool::start(|_: Job| {}));
    let last_leaf = shared.index.last_leaf();
    let mut writer = Writer::new(shared, pool, queue.clone(), log);
    let (answered, order) = mpsc::channel();
    let named = erasures.into_iter().map(|request| (request, "erasure"));
    for (request, name) in named.chain([(login, "login")]) {
        let answered = answered.clone();
        let reply = Box::new(move |_| answered.send(name).unwrap());
        queue.submit(Submission::new(request, reply));
    }
    for _ in 0..2 {
        let mut batch = Batch::after(2, last_leaf);
        writer.drain(&mut batch, &inbox);
        assert!(writer.commit(batch).is_ok());
    }
    drop(answered);
    let order: Vec<_> = order.try_iter().collect();
    let login = order.iter().position(|name| *name == "login");
    assert_eq!(order.len(), BATCH_ALONE_MAX + BEYOND + 1);
    assert_eq!(
        login,
        Some(BATCH_ALONE_MAX),
        "before the erasures of the next turn"
    );
}

#[test]
fn a_damaged_tombstone_stops_the_start() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    erase(&fixture, &engine);
    drop(engine);
    let folder = fixture.keyring().with_file_name("tombstones");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    std::fs::write(file.path(), b"").unwrap();
    let refused = fixture.try_start().err().unwrap().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
}

/// The folder for tombstones cannot be written: nothing is begun.
#[test]
fn an_erasure_that_cannot_be_entombed_is_refused_and_changes_nothing() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    std::fs::write(fixture.keyring().with_file_name("tombstones"), b"").unwrap();
    let refused = fixture.send(&engine, "erase-account", erase_ada());
    assert_eq!(refused.unwrap_err(), ErrorCode::StoreUnavailable);
    assert_eq!(status(&engine), Ok(FactorState::On));
    assert!(log_in(&fixture, &engine, "ada").is_ok());
    drop(engine);
    let log = EventLog::open(&fixture.data().join("log"), LogOptions::default()).unwrap();
    log.close().unwrap();
}

/// The file cannot be rewritten: the keys to destroy are still there, so the erasure is not
/// reported as done.
#[test]
fn an_erasure_whose_rewrite_fails_is_not_reported_as_done_and_the_next_start_completes_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let staging = fixture.data().join("keys.redb.new");
    std::fs::create_dir(&staging).unwrap();
    std::fs::write(staging.join("in the way"), b"").unwrap();
    let unknown = fixture.send_as(&engine, "once", "erase-account", erase_ada());
    assert_eq!(unknown.result.unwrap_err().code, ErrorCode::OutcomeUnknown);
    assert!(log_in(&fixture, &engine, "ada").is_err());
    assert!(engine.shared.vault.has_condemned(), "it is still due");
    drop(engine);
    std::fs::remove_dir_all(&staging).unwrap();
    let engine = fixture.start();
    assert!(!engine.shared.vault.has_condemned());
    assert_gone(&fixture, &engine, 6);
    let again = fixture.send_as(&engine, "once", "erase-account", erase_ada());
    assert!(again.replayed && again.result.is_ok());
}
