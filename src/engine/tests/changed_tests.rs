//! An attacker writes the data folder of a stopped service, without any key: neither derived files
//! nor changed records are trusted.

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use redb::{
    Database, Key, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction,
};
use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Account, LoginReply, Reply};
use crate::crypto::otp::TotpSecret;
use crate::engine::accounts::snapshots::TAIL_MAX;
use crate::engine::followers::rehash;
use crate::engine::{Engine, StartError};
use crate::log::index::Finding;

type Streams = TableDefinition<'static, (&'static [u8; 16], u32), (u64, &'static [u8; 16])>;
const STREAMS: Streams = TableDefinition::new("streams_v2");
const COMMANDS: TableDefinition<&[u8; 16], (u64, u16, u64)> = TableDefinition::new("commands_v1");
const NAMES: TableDefinition<&[u8; 16], &[u8; 16]> = TableDefinition::new("names_v1");
const EPOCHS: TableDefinition<(u16, u64), ()> = TableDefinition::new("read_at_start_v1");
const SEALS: TableDefinition<(u8, u16), &[u8; 16]> = TableDefinition::new("seals_v1");
type Tile = (&'static [u8; 16], &'static [u8]);
const TILES: TableDefinition<(u8, u64), Tile> = TableDefinition::new("tiles_v2");
type SnapshotRow = (
    u32,
    u64,
    &'static [u8; 16],
    &'static [u8],
    &'static [u8; 16],
);
const SNAPSHOTS: TableDefinition<([u8; 8], &[u8; 16]), SnapshotRow> =
    TableDefinition::new("snapshots_v2");
pub(in crate::engine) const RECORDS: TableDefinition<u64, &[u8]> =
    TableDefinition::new("records_v1");

fn stream(account: &str) -> StreamKey {
    StreamKey::of(&AccountId::parse(account).unwrap())
}

/// Edits a file of a stopped service, as redb itself would write it.
pub(in crate::engine) fn edit(
    fixture: &Fixture,
    file: &str,
    change: impl FnOnce(&WriteTransaction),
) {
    let db = Database::open(fixture.data().join(file)).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

/// Keys and values of a table of a stopped service's index.
fn rows<K: Key + 'static, V: Value + 'static, T>(
    fixture: &Fixture,
    table: TableDefinition<K, V>,
    row: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> T,
) -> Vec<T> {
    let db = Database::open(fixture.data().join("index.redb")).unwrap();
    let table = db.begin_read().unwrap().open_table(table).unwrap();
    let rows = table.iter().unwrap().map(|found| {
        let (key, value) = found.unwrap();
        row(key.value(), value.value())
    });
    rows.collect()
}

/// Starts the service until it is as before: a change found after the start stops it, and the next
/// start builds the index from the log.
fn restarted(
    fixture: &Fixture,
    mut attempt: impl FnMut(&Engine) -> Result<(), ErrorCode>,
) -> Engine {
    for _ in 0..3 {
        let engine = fixture.start();
        match attempt(&engine) {
            Ok(()) => return engine,
            Err(code) => {
                assert_eq!(code, ErrorCode::StoreUnavailable);
                assert!(engine.finding().is_some(), "it says what it met");
            }
        }
    }
    panic!("it does not come up again");
}

/// Ada with two factors, one code of which is used, and Bob.
fn ada_and_bob() -> (Fixture, TotpSecret, String) {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    fixture.pass(30);
    let used = codes[0].clone();
    fixture
        .send(&engine, "verify-login", verify(&used))
        .unwrap();
    drop(engine);
    (fixture, secret, used)
}

/// The used code is refused as used, and a good one is accepted.
fn holds(fixture: &Fixture, used: &str, secret: &TotpSecret) {
    let engine = restarted(fixture, |engine| {
        match fixture.send(engine, "verify-login", verify(used)) {
            Err(ErrorCode::CodeInvalid) => Ok(()),
            Err(code) => Err(code),
            Ok(reply) => panic!("a used code lives again: {reply:?}"),
        }
    });
    fixture.pass(30);
    let code = fixture.code(secret, 0);
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap();
}

///
#[test]
fn the_last_event_of_an_account_that_is_taken_out_of_the_index_does_not_free_a_used_code() {
    let (fixture, secret, used) = ada_and_bob();
    let ada = stream("ada").0;
    edit(&fixture, "index.redb", |txn| {
        let mut table = txn.open_table(STREAMS).unwrap();
        let last = table
            .range((&ada, 0)..=(&ada, u32::MAX))
            .unwrap()
            .next_back()
            .unwrap()
            .unwrap();
        let version = last.0.value().1;
        drop(last);
        table.remove((&ada, version)).unwrap();
    });
    holds(&fixture, &used, &secret);
}

#[test]
fn an_account_whose_events_are_all_taken_out_or_replaced_by_anothers_is_still_itself() {
    for by_anothers in [false, true] {
        let (fixture, secret, used) = ada_and_bob();
        let (ada, bob) = (stream("ada").0, stream("bob").0);
        edit(&fixture, "index.redb", |txn| {
            let mut table = txn.open_table(STREAMS).unwrap();
            table
                .retain_in((&ada, 0)..=(&ada, u32::MAX), |_, _| false)
                .unwrap();
            let of_bob: Vec<_> = table
                .range((&bob, 0)..=(&bob, u32::MAX))
                .unwrap()
                .map(|row| {
                    let (key, value) = row.unwrap();
                    (key.value().1, value.value().0, *value.value().1)
                })
                .collect();
            for (version, position, leaf) in of_bob.into_iter().filter(|_| by_anothers) {
                table.insert((&ada, version), (position, &leaf)).unwrap();
            }
        });
        holds(&fixture, &used, &secret);
    }
}

#[test]
fn an_older_copy_of_some_rows_and_of_their_seals_is_not_believed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    let old = codes[1].clone();
    fixture.pass(30);
    drop(engine);
    let older_streams = rows(&fixture, STREAMS, |key, value| {
        (*key.0, key.1, value.0, *value.1)
    });
    let older_seals = rows(&fixture, SEALS, |place, tag| (place, *tag));
    let engine = fixture.start();
    let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    fixture
        .send(&engine, "regenerate-backup-codes", body)
        .unwrap();
    drop(engine);
    // The rows of Ada, and every seal, as they were before the old codes were made worthless.
    let ada = stream("ada").0;
    edit(&fixture, "index.redb", |txn| {
        let mut table = txn.open_table(STREAMS).unwrap();
        table
            .retain_in((&ada, 0)..=(&ada, u32::MAX), |_, _| false)
            .unwrap();
        for (key, version, position, leaf) in older_streams.iter().filter(|row| row.0 == ada) {
            table.insert((key, *version), (*position, leaf)).unwrap();
        }
        let mut table = txn.open_table(SEALS).unwrap();
        for (place, tag) in &older_seals {
            table.insert(place, tag).unwrap();
        }
    });
    holds(&fixture, &old, &secret);
}

#[test]
fn a_name_that_is_taken_out_of_the_index_is_not_free_and_one_that_is_moved_leads_nowhere() {
    let (fixture, ..) = ada_and_bob();
    let names = rows(&fixture, NAMES, |name, holder| (*name, *holder));
    assert_eq!(names.len(), 2);
    let register = json!({"account_id": "eve", "username": "ada", "password": PASSWORD});
    edit(&fixture, "index.redb", |txn| {
        txn.open_table(NAMES).unwrap().retain(|_, _| false).unwrap();
    });
    let _ = restarted(&fixture, |engine| {
        match fixture.send(engine, "register-account", register.clone()) {
            Err(ErrorCode::AccountExists) => Ok(()),
            Err(code) => Err(code),
            Ok(reply) => panic!("the name is given away twice: {reply:?}"),
        }
    });
    edit(&fixture, "index.redb", |txn| {
        let mut table = txn.open_table(NAMES).unwrap();
        let [(one, _), (other, _)] = [names[0], names[1]];
        table.insert(&one, &names[1].1).unwrap();
        table.insert(&other, &names[0].1).unwrap();
    });
    let _ = restarted(&fixture, |engine| {
        let login = json!({"username": "ada", "password": PASSWORD});
        let started = fixture.send(engine, "start-login", login)?;
        assert!(matches!(
            started,
            Reply::Login(LoginReply::CodeRequired { .. })
        ));
        let card = engine
            .queries()
            .login_status(&AccountId::parse("ada").unwrap(), None);
        assert_eq!(card.unwrap().second_factor, FactorState::On);
        Ok(())
    });
}

#[test]
fn a_command_that_is_taken_out_of_the_index_has_no_second_effect() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let wrong = verify("000000");
    let first = fixture.send_as(&engine, "once", "verify-login", wrong.clone());
    assert_eq!(first.result.unwrap_err().code, ErrorCode::CodeInvalid);
    let version = |engine: &Engine| {
        let account = engine.shared.accounts.load(stream("ada"));
        account.map(|account| account.version)
    };
    let before = version(&engine).unwrap();
    drop((engine, codes));
    edit(&fixture, "index.redb", |txn| {
        let mut table = txn.open_table(COMMANDS).unwrap();
        table.retain(|_, _| false).unwrap();
    });
    let engine = restarted(&fixture, |engine| {
        let again = fixture.send_as(engine, "once", "verify-login", wrong.clone());
        match again.result {
            Err(refusal) if refusal.code == ErrorCode::StoreUnavailable => Err(refusal.code),
            result => {
                assert_eq!(result.unwrap_err().code, ErrorCode::CodeInvalid);
                assert!(again.replayed);
                Ok(())
            }
        }
    });
    assert_eq!(version(&engine).unwrap(), before);
}

#[test]
fn what_a_start_reads_again_cannot_be_taken_out() {
    let (fixture, secret, used) = ada_and_bob();
    edit(&fixture, "index.redb", |txn| {
        txn.open_table(EPOCHS)
            .unwrap()
            .retain(|_, ()| false)
            .unwrap();
    });
    holds(&fixture, &used, &secret);
}

#[test]
fn a_tile_that_was_changed_or_swapped_is_not_a_proof() {
    let (fixture, ..) = ada_and_bob();
    edit(&fixture, "index.redb", |txn| {
        let mut table = txn.open_table(TILES).unwrap();
        let row = table.get((0, 0)).unwrap().unwrap();
        let (tag, mut bytes) = (*row.value().0, row.value().1.to_vec());
        drop(row);
        bytes[3] ^= 1;
        table.insert((0, 0), (&tag, bytes.as_slice())).unwrap();
    });
    let engine = fixture.start();
    assert_eq!(
        engine.finding(),
        None,
        "it was built again before anything rested on it"
    );
    assert!(engine.queries().checkpoint().is_ok());
}

/// A snapshot of Ada, who has a long history, as the file has it: version, position, leaf, bytes,
/// tag.
type Found = (u32, u64, [u8; 16], Vec<u8>, [u8; 16]);

fn long_life() -> (Fixture, Vec<String>) {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    fixture
        .send(&engine, "verify-login", verify(&codes[0]))
        .unwrap();
    for _ in 0..=TAIL_MAX {
        let login = json!({"username": "ada", "password": PASSWORD});
        let _ = fixture.send(&engine, "start-login", login);
    }
    let accounts = &engine.shared.accounts;
    accounts.rebuild(stream("ada"), u32::MAX, u64::MAX).unwrap();
    accounts.save_snapshots();
    (fixture, codes)
}

fn edit_snapshot(fixture: &Fixture, change: impl FnOnce(&mut Found)) {
    edit(fixture, "snapshots.redb", |txn| {
        let mut table = txn.open_table(SNAPSHOTS).unwrap();
        let (fingerprint, mut found) = {
            let row = table.iter().unwrap().next().unwrap().unwrap();
            let (version, position, leaf, bytes, tag) = row.1.value();
            (
                row.0.value().0,
                (version, position, *leaf, bytes.to_vec(), *tag),
            )
        };
        change(&mut found);
        let (version, position, leaf, bytes, tag) = found;
        let row = (version, position, &leaf, bytes.as_slice(), &tag);
        table.insert((fingerprint, &stream("ada").0), row).unwrap();
    });
}

#[test]
fn a_snapshot_that_was_changed_is_no_snapshot() {
    type Change = fn(&mut Found);
    let changes: [(&str, Change); 4] = [
        ("turned off", |found| {
            let mut account: Account = postcard::from_bytes(&found.3).unwrap();
            account.factor = Default::default();
            found.3 = postcard::to_allocvec(&account).unwrap();
        }),
        ("trailing bytes", |found| found.3.push(0)),
        ("another place", |found| found.1 += 1),
        ("another record", |found| found.2[0] ^= 1),
    ];
    for (what, change) in changes {
        let (fixture, codes) = long_life();
        let engine = fixture.start();
        assert!(
            engine
                .shared
                .accounts
                .snapshot_version(stream("ada"))
                .is_some()
        );
        drop(engine);
        edit_snapshot(&fixture, change);
        let engine = fixture.start();
        assert_eq!(
            engine.shared.accounts.snapshot_version(stream("ada")),
            None,
            "{what}"
        );
        let account = engine.shared.accounts.load(stream("ada")).unwrap();
        assert!(account.on().is_some(), "{what}");
        let again = fixture.send(&engine, "verify-login", verify(&codes[0]));
        assert_eq!(again.unwrap_err(), ErrorCode::CodeInvalid, "{what}");
    }
}

/// Changes a byte of the payload of the record at a position, in the log's one segment.
pub(in crate::engine) fn change_record(fixture: &Fixture, position: u64) {
    edit(fixture, "log/00000001.redb", |txn| {
        let mut table = txn.open_table(RECORDS).unwrap();
        let mut record = table.get(position).unwrap().unwrap().value().to_vec();
        *record.last_mut().unwrap() ^= 1;
        table.insert(position, record.as_slice()).unwrap();
    });
}

#[test]
fn a_changed_record_is_found_when_its_account_is_folded_and_nothing_is_decided_after() {
    let (fixture, ..) = ada_and_bob();
    let engine = fixture.start();
    let ada = engine.shared.index.positions(&stream("ada"), 0, 9).unwrap();
    drop(engine);
    change_record(&fixture, ada[1]);
    let engine = fixture.start();
    let refused = fixture.send(&engine, "verify-login", verify("000000"));
    assert_eq!(refused.unwrap_err(), ErrorCode::StoreUnavailable);
    assert_eq!(engine.finding(), Some(Finding::Record { position: ada[1] }));
    let other = json!({"username": "bob", "password": PASSWORD});
    let refused = fixture.send(&engine, "start-login", other);
    assert_eq!(refused.unwrap_err(), ErrorCode::StoreUnavailable);
    let mut failed = engine.failed();
    while !*failed.borrow_and_update() {
        std::thread::yield_now();
    }
}

///
#[test]
fn a_changed_record_that_is_never_folded_is_found_by_hashing_the_log_again() {
    let (fixture, ..) = ada_and_bob();
    let engine = fixture.start();
    let bob = engine.shared.index.positions(&stream("bob"), 0, 9).unwrap();
    let go_on = |_| false;
    let log = engine.admin().log.clone();
    rehash::pass(&engine.shared, &log, go_on).unwrap();
    assert_eq!(engine.readings().verified_through, log.head());
    drop((engine, log));
    change_record(&fixture, bob[2]);
    let engine = fixture.start();
    let log = engine.admin().log.clone();
    assert!(rehash::pass(&engine.shared, &log, go_on).is_err());
    assert_eq!(engine.finding(), Some(Finding::Record { position: bob[2] }));
    assert!(engine.readings().verified_through < bob[2]);
}

#[test]
fn a_changed_record_is_found_when_views_or_the_index_are_built_from_it() {
    for (file, is_checkpoint) in [("views.redb", false), ("index.redb", true)] {
        let (fixture, ..) = ada_and_bob();
        let engine = fixture.start();
        let bob = engine.shared.index.positions(&stream("bob"), 0, 9).unwrap();
        drop(engine);
        change_record(&fixture, bob[2]);
        std::fs::remove_file(fixture.data().join(file)).unwrap();
        match fixture.try_start().err() {
            Some(StartError::Changed(Finding::Record { position })) if !is_checkpoint => {
                assert_eq!(position, bob[2]);
            }
            // What is folded into the index is compared with the signed checkpoints.
            Some(StartError::Checkpoint(_) | StartError::Record(_)) if is_checkpoint => {}
            other => panic!("{file}: {other:?}"),
        }
    }
}
