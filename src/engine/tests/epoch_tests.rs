//! A log that differs from the signed checkpoints is refused, and the one remedy voids what may be
//! wrong.

use std::fs;
use std::path::Path;

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{LoginReply, Reply, ResetReply, service};
use crate::crypto::keyring::Keyring;
use crate::crypto::otp::TotpSecret;
use crate::engine::accounts::snapshots::TAIL_MAX;
use crate::engine::keys::checkpoints::signer;
use crate::engine::start::error::{NewEpochError, StartError};
use crate::engine::start::foundation::Foundation;
use crate::engine::{Engine, Epoch, new_epoch, system_random};
use crate::log::LogOptions;
use crate::log::checkpoints::{Archive, CheckpointRefusal};

/// Copies a folder with everything in it.
pub(in crate::engine) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(file.file_name());
        match file.path().is_dir() {
            true => copy(&file.path(), &to),
            false => {
                fs::copy(file.path(), to).unwrap();
            }
        }
    }
}

pub(in crate::engine) fn restore(copy_of: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(copy_of, to);
}

fn login(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password})
}

pub(in crate::engine) fn archive(fixture: &Fixture) -> Archive {
    let keyring = Keyring::load(&fixture.keyring()).unwrap();
    Archive::open(&fixture.keyring(), signer(&keyring)).unwrap()
}

pub(in crate::engine) fn begin(fixture: &Fixture, lost_from: u64) -> Result<Epoch, NewEpochError> {
    let (data, keyring, now) = (fixture.data(), fixture.keyring(), fixture.time());
    let options = LogOptions::default();
    new_epoch(&data, &keyring, lost_from, "restored", now, options)
}

/// Ada with 2FA and Bob without, a copy of their data at position 11, then four codes used: the log
/// is at position 15 when it stops, and the data folder is the copy again.
pub(in crate::engine) fn restored() -> (Fixture, TotpSecret, Vec<String>) {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    let bob = json!({"account_id": "bob", "username": "bob", "password": PASSWORD});
    fixture.send(&engine, "register-account", bob).unwrap();
    let opened = fixture.send(&engine, "start-login", login("ada", PASSWORD));
    assert!(matches!(
        opened,
        Ok(Reply::Login(LoginReply::CodeRequired { .. }))
    ));
    drop(engine);
    let backup = fixture.folder().join("yesterday");
    copy(&fixture.data(), &backup);
    let engine = fixture.start();
    for code in &codes[..3] {
        fixture.send(&engine, "verify-login", verify(code)).unwrap();
    }
    fixture.pass(60);
    let code = verify(&fixture.code(&secret, 0));
    fixture.send(&engine, "verify-login", code).unwrap();
    drop(engine);
    restore(&backup, &fixture.data());
    (fixture, secret, codes)
}

fn refusal(fixture: &Fixture) -> CheckpointRefusal {
    match fixture.try_start().err() {
        Some(StartError::Checkpoint(refusal)) => refusal,
        other => panic!("not refused for its checkpoint: {other:?}"),
    }
}

fn status(engine: &Engine, account: &str) -> (FactorState, usize, u8) {
    let id = AccountId::parse(account).unwrap();
    let status = engine.queries().login_status(&id, None).unwrap();
    (
        status.second_factor,
        status.methods.len(),
        status.backup_codes_left,
    )
}

#[test]
fn the_head_is_signed_for_when_a_log_is_made_when_it_starts_and_when_it_stops() {
    let fixture = Fixture::new();
    assert_eq!(archive(&fixture).newest().unwrap().size, 1);
    let engine = fixture.start();
    // Before anything that the timer could have signed meanwhile.
    assert_eq!(archive(&fixture).newest().unwrap().size, 1);
    fixture.enrol(&engine, "ada");
    engine.shared.sign_checkpoint().unwrap();
    assert_eq!(archive(&fixture).newest().unwrap().size, 8);
    let _ = fixture.send(&engine, "verify-login", verify("000000"));
    drop(engine);
    assert_eq!(archive(&fixture).newest().unwrap().size, 9);
}

#[test]
fn a_log_that_is_shorter_than_signed_for_is_refused_and_names_the_one_remedy() {
    let (fixture, ..) = restored();
    let refused = refusal(&fixture);
    assert!(matches!(
        refused,
        CheckpointRefusal::Shorter {
            archived: 15,
            head: 11,
            lost_from: 12
        }
    ));
    let text = refused.to_string();
    assert!(text.contains("new-epoch --lost-from 12 --reason"), "{text}");
    assert!(fixture.try_start().is_err(), "again");
    assert!(matches!(
        begin(&fixture, 11),
        Err(NewEpochError::OtherLoss { due: 12 })
    ));
    assert!(fixture.try_start().is_err(), "nothing was begun");
}

#[test]
fn a_log_that_lost_its_checkpoints_does_not_pass_for_a_new_one() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    fs::remove_file(fixture.keyring().with_file_name("checkpoint")).unwrap();
    fs::remove_file(fixture.keyring().with_file_name("checkpoint-history")).unwrap();
    assert!(matches!(
        refusal(&fixture),
        CheckpointRefusal::Missing { head: 8, .. }
    ));
    assert_eq!(begin(&fixture, 9).unwrap().position, 9);
    fixture.start();
}

#[test]
fn a_log_that_diverges_from_what_was_signed_is_refused_where_it_parts() {
    let (fixture, ..) = restored();
    let keys = fixture.keyring().parent().unwrap().to_owned();
    let kept = fixture.folder().join("keys of the longer one");
    copy(&keys, &kept);
    // An attacker who also restores an older archive can continue from there, until the newest
    // returns.
    fs::remove_file(keys.join("checkpoint")).unwrap();
    let history = fs::read_to_string(keys.join("checkpoint-history")).unwrap();
    let old: Vec<_> = history
        .lines()
        .filter(|line| !line.contains(" 15 "))
        .collect();
    fs::write(keys.join("checkpoint-history"), old.join("\n") + "\n").unwrap();
    let engine = fixture.start();
    for _ in 0..6 {
        fixture.pass(900);
        let _ = fixture.send(&engine, "verify-login", verify("000000"));
    }
    drop(engine);
    restore(&kept, &keys);
    assert!(matches!(
        refusal(&fixture),
        CheckpointRefusal::Forked {
            archived: 15,
            lost_from: 12
        }
    ));
    begin(&fixture, 12).unwrap();
    fixture.start();
}

#[test]
fn nothing_is_given_up_of_a_log_that_is_whole() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    for lost_from in [1, 8, 9, 10] {
        assert!(matches!(
            begin(&fixture, lost_from),
            Err(NewEpochError::NothingLost)
        ));
    }
    fixture.start();
}

#[test]
fn after_a_loss_no_earlier_secret_opens_an_account_and_new_accounts_work() {
    let (fixture, secret, codes) = restored();
    begin(&fixture, 12).unwrap();
    let engine = fixture.start();
    fixture.pass(300);
    let suspended = Err(ErrorCode::FactorSuspended);
    let sent = |name: &str, body: Value| fixture.send(&engine, name, body).map(|_| ());
    for code in [&codes[0], &codes[9], &fixture.code(&secret, 0)] {
        assert_eq!(sent("verify-login", verify(code)), suspended);
    }
    let proof = |account: &str| json!({"account_id": account, "proof": {"password": PASSWORD}});
    for account in ["ada", "bob"] {
        assert_eq!(sent("start-login", login(account, PASSWORD)), suspended);
        assert_eq!(
            sent("start-login", login(account, "wrong password")),
            Err(ErrorCode::CredentialsInvalid)
        );
        assert_eq!(sent("enable-2fa", proof(account)), suspended);
        assert_eq!(sent("disable-2fa", proof(account)), suspended);
        assert_eq!(sent("regenerate-backup-codes", proof(account)), suspended);
        let change = json!({"account_id": account, "password": PASSWORD, "new_password": "another password"});
        assert_eq!(sent("change-password", change), suspended);
        let clear = json!({"account_id": account, "reason": "locked out"});
        assert_eq!(sent("clear-attempts", clear), suspended);
        assert_eq!(status(&engine, account), (FactorState::On, 0, 0));
    }
    fixture.enrol(&engine, "eve");
    assert_eq!(status(&engine, "eve"), (FactorState::On, 2, 10));
    drop(engine);
    fs::remove_file(fixture.data().join("views.redb")).unwrap();
    fs::remove_file(fixture.data().join("index.redb")).unwrap();
    let engine = fixture.start();
    assert_eq!(status(&engine, "ada"), (FactorState::On, 0, 0));
    assert_eq!(status(&engine, "eve"), (FactorState::On, 2, 10));
    let opened = fixture.send(&engine, "start-login", login("eve", PASSWORD));
    assert!(matches!(
        opened,
        Ok(Reply::Login(LoginReply::CodeRequired { .. }))
    ));
    let refused = fixture.send(&engine, "start-login", login("ada", PASSWORD));
    assert_eq!(refused.map(|_| ()), suspended);
}

/// A snapshot must not restore what a loss took, whether it was written before the loss or after
/// it.
#[test]
fn a_loss_suspends_an_account_that_has_a_snapshot_too() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    for _ in 0..=TAIL_MAX {
        fixture
            .send(&engine, "start-login", login("ada", PASSWORD))
            .unwrap();
    }
    drop(engine);
    // The account is folded, and a snapshot of it kept.
    let engine = fixture.start();
    let ada = StreamKey::of(&AccountId::parse("ada").unwrap());
    fixture
        .send(&engine, "start-login", login("ada", PASSWORD))
        .unwrap();
    // Whatever the indexer did not reach yet.
    engine.shared.accounts.save_snapshots();
    drop(engine);
    let kept = fixture.snapshots(&fixture.data().join("snapshots.redb"));
    let (_, snapshot) = kept.load(ada, u32::MAX).expect("a snapshot");
    assert!(!snapshot.until_reset);
    drop(kept);
    let backup = fixture.folder().join("yesterday");
    copy(&fixture.data(), &backup);
    let engine = fixture.start();
    fixture
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    let lost = engine.admin.log.head();
    drop(engine);
    restore(&backup, &fixture.data());
    begin(&fixture, lost).unwrap();
    for _ in 0..2 {
        let engine = fixture.start();
        for code in &codes[..2] {
            let reply = fixture.send(&engine, "verify-login", verify(code));
            assert_eq!(reply.unwrap_err(), ErrorCode::FactorSuspended);
        }
        for _ in 0..=TAIL_MAX {
            let reply = fixture.send(&engine, "start-login", login("ada", PASSWORD));
            assert_eq!(reply.unwrap_err(), ErrorCode::FactorSuspended);
        }
    }
}

/// Support sees what the owner meets.
#[test]
fn the_card_after_a_loss_says_suspended_and_no_way_but_a_reset() {
    let (fixture, ..) = restored();
    begin(&fixture, 12).unwrap();
    let engine = fixture.start();
    for account in ["ada", "bob"] {
        let id = AccountId::parse(account).unwrap();
        let card = engine.queries().account_card(&id, None).unwrap();
        assert!(card.suspended && card.methods.is_empty());
        assert_eq!(card.second_factor, FactorState::On);
        assert_eq!((card.backup_codes_left, card.suspended_by), (0, None));
    }
    fixture.enrol(&engine, "eve");
    let id = AccountId::parse("eve").unwrap();
    let card = engine.queries().account_card(&id, None).unwrap();
    assert!(!card.suspended && card.methods.len() == 2);
}

/// A reset restores, for good, an account that a loss suspended, with the factor on or off.
#[test]
fn after_a_loss_a_reset_lets_the_owner_in_again() {
    let (fixture, ..) = restored();
    begin(&fixture, 12).unwrap();
    let engine = fixture.start();
    let by = |engine: &Engine, agent: &str, name: &str, body: Value| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut request = fixture.request(name, &body, &fixture.fresh_id(), engine);
        request.caller.name = agent.into();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
        receiver.recv().unwrap().result.unwrap().reply
    };
    for account in ["ada", "bob"] {
        let body = json!({"account_id": account, "reason": "the loss", "ticket": "T-1"});
        let Reply::Reset(ResetReply::Requested { case_id, .. }) =
            by(&engine, "alice", "request-reset", body)
        else {
            panic!("a case is opened");
        };
        let case = json!({"case_id": case_id, "reason": "the loss"});
        by(&engine, "bert", "approve-reset", case.clone());
        fixture.pass(72 * 3_600);
        by(&engine, "alice", "execute-reset", case);
        assert_eq!(status(&engine, account).0, FactorState::Off);
        let login = fixture.send(&engine, "start-login", login(account, PASSWORD));
        assert!(matches!(
            login,
            Ok(Reply::Login(LoginReply::ByPassword { .. }))
        ));
        // A snapshot from after the reset does not apply the loss once more.
        let stream = StreamKey::of(&AccountId::parse(account).unwrap());
        folds_alike_from_every_snapshot(&fixture, &engine, stream);
    }
    drop(engine);
    fs::remove_file(fixture.data().join("views.redb")).unwrap();
    fs::remove_file(fixture.data().join("index.redb")).unwrap();
    let engine = fixture.start();
    for account in ["ada", "bob"] {
        assert_eq!(status(&engine, account).0, FactorState::Off);
        let login = fixture.send(&engine, "start-login", login(account, PASSWORD));
        assert!(matches!(
            login,
            Ok(Reply::Login(LoginReply::ByPassword { .. }))
        ));
    }
}

#[test]
fn a_second_loss_counts_on() {
    let (fixture, ..) = restored();
    assert_eq!(begin(&fixture, 12).unwrap().begun.epoch, 2);
    let engine = fixture.start();
    fixture.enrol(&engine, "eve");
    drop(engine);
    let backup = fixture.folder().join("today");
    copy(&fixture.data(), &backup);
    let engine = fixture.start();
    fixture.enrol(&engine, "zoe");
    drop(engine);
    restore(&backup, &fixture.data());
    let CheckpointRefusal::Shorter { lost_from, .. } = refusal(&fixture) else {
        panic!("shorter than the second epoch signed for");
    };
    let third = begin(&fixture, lost_from).unwrap();
    assert_eq!(
        (third.begun.epoch, third.begun.lost_from),
        (3, Some(lost_from))
    );
    let engine = fixture.start();
    assert_eq!(status(&engine, "eve"), (FactorState::On, 0, 0));
    drop(engine);
    // A log of the first epoch is refused, whatever it holds.
    restore(&fixture.folder().join("yesterday"), &fixture.data());
    assert!(matches!(
        refusal(&fixture),
        CheckpointRefusal::Shorter { .. }
    ));
}

#[test]
fn an_interrupted_new_epoch_is_refused_at_start_and_finished_by_the_same_command() {
    for steps in [1, 2] {
        let (fixture, ..) = restored();
        let (data, now) = (fixture.data(), fixture.time());
        let mut found = Foundation::open(
            &data,
            &fixture.keyring(),
            LogOptions::default(),
            system_random,
            now,
        )
        .unwrap();
        let event = service::log_went_on(2, [7; 16], 12, now, "restored");
        found.append(&event, now).unwrap();
        drop(found);
        if steps == 2 {
            let keyring = Keyring::load(&fixture.keyring()).unwrap();
            keyring.begin_epoch(&fixture.keyring(), [7; 16]).unwrap();
        }
        let refused = fixture.try_start().err().unwrap();
        assert!(matches!(
            refused,
            StartError::EpochUnfinished { lost_from: 12 }
        ));
        assert!(matches!(
            begin(&fixture, 13),
            Err(NewEpochError::OtherLoss { due: 12 })
        ));
        let epoch = begin(&fixture, 12).unwrap();
        assert_eq!((epoch.position, epoch.begun.log_id), (12, [7; 16]));
        let engine = fixture.start();
        assert_eq!(engine.admin().log_stats().unwrap().position, 12);
        assert_eq!(status(&engine, "bob"), (FactorState::On, 0, 0));
    }
}

#[test]
fn an_account_folds_alike_from_every_snapshot_when_its_history_has_a_loss_in_it() {
    let (fixture, ..) = restored();
    begin(&fixture, 12).unwrap();
    let engine = fixture.start();
    let _ = fixture.send(&engine, "start-login", login("ada", "wrong password"));
    let ada = StreamKey::of(&AccountId::parse("ada").unwrap());
    let accounts = &engine.shared.accounts;
    let whole = accounts.rebuild(ada, u32::MAX, u64::MAX).unwrap();
    assert!(whole.until_reset && whole.on().unwrap().codes.left() == 0);
    let before = accounts.rebuild(ada, whole.version, 12).unwrap();
    assert!(before.until_reset, "its last event is after the loss");
    let before = accounts.rebuild(ada, whole.version - 1, 12).unwrap();
    assert!(!before.until_reset && before.on().unwrap().codes.left() == 10);
    folds_alike_from_every_snapshot(&fixture, &engine, ada);
}

fn folds_alike_from_every_snapshot(fixture: &Fixture, engine: &Engine, stream: StreamKey) {
    let accounts = &engine.shared.accounts;
    let whole = accounts.rebuild(stream, u32::MAX, u64::MAX).unwrap();
    let path = fixture.folder().join("snapshots.redb");
    for version in 1..=whole.version {
        let snapshots = fixture.snapshots(&path);
        let place = engine
            .shared
            .index
            .places(&stream, version - 1, version)
            .unwrap()[0];
        let kept = accounts.rebuild(stream, version, 0).unwrap();
        snapshots.save(&[(stream, place, kept)]);
        let from_snapshot = accounts.with_snapshots(snapshots);
        let folded = from_snapshot.rebuild(stream, u32::MAX, u64::MAX).unwrap();
        assert_eq!(folded, whole, "version {version}");
    }
}

/// Without its archive a log of one record looks new, but not if the keyring has a later epoch.
#[test]
fn a_log_of_an_earlier_epoch_is_refused_without_its_archive_too() {
    let fixture = Fixture::new();
    let first = fixture.folder().join("first");
    copy(&fixture.data(), &first);
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    restore(&first, &fixture.data());
    begin(&fixture, 2).unwrap();
    fixture.start();
    restore(&first, &fixture.data());
    fs::remove_file(fixture.keyring().with_file_name("checkpoint")).unwrap();
    fs::remove_file(fixture.keyring().with_file_name("checkpoint-history")).unwrap();
    assert!(matches!(
        refusal(&fixture),
        CheckpointRefusal::Missing { head: 1, .. }
    ));
    assert_eq!(begin(&fixture, 2).unwrap().begun.epoch, 3);
    fixture.start();
}

#[test]
fn an_older_copy_of_the_keyring_does_not_go_on_with_a_later_epoch() {
    let (fixture, ..) = restored();
    let keys = fixture.keyring().parent().unwrap().to_owned();
    let older = fixture.folder().join("older keys");
    copy(&keys, &older);
    // The archive of that day, from before the lost events.
    fs::remove_file(older.join("checkpoint")).unwrap();
    let history = fs::read_to_string(older.join("checkpoint-history")).unwrap();
    let old: Vec<_> = history
        .lines()
        .filter(|line| !line.contains(" 15 "))
        .collect();
    fs::write(older.join("checkpoint-history"), old.join("\n") + "\n").unwrap();
    begin(&fixture, 12).unwrap();
    let engine = fixture.start();
    fixture.enrol(&engine, "eve");
    drop(engine);
    restore(&older, &keys);
    assert!(matches!(
        fixture.try_start().err(),
        Some(StartError::Foreign { .. })
    ));
}
