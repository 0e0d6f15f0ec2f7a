//! Given, when, then.

use countersign_schemas::reply::FactorState;

use super::*;
use crate::Views;
use crate::testing::*;

/// The value of the shipped policy.
const LOW_CODES: u8 = 3;

fn views() -> (tempfile::TempDir, Views) {
    let folder = tempfile::tempdir().unwrap();
    let (views, _) = Views::open(
        &folder.path().join("views.redb"),
        1 << 20,
        &crate::testing::seal(),
    )
    .unwrap();
    (folder, views)
}

fn state(view: &LoginStatusView, account: &str) -> Option<FactorState> {
    let row = view.get(&key(account)).unwrap()?;
    Some(row.status(at(50), row.position, LOW_CODES).second_factor)
}

fn life() -> Vec<Entry<'static>> {
    let events = [
        registered(),
        enrolment_started(at(700)),
        two_factor_enabled(),
    ];
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|(e, position)| entry(position, "ada", e))
        .collect()
}

#[test]
fn what_the_writer_committed_is_seen_before_it_is_in_the_table() {
    let (_folder, views) = views();
    let (view, life) = (views.login_status(), life());
    view.apply_committed(&life[..2]);
    assert_eq!(state(view, "ada"), Some(FactorState::Pending));
    view.apply_committed(&life[2..]);
    assert_eq!(state(view, "ada"), Some(FactorState::On));
    assert_eq!(state(view, "bob"), None);
    assert_eq!((view.position(), views.checkpoint()), (3, 0));
}

#[test]
fn what_the_table_has_is_dropped_from_memory_and_still_seen() {
    let (_folder, views) = views();
    let (view, life) = (views.login_status(), life());
    view.apply_committed(&life);
    views.catch_up(&life[..2]).unwrap();
    assert_eq!(view.overlay.read().unwrap().rows.len(), 1);
    assert_eq!(state(view, "ada"), Some(FactorState::On));
    views.catch_up(&life).unwrap();
    assert_eq!(view.overlay.read().unwrap().rows.len(), 0);
    assert_eq!(state(view, "ada"), Some(FactorState::On));
}

#[test]
fn a_projector_ahead_of_the_writer_is_not_folded_twice_nor_hidden() {
    let (_folder, views) = views();
    let (view, life) = (views.login_status(), life());
    views.catch_up(&life).unwrap();
    view.apply_committed(&life[..1]);
    assert_eq!(state(view, "ada"), Some(FactorState::On));
    assert_eq!(view.overlay.read().unwrap().rows.len(), 0);
    assert_eq!(view.position(), 3);
}

#[test]
fn a_view_that_was_passed_over_does_not_answer_until_the_table_has_everything() {
    let (_folder, views) = views();
    let (view, life) = (views.login_status(), life());
    view.apply_committed(&life[..1]);
    view.apply_committed(&life[2..]);
    assert!(matches!(view.get(&key("ada")), Err(ViewError::Behind(_))));
    views.catch_up(&life[..2]).unwrap();
    assert!(matches!(view.get(&key("ada")), Err(ViewError::Behind(_))));
    views.catch_up(&life).unwrap();
    assert_eq!(state(view, "ada"), Some(FactorState::On));
}

#[test]
fn more_rows_than_memory_may_hold_wait_for_the_table() {
    let (_folder, views) = views();
    let view = views.login_status();
    let count = OVERLAY_ROWS_MAX as u64 + 1;
    let accounts: Vec<Entry> = (1..=count)
        .map(|n| entry(n, &format!("a-{n}"), registered()))
        .collect();
    view.apply_committed(&accounts);
    assert!(matches!(view.get(&key("a-1")), Err(ViewError::Behind(_))));
    views.catch_up(&accounts).unwrap();
    assert_eq!(state(view, "a-1"), Some(FactorState::Off));
}

#[test]
fn a_row_that_does_not_decode_is_an_error_and_not_a_missing_account() {
    let (_folder, views) = views();
    let txn = views.database().begin_write().unwrap();
    let mut table = txn.open_table(ROWS).unwrap();
    table.insert(&key("ada").0, [0xff; 3].as_slice()).unwrap();
    drop(table);
    txn.commit().unwrap();
    let view = views.login_status();
    assert!(matches!(
        view.get(&key("ada")),
        Err(ViewError::Damaged { .. })
    ));
    view.apply_committed(&life());
    assert!(matches!(view.get(&key("bob")), Err(ViewError::Behind(_))));
    views.catch_up(&life()).unwrap();
    assert_eq!(views.halted().len(), 1);
    assert_eq!(views.halted()[0].0, "login-status");
    assert!(views.rebuild("login-status").unwrap());
    assert_eq!(views.build(&life()).unwrap(), []);
    assert_eq!(views.switch().unwrap(), ["login-status"]);
    assert_eq!(state(view, "ada"), Some(FactorState::On));
}

#[test]
fn an_account_id_that_cannot_be_read_halts_the_view() {
    let (_folder, views) = views();
    let mut bad = entry(1, "ada", registered());
    bad.record.meta.account_id = "a.b".into();
    views.catch_up(&[bad]).unwrap();
    assert_eq!(views.halted()[0].0, "login-status");
    assert_eq!(views.checkpoint(), 1, "the audit trail continues");
}
