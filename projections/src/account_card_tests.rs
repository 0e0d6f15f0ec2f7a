//! Given, when, then.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountErased, PasswordCause, PasswordSet};
use countersign_schemas::event::attempts::v1::AttemptsCleared;

use crate::testing::*;
use crate::views_tests::open;
use crate::{CardRow, Views};

fn wrong_code() -> Event {
    let all = one_of_each();
    all.into_iter()
        .find(|event| matches!(event, Event::TotpRejected(_)))
        .unwrap()
}

fn folded(events: Vec<Event>) -> Option<CardRow> {
    let folder = tempfile::tempdir().unwrap();
    let views: Views = open(&folder.path().join("views.redb"));
    for (position, event) in (1..).zip(events) {
        views.catch_up(&[entry(position, "ada", event)]).unwrap();
    }
    views.account_cards().get(&key("ada")).unwrap()
}

#[test]
fn a_card_counts_wrong_codes_since_the_last_login() {
    let password = Event::PasswordSet(PasswordSet {
        verifier: sealed(),
        cause: PasswordCause::Registered,
    });
    let cleared = Event::AttemptsCleared(AttemptsCleared {
        by: "agent-1".into(),
        reason: sealed(),
    });
    let mut events = vec![registered(), password, wrong_code(), wrong_code()];
    let card = folded(events.clone()).unwrap();
    assert_eq!(card.registered_at, at(1));
    assert_eq!(card.username, Some((1, sealed())));
    assert_eq!(card.password_set_at, Some(at(2)));
    assert_eq!((card.wrong_codes, card.wrong_code_at), (2, Some(at(4))));
    events.extend([totp_accepted(), wrong_code(), cleared]);
    let card = folded(events).unwrap();
    assert_eq!(card.last_login_at, Some(at(5)));
    assert_eq!((card.wrong_codes, card.wrong_code_at), (1, Some(at(6))));
    assert_eq!(card.cleared_at, Some(at(7)));
}

#[test]
fn an_erased_account_and_an_unknown_one_have_no_card() {
    let erased = Event::AccountErased(AccountErased {
        reason: Some(sealed()),
    });
    assert_eq!(folded(vec![registered(), erased]), None);
    assert_eq!(folded(vec![wrong_code()]), None);
}
