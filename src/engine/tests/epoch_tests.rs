//! A log that is not what was signed for is refused, and the one way on voids what may be wrong.

use std::fs;
use std::path::Path;

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use serde_json::{Value, json};

use super::house::{House, PASSWORD, verify};
use crate::account::{Reply, service};
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

pub(in crate::engine) fn archive(house: &House) -> Archive {
    let keyring = Keyring::load(&house.keyring()).unwrap();
    Archive::open(&house.keyring(), signer(&keyring)).unwrap()
}

pub(in crate::engine) fn begin(house: &House, lost_from: u64) -> Result<Epoch, NewEpochError> {
    let (data, keyring, now) = (house.data(), house.keyring(), house.time());
    let options = LogOptions::default();
    new_epoch(&data, &keyring, lost_from, "restored", now, options)
}

/// Ada with 2FA and Bob without, a copy of their data at position 11, then four codes used: the log
/// is at position 15 when it stops, and the data folder is the copy again.
pub(in crate::engine) fn restored() -> (House, TotpSecret, Vec<String>) {
    let house = House::new();
    let engine = house.start();
    let (secret, codes) = house.enrol(&engine, "ada");
    let bob = json!({"account_id": "bob", "username": "bob", "password": PASSWORD});
    house.send(&engine, "register-account", bob).unwrap();
    let opened = house.send(&engine, "start-login", login("ada", PASSWORD));
    assert!(matches!(opened, Ok(Reply::CodeRequired { .. })));
    drop(engine);
    let backup = house.folder().join("yesterday");
    copy(&house.data(), &backup);
    let engine = house.start();
    for code in &codes[..3] {
        house.send(&engine, "verify-login", verify(code)).unwrap();
    }
    house.pass(60);
    let code = verify(&house.code(&secret, 0));
    house.send(&engine, "verify-login", code).unwrap();
    drop(engine);
    restore(&backup, &house.data());
    (house, secret, codes)
}

fn refusal(house: &House) -> CheckpointRefusal {
    match house.try_start().err() {
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
    let house = House::new();
    assert_eq!(archive(&house).newest().unwrap().size, 1);
    let engine = house.start();
    // Before there is anything that the clock could have signed for meanwhile.
    assert_eq!(archive(&house).newest().unwrap().size, 1);
    house.enrol(&engine, "ada");
    engine.shared.sign_checkpoint().unwrap();
    assert_eq!(archive(&house).newest().unwrap().size, 8);
    let _ = house.send(&engine, "verify-login", verify("000000"));
    drop(engine);
    assert_eq!(archive(&house).newest().unwrap().size, 9);
}

#[test]
fn a_log_that_is_shorter_than_signed_for_is_refused_and_names_the_one_remedy() {
    let (house, ..) = restored();
    let refused = refusal(&house);
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
    assert!(house.try_start().is_err(), "again");
    assert!(matches!(
        begin(&house, 11),
        Err(NewEpochError::OtherLoss { due: 12 })
    ));
    assert!(house.try_start().is_err(), "nothing was begun");
}

#[test]
fn a_log_that_lost_its_checkpoints_does_not_pass_for_a_new_one() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    drop(engine);
    fs::remove_file(house.keyring().with_file_name("checkpoint")).unwrap();
    fs::remove_file(house.keyring().with_file_name("checkpoint-history")).unwrap();
    assert!(matches!(
        refusal(&house),
        CheckpointRefusal::Missing { head: 8, .. }
    ));
    assert_eq!(begin(&house, 9).unwrap().position, 9);
    house.start();
}

#[test]
fn a_log_that_went_another_way_than_signed_for_is_refused_where_it_parts() {
    let (house, ..) = restored();
    let keys = house.keyring().parent().unwrap().to_owned();
    let kept = house.folder().join("keys of the longer one");
    copy(&keys, &kept);
    // Whoever brings an older archive back too can go on from there, until the newest turns up.
    fs::remove_file(keys.join("checkpoint")).unwrap();
    let history = fs::read_to_string(keys.join("checkpoint-history")).unwrap();
    let old: Vec<_> = history
        .lines()
        .filter(|line| !line.contains(" 15 "))
        .collect();
    fs::write(keys.join("checkpoint-history"), old.join("\n") + "\n").unwrap();
    let engine = house.start();
    for _ in 0..6 {
        house.pass(900);
        let _ = house.send(&engine, "verify-login", verify("000000"));
    }
    drop(engine);
    restore(&kept, &keys);
    assert!(matches!(
        refusal(&house),
        CheckpointRefusal::Forked {
            archived: 15,
            lost_from: 12
        }
    ));
    begin(&house, 12).unwrap();
    house.start();
}

#[test]
fn nothing_is_given_up_of_a_log_that_is_whole() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    drop(engine);
    for lost_from in [1, 8, 9, 10] {
        assert!(matches!(
            begin(&house, lost_from),
            Err(NewEpochError::NothingLost)
        ));
    }
    house.start();
}

#[test]
fn after_a_loss_nothing_of_before_opens_an_account_and_new_ones_work() {
    let (house, secret, codes) = restored();
    begin(&house, 12).unwrap();
    let engine = house.start();
    house.pass(300);
    let suspended = Err(ErrorCode::FactorSuspended);
    let told = |name: &str, body: Value| house.send(&engine, name, body).map(|_| ());
    for code in [&codes[0], &codes[9], &house.code(&secret, 0)] {
        assert_eq!(told("verify-login", verify(code)), suspended);
    }
    let proof = |account: &str| json!({"account_id": account, "proof": {"password": PASSWORD}});
    for account in ["ada", "bob"] {
        assert_eq!(told("start-login", login(account, PASSWORD)), suspended);
        assert_eq!(
            told("start-login", login(account, "wrong password")),
            Err(ErrorCode::CredentialsInvalid)
        );
        assert_eq!(told("enable-2fa", proof(account)), suspended);
        assert_eq!(told("disable-2fa", proof(account)), suspended);
        assert_eq!(told("regenerate-backup-codes", proof(account)), suspended);
        let change = json!({"account_id": account, "password": PASSWORD, "new_password": "another password"});
        assert_eq!(told("change-password", change), suspended);
        let clear = json!({"account_id": account, "reason": "locked out"});
        assert_eq!(told("clear-attempts", clear), suspended);
        assert_eq!(status(&engine, account), (FactorState::On, 0, 0));
    }
    house.enrol(&engine, "eve");
    assert_eq!(status(&engine, "eve"), (FactorState::On, 2, 10));
    drop(engine);
    fs::remove_file(house.data().join("views.redb")).unwrap();
    fs::remove_file(house.data().join("index.redb")).unwrap();
    let engine = house.start();
    assert_eq!(status(&engine, "ada"), (FactorState::On, 0, 0));
    assert_eq!(status(&engine, "eve"), (FactorState::On, 2, 10));
    let opened = house.send(&engine, "start-login", login("eve", PASSWORD));
    assert!(matches!(opened, Ok(Reply::CodeRequired { .. })));
    let refused = house.send(&engine, "start-login", login("ada", PASSWORD));
    assert_eq!(refused.map(|_| ()), suspended);
}

/// A snapshot of before a loss must not bring back what the loss took: neither one that was kept
/// before it nor one that is kept after it.
#[test]
fn a_loss_suspends_an_account_that_has_a_snapshot_too() {
    let house = House::new();
    let engine = house.start();
    let (_, codes) = house.enrol(&engine, "ada");
    for _ in 0..=TAIL_MAX {
        house
            .send(&engine, "start-login", login("ada", PASSWORD))
            .unwrap();
    }
    drop(engine);
    // The account is folded, and a snapshot of it kept.
    let engine = house.start();
    let ada = StreamKey::of(&AccountId::parse("ada").unwrap());
    house
        .send(&engine, "start-login", login("ada", PASSWORD))
        .unwrap();
    // Whatever the indexer has not come to yet.
    engine.shared.accounts.save_snapshots();
    drop(engine);
    let kept = house.snapshots(&house.data().join("snapshots.redb"));
    let (_, snapshot) = kept.load(ada, u32::MAX).expect("a snapshot");
    assert!(!snapshot.until_reset);
    drop(kept);
    let backup = house.folder().join("yesterday");
    copy(&house.data(), &backup);
    let engine = house.start();
    house
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    let lost = engine.admin.log.head();
    drop(engine);
    restore(&backup, &house.data());
    begin(&house, lost).unwrap();
    for _ in 0..2 {
        let engine = house.start();
        for code in &codes[..2] {
            let told = house.send(&engine, "verify-login", verify(code));
            assert_eq!(told.unwrap_err(), ErrorCode::FactorSuspended);
        }
        for _ in 0..=TAIL_MAX {
            let told = house.send(&engine, "start-login", login("ada", PASSWORD));
            assert_eq!(told.unwrap_err(), ErrorCode::FactorSuspended);
        }
    }
}

/// What support sees is what the owner meets.
#[test]
fn the_card_after_a_loss_says_suspended_and_no_way_but_a_reset() {
    let (house, ..) = restored();
    begin(&house, 12).unwrap();
    let engine = house.start();
    for account in ["ada", "bob"] {
        let id = AccountId::parse(account).unwrap();
        let card = engine.queries().account_card(&id, None).unwrap();
        assert!(card.suspended && card.methods.is_empty());
        assert_eq!(card.second_factor, FactorState::On);
        assert_eq!((card.backup_codes_left, card.suspended_by), (0, None));
    }
    house.enrol(&engine, "eve");
    let id = AccountId::parse("eve").unwrap();
    let card = engine.queries().account_card(&id, None).unwrap();
    assert!(!card.suspended && card.methods.len() == 2);
}

/// What a loss suspended, with the factor on or off, a reset lets in again, for good.
#[test]
fn after_a_loss_a_reset_lets_the_owner_in_again() {
    let (house, ..) = restored();
    begin(&house, 12).unwrap();
    let engine = house.start();
    let by = |engine: &Engine, agent: &str, name: &str, body: Value| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut request = house.request(name, &body, &house.fresh_id(), engine);
        request.caller.name = agent.into();
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
        receiver.recv().unwrap().result.unwrap().reply
    };
    for account in ["ada", "bob"] {
        let body = json!({"account_id": account, "reason": "the loss", "ticket": "T-1"});
        let Reply::ResetRequested { case_id, .. } = by(&engine, "alice", "request-reset", body)
        else {
            panic!("a case is opened");
        };
        let case = json!({"case_id": case_id, "reason": "the loss"});
        by(&engine, "bert", "approve-reset", case.clone());
        house.pass(72 * 3_600);
        by(&engine, "alice", "execute-reset", case);
        assert_eq!(status(&engine, account).0, FactorState::Off);
        let login = house.send(&engine, "start-login", login(account, PASSWORD));
        assert!(matches!(login, Ok(Reply::LoginByPassword { .. })));
        // A snapshot of after the reset does not go through the loss once more.
        let stream = StreamKey::of(&AccountId::parse(account).unwrap());
        folds_alike_from_every_snapshot(&house, &engine, stream);
    }
    drop(engine);
    fs::remove_file(house.data().join("views.redb")).unwrap();
    fs::remove_file(house.data().join("index.redb")).unwrap();
    let engine = house.start();
    for account in ["ada", "bob"] {
        assert_eq!(status(&engine, account).0, FactorState::Off);
        let login = house.send(&engine, "start-login", login(account, PASSWORD));
        assert!(matches!(login, Ok(Reply::LoginByPassword { .. })));
    }
}

#[test]
fn a_second_loss_counts_on() {
    let (house, ..) = restored();
    assert_eq!(begin(&house, 12).unwrap().begun.epoch, 2);
    let engine = house.start();
    house.enrol(&engine, "eve");
    drop(engine);
    let backup = house.folder().join("today");
    copy(&house.data(), &backup);
    let engine = house.start();
    house.enrol(&engine, "zoe");
    drop(engine);
    restore(&backup, &house.data());
    let CheckpointRefusal::Shorter { lost_from, .. } = refusal(&house) else {
        panic!("shorter than the second epoch signed for");
    };
    let third = begin(&house, lost_from).unwrap();
    assert_eq!(
        (third.begun.epoch, third.begun.lost_from),
        (3, Some(lost_from))
    );
    let engine = house.start();
    assert_eq!(status(&engine, "eve"), (FactorState::On, 0, 0));
    drop(engine);
    // A log of the first epoch is not this one's, whatever it holds.
    restore(&house.folder().join("yesterday"), &house.data());
    assert!(matches!(refusal(&house), CheckpointRefusal::Shorter { .. }));
}

#[test]
fn an_interrupted_new_epoch_is_refused_at_start_and_finished_by_the_same_command() {
    for steps in [1, 2] {
        let (house, ..) = restored();
        let (data, now) = (house.data(), house.time());
        let mut found = Foundation::open(
            &data,
            &house.keyring(),
            LogOptions::default(),
            system_random,
            now,
        )
        .unwrap();
        let event = service::log_went_on(2, [7; 16], 12, now, "restored");
        found.append(&event, now).unwrap();
        drop(found);
        if steps == 2 {
            let keyring = Keyring::load(&house.keyring()).unwrap();
            keyring.begin_epoch(&house.keyring(), [7; 16]).unwrap();
        }
        let refused = house.try_start().err().unwrap();
        assert!(matches!(
            refused,
            StartError::EpochUnfinished { lost_from: 12 }
        ));
        assert!(matches!(
            begin(&house, 13),
            Err(NewEpochError::OtherLoss { due: 12 })
        ));
        let epoch = begin(&house, 12).unwrap();
        assert_eq!((epoch.position, epoch.begun.log_id), (12, [7; 16]));
        let engine = house.start();
        assert_eq!(engine.admin().log_stats().unwrap().position, 12);
        assert_eq!(status(&engine, "bob"), (FactorState::On, 0, 0));
    }
}

#[test]
fn an_account_folds_alike_from_every_snapshot_when_its_history_has_a_loss_in_it() {
    let (house, ..) = restored();
    begin(&house, 12).unwrap();
    let engine = house.start();
    let _ = house.send(&engine, "start-login", login("ada", "wrong password"));
    let ada = StreamKey::of(&AccountId::parse("ada").unwrap());
    let accounts = &engine.shared.accounts;
    let whole = accounts.rebuild(ada, u32::MAX, u64::MAX).unwrap();
    assert!(whole.until_reset && whole.on().unwrap().codes.left() == 0);
    let before = accounts.rebuild(ada, whole.version, 12).unwrap();
    assert!(before.until_reset, "its last event is after the loss");
    let before = accounts.rebuild(ada, whole.version - 1, 12).unwrap();
    assert!(!before.until_reset && before.on().unwrap().codes.left() == 10);
    folds_alike_from_every_snapshot(&house, &engine, ada);
}

fn folds_alike_from_every_snapshot(house: &House, engine: &Engine, stream: StreamKey) {
    let accounts = &engine.shared.accounts;
    let whole = accounts.rebuild(stream, u32::MAX, u64::MAX).unwrap();
    let path = house.folder().join("snapshots.redb");
    for version in 1..=whole.version {
        let snapshots = house.snapshots(&path);
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

/// Without its archive a log of one record passes for new, but not where the keyring knows better.
#[test]
fn a_log_of_an_earlier_epoch_is_refused_without_its_archive_too() {
    let house = House::new();
    let first = house.folder().join("first");
    copy(&house.data(), &first);
    let engine = house.start();
    house.enrol(&engine, "ada");
    drop(engine);
    restore(&first, &house.data());
    begin(&house, 2).unwrap();
    house.start();
    restore(&first, &house.data());
    fs::remove_file(house.keyring().with_file_name("checkpoint")).unwrap();
    fs::remove_file(house.keyring().with_file_name("checkpoint-history")).unwrap();
    assert!(matches!(
        refusal(&house),
        CheckpointRefusal::Missing { head: 1, .. }
    ));
    assert_eq!(begin(&house, 2).unwrap().begun.epoch, 3);
    house.start();
}

#[test]
fn an_older_copy_of_the_keyring_does_not_go_on_with_a_later_epoch() {
    let (house, ..) = restored();
    let keys = house.keyring().parent().unwrap().to_owned();
    let older = house.folder().join("older keys");
    copy(&keys, &older);
    // The archive of that day, from before what was lost.
    fs::remove_file(older.join("checkpoint")).unwrap();
    let history = fs::read_to_string(older.join("checkpoint-history")).unwrap();
    let old: Vec<_> = history
        .lines()
        .filter(|line| !line.contains(" 15 "))
        .collect();
    fs::write(older.join("checkpoint-history"), old.join("\n") + "\n").unwrap();
    begin(&house, 12).unwrap();
    let engine = house.start();
    house.enrol(&engine, "eve");
    drop(engine);
    restore(&older, &keys);
    assert!(matches!(
        house.try_start().err(),
        Some(StartError::Foreign { .. })
    ));
}
