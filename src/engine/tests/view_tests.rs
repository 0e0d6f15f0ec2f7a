//! Views that fail, lie or are missing: commands go on, and the log decides.

use countersign_projections::Row;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::query::AuditPageQuery;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{LoginReply, Reply};
use crate::engine::Engine;

type Rows = TableDefinition<'static, &'static [u8; 16], &'static [u8]>;
const ROWS: Rows = TableDefinition::new("login-status@4/rows");
const CARDS: Rows = TableDefinition::new("account-card@1/cards");

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

/// Changes Ada's row in the file of a stopped service.
fn tamper(fixture: &Fixture, rows: Rows, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let db = Database::open(fixture.data().join("views.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let mut table = txn.open_table(rows).unwrap();
    let key = StreamKey::of(&ada()).0;
    let row = table.get(&key).unwrap().unwrap().value().to_vec();
    table.insert(&key, change(row).as_slice()).unwrap();
    drop(table);
    txn.commit().unwrap();
}

/// Stops the service once its views have everything.
fn stop(engine: Engine) {
    let all = AuditPageQuery::default();
    engine.queries().audit_page(&all, None).unwrap();
    drop(engine);
}

fn built(engine: &Engine, view: &str) {
    engine.admin().view_rebuild(view).unwrap();
    while engine
        .admin()
        .view_list()
        .views
        .iter()
        .any(|v| v.building.is_some())
    {
        std::thread::yield_now();
    }
}

fn status(engine: &Engine) -> Result<FactorState, ErrorCode> {
    let status = engine.queries().login_status(&ada(), None);
    status
        .map(|s| s.second_factor)
        .map_err(|refusal| refusal.code)
}

/// J-05: the view says off, the log says on. An attacker who edits a view cannot seal it, so it is
/// rebuilt.
#[test]
fn j05_a_login_view_that_was_edited_is_rebuilt_and_shows_the_truth() {
    let off = |row: Vec<u8>| {
        let row: Row = postcard::from_bytes(&row).unwrap();
        let factor = countersign_projections::Factor::Off;
        postcard::to_allocvec(&Row { factor, ..row }).unwrap()
    };
    let trailing = |row: Vec<u8>| [row, vec![0]].concat();
    for change in [off as fn(Vec<u8>) -> Vec<u8>, trailing] {
        let fixture = Fixture::new();
        let engine = fixture.start();
        let (secret, _) = fixture.enrol(&engine, "ada");
        stop(engine);
        tamper(&fixture, ROWS, change);
        let engine = fixture.start();
        assert_eq!(status(&engine), Ok(FactorState::On));
        let login = json!({"username": "ada", "password": PASSWORD});
        let started = fixture.send(&engine, "start-login", login).unwrap();
        assert!(
            matches!(started, Reply::Login(LoginReply::CodeRequired { .. })),
            "{started:?}"
        );
        fixture.pass(30);
        let code = fixture.code(&secret, 0);
        let done = fixture
            .send(&engine, "verify-login", verify(&code))
            .unwrap();
        assert!(matches!(done, Reply::Login(LoginReply::Verified { .. })));
    }
}

/// A missing row would mean an unknown account or, if callers vouch, one without 2FA.
#[test]
fn a_login_view_that_lacks_a_row_or_has_one_of_another_day_is_built_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let body = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", body).unwrap();
    stop(engine);
    let key = StreamKey::of(&ada()).0;
    let open = || Database::open(fixture.data().join("views.redb")).unwrap();
    let old = {
        let db = open();
        let table = db.begin_read().unwrap().open_table(ROWS).unwrap();
        table.get(&key).unwrap().unwrap().value().to_vec()
    };
    let engine = fixture.start();
    let enable = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    fixture.send(&engine, "enable-2fa", enable).unwrap();
    assert_eq!(status(&engine), Ok(FactorState::Pending));
    stop(engine);
    for row in [None, Some(old)] {
        let txn = open().begin_write().unwrap();
        let mut table = txn.open_table(ROWS).unwrap();
        table.remove(&key).unwrap();
        if let Some(old) = row {
            table.insert(&key, old.as_slice()).unwrap();
        }
        drop(table);
        txn.commit().unwrap();
        let engine = fixture.start();
        assert_eq!(status(&engine), Ok(FactorState::Pending));
        stop(engine);
    }
}

/// A checkpoint that was set too far would make the view skip events.
#[test]
fn a_view_whose_checkpoint_was_set_on_is_built_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    stop(engine);
    let checkpoint = |engine: &Engine| engine.admin().view_list().views[0].position;
    let table = TableDefinition::<u8, (u64, &[u8; 16], u64)>::new("login-status@4/checkpoint");
    let seals = TableDefinition::<u8, (&[u8; 32], &[u8; 16])>::new("login-status@4/seal");
    let before = std::fs::read(fixture.data().join("views.redb")).unwrap();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    stop(engine);
    let newest = {
        let db = Database::open(fixture.data().join("views.redb")).unwrap();
        let txn = db.begin_read().unwrap();
        let (table, seals) = (
            txn.open_table(table).unwrap(),
            txn.open_table(seals).unwrap(),
        );
        let (row, seal) = (
            table.get(0).unwrap().unwrap(),
            seals.get(0).unwrap().unwrap(),
        );
        let ((position, key, at), (leaf, tag)) = (row.value(), seal.value());
        (position, *key, at, *leaf, *tag)
    };
    std::fs::write(fixture.data().join("views.redb"), before).unwrap();
    let db = Database::open(fixture.data().join("views.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let (position, key, at, leaf, tag) = &newest;
    txn.open_table(seals)
        .unwrap()
        .insert(0, (leaf, tag))
        .unwrap();
    txn.open_table(table)
        .unwrap()
        .insert(0, (*position, key, *at))
        .unwrap();
    txn.commit().unwrap();
    drop(db);
    let engine = fixture.start();
    assert_eq!(status(&engine), Ok(FactorState::On));
    assert_eq!(checkpoint(&engine), newest.0);
}

/// J-01, J-03: a halted view stays behind; logins are decided from the log alone.
#[test]
fn j03_a_halted_view_is_reported_and_commands_go_on_without_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    stop(engine);
    tamper(&fixture, CARDS, |_| vec![0xff; 3]);
    let engine = fixture.start();
    fixture.pass(30);
    let code = fixture.code(&secret, 0);
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap();
    let replayed = fixture.send(&engine, "verify-login", verify(&code));
    assert_eq!(
        replayed.unwrap_err(),
        ErrorCode::CodeInvalid,
        "a code works once"
    );
    let card = |engine: &Engine| engine.queries().account_card(&ada(), None);
    assert!(card(&engine).is_err(), "what is behind is not shown");
    assert_eq!(status(&engine), Ok(FactorState::On), "the others go on");
    // The trail continues too, and has the login.
    let query = AuditPageQuery {
        types: Some(vec!["totp-accepted".into()]),
        ..AuditPageQuery::default()
    };
    let page = engine.queries().audit_page(&query, None).unwrap();
    assert_eq!(page.events.len(), 1);
    let halted = engine.admin().view_list().views[2].halted.clone();
    assert!(halted.is_some_and(|why| why.contains("damaged row")));
    built(&engine, "account-card");
    assert!(card(&engine).is_ok());
    assert_eq!(engine.admin().view_list().views[2].halted, None);
}

/// J-08.
#[test]
fn j08_deleted_views_are_built_at_the_next_start() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    drop(engine);
    std::fs::remove_file(fixture.data().join("views.redb")).unwrap();
    let engine = fixture.start();
    let list = engine.admin().view_list();
    assert!(
        list.views
            .iter()
            .all(|view| Some(view.position) == list.head)
    );
    assert_eq!(status(&engine), Ok(FactorState::On));
}

/// A card of a view that no longer follows the log would be taken for the newest.
#[test]
fn a_halted_view_does_not_answer_and_the_others_do() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let card = |engine: &Engine| engine.queries().account_card(&ada(), None);
    card(&engine).unwrap();
    stop(engine);
    tamper(&fixture, CARDS, |_| vec![0xff; 3]);
    let engine = fixture.start();
    let wrong = fixture.send(&engine, "verify-login", verify("000000"));
    assert_eq!(wrong.unwrap_err(), ErrorCode::CodeInvalid);
    assert_eq!(card(&engine).unwrap_err().code, ErrorCode::ProjectionBehind);
    assert_eq!(status(&engine), Ok(FactorState::On));
    let page = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None);
    assert!(page.is_ok_and(|page| page.events.len() > 8));
    let halted = engine.admin().view_list().views[2].halted.clone();
    assert!(halted.is_some());
    built(&engine, "account-card");
    assert_eq!(card(&engine).unwrap().wrong_codes, 1);
}
