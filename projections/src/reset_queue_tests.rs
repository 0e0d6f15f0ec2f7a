//! Given, when, then.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::event::log::v1::EpochStarted;
use countersign_schemas::event::reset::v1::{CancelledBy, ResetExpired, ResetRejected};
use countersign_schemas::support::CaseState::{self, *};
use countersign_schemas::time::Micros;

use crate::Views;
use crate::testing::*;
use crate::views_tests::open;

/// Folds each event at the next position, from 1.
fn after(events: Vec<(&str, Event)>) -> (tempfile::TempDir, Views) {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let entries: Vec<_> = (1..)
        .zip(events)
        .map(|(position, (account, event))| entry(position, account, event))
        .collect();
    views.catch_up(&entries).unwrap();
    (folder, views)
}

fn in_state(views: &Views, state: CaseState, now: Micros) -> Vec<String> {
    let (cases, more) = views.reset_queue().cases(&[state], now, (0, 10)).unwrap();
    assert!(!more);
    let ids = cases
        .into_iter()
        .map(|(_, case)| case.case_id.as_str().to_owned());
    ids.collect()
}

fn late() -> Micros {
    at(1_000)
}

#[test]
fn every_case_is_found_by_its_state() {
    let rejected = Event::ResetRejected(ResetRejected {
        case_id: "c-3".into(),
        reason: sealed(),
    });
    let expired = Event::ResetExpired(ResetExpired {
        case_id: "c-6".into(),
    });
    let (_folder, views) = after(vec![
        ("ada", reset_requested("c-1", late())),
        ("bob", reset_requested("c-2", late())),
        ("bob", reset_approved("c-2", at(500))),
        ("cyd", reset_requested("c-3", late())),
        ("cyd", rejected),
        ("dan", reset_requested("c-4", late())),
        ("dan", reset_cancelled("c-4", CancelledBy::Login)),
        ("eve", reset_requested("c-5", late())),
        ("eve", reset_approved("c-5", at(500))),
        ("eve", reset_executed("c-5", late())),
        ("fay", reset_requested("c-6", late())),
        ("fay", expired),
    ]);
    let all = [
        (WaitingApproval, "c-1"),
        (CoolingOff, "c-2"),
        (Rejected, "c-3"),
        (Cancelled, "c-4"),
        (Executed, "c-5"),
        (Expired, "c-6"),
    ];
    for (state, case) in all {
        assert_eq!(in_state(&views, state, at(20)), [case], "{state:?}");
    }
    // These cases had no further event, and their time is over.
    assert_eq!(in_state(&views, Expired, late()), ["c-1", "c-2", "c-6"]);
    assert_eq!(in_state(&views, CoolingOff, late()), [""; 0]);
    let (approved, _) = views
        .reset_queue()
        .cases(&[CoolingOff], at(20), (0, 10))
        .unwrap();
    assert_eq!(approved[0].1.execute_after, Some(at(500)));
    assert_eq!(approved[0].1.approved_by.as_deref(), Some("login-gw"));
    let newest = views.reset_queue().newest(&key("eve")).unwrap().unwrap();
    assert_eq!(newest.closed, Some((at(10), "login-gw".into())));
    assert_eq!(views.reset_queue().newest(&key("gus")).unwrap(), None);
}

#[test]
fn a_long_queue_shows_the_oldest_and_says_that_there_are_more() {
    let events = (1..=7).map(|n| (format!("a-{n}"), reset_requested(&format!("c-{n}"), late())));
    let events: Vec<_> = events.collect();
    let events = events
        .iter()
        .map(|(a, e)| (a.as_str(), e.clone()))
        .collect();
    let (_folder, views) = after(events);
    let open = [WaitingApproval, CoolingOff];
    let queue = views.reset_queue();
    let (cases, more) = queue.cases(&open, at(20), (0, 3)).unwrap();
    let ids: Vec<_> = cases
        .iter()
        .map(|(_, case)| case.case_id.as_str())
        .collect();
    assert_eq!((ids, more), (vec!["c-1", "c-2", "c-3"], true));
    assert!(!queue.cases(&open, at(20), (0, 7)).unwrap().1);
    let (rest, more) = queue.cases(&open, at(20), (cases[2].0, 3)).unwrap();
    let ids: Vec<_> = rest.iter().map(|(_, case)| case.case_id.as_str()).collect();
    assert_eq!((ids, more), (vec!["c-4", "c-5", "c-6"], true));
    let (end, more) = queue.cases(&open, at(20), (rest[2].0, 3)).unwrap();
    assert_eq!((end.len(), more), (1, false));
}

#[test]
fn a_loss_ends_the_open_cases_and_an_erasure_forgets_them_all() {
    let loss = Event::EpochStarted(EpochStarted {
        epoch: 2,
        log_id: [2; 16],
        lost_from: Some(3),
        spent_through: 0,
        reason: "a disk".into(),
    });
    let erased = Event::AccountErased(AccountErased {
        reason: Some(sealed()),
    });
    let (_folder, views) = after(vec![
        ("ada", reset_requested("c-1", late())),
        ("ada", reset_executed("c-1", late())),
        ("bob", reset_requested("c-2", late())),
        ("", loss),
        ("cyd", reset_requested("c-3", late())),
        ("ada", erased),
    ]);
    assert_eq!(in_state(&views, Cancelled, at(20)), ["c-2"]);
    assert_eq!(in_state(&views, WaitingApproval, at(20)), ["c-3"]);
    assert_eq!(in_state(&views, Executed, at(20)), [""; 0]);
    assert_eq!(views.reset_queue().newest(&key("ada")).unwrap(), None);
}
