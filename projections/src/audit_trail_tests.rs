//! Given, when, then.

use super::*;
use crate::Views;
use crate::testing::*;

fn filled(history: &[Entry]) -> (tempfile::TempDir, Views) {
    let folder = tempfile::tempdir().unwrap();
    let (views, _) = Views::open(
        &folder.path().join("views.redb"),
        1 << 20,
        &crate::testing::seal(),
    )
    .unwrap();
    views.catch_up(history).unwrap();
    (folder, views)
}

fn matches(filter: &Filter, entry: &Entry) -> bool {
    let account = filter.account.is_none_or(|key| {
        let is_own =
            entry.record.stream_kind == StreamKind::Account && entry.record.stream_key == key;
        let looked = looked_at(&entry.event).map(|id| StreamKey::of(&id));
        is_own || (asks_for_looks(&filter.types) && looked == Some(key))
    });
    let caller = filter.caller.as_ref();
    account
        && caller.is_none_or(|name| name.eq_ignore_ascii_case(&entry.record.meta.caller))
        && (filter.types.is_empty() || filter.types.contains(&entry.event.type_code()))
}

fn any_filter(random: &mut Random) -> Filter {
    let account = format!("account-{}", 1 + random.below(25));
    let types = [66, 2, 51, 48, 7_000, 16];
    Filter {
        account: (random.below(2) == 0).then(|| key(&account)),
        types: types[..random.below(types.len() as u64 + 1) as usize].to_vec(),
        caller: (random.below(2) == 0)
            .then(|| ["login-gw", "Desk-Ada", "unknown"][random.below(3) as usize].to_owned()),
    }
}

#[test]
fn every_filter_finds_what_a_scan_of_the_log_finds() {
    let history: Vec<Entry> = history(7, 1_000).concat();
    let (_folder, views) = filled(&history);
    let mut random = Random(11);
    for round in 0..300 {
        let filter = any_filter(&mut random);
        let after = random.below(history.len() as u64 + 10);
        let limit = 1 + random.below(60) as usize;
        let mut expected: Vec<u64> = history
            .iter()
            .filter(|e| e.position > after && matches(&filter, e))
            .map(|e| e.position)
            .collect();
        let next_after = (expected.len() > limit).then(|| expected[limit - 1]);
        expected.truncate(limit);
        let page = views
            .audit_trail()
            .positions(&filter, after, limit)
            .unwrap();
        let expected = Page {
            positions: expected,
            next_after,
        };
        assert_eq!(page, expected, "round {round}: {filter:?} after {after}");
    }
}

#[test]
fn a_search_that_looked_far_enough_says_where_to_go_on_and_misses_nothing() {
    let history: Vec<Entry> = history(8, 400).concat();
    let (_folder, views) = filled(&history);
    let mut random = Random(12);
    for round in 0..50 {
        let filter = any_filter(&mut random);
        let (mut found, mut after, mut pages) = (Vec::new(), 0, 0);
        loop {
            let page = views.audit_trail().search(&filter, after, 5, 12).unwrap();
            found.extend(page.positions);
            pages += 1;
            assert!(pages < 2_000, "round {round}: no progress for {filter:?}");
            match page.next_after {
                Some(next) => after = next,
                None => break,
            }
        }
        let expected: Vec<u64> = history
            .iter()
            .filter(|e| matches(&filter, e))
            .map(|e| e.position)
            .collect();
        assert_eq!(found, expected, "round {round}: {filter:?}");
    }
}

#[test]
fn no_filter_finds_every_position_up_to_the_checkpoint() {
    let history: Vec<Entry> = history(9, 20).concat();
    let (_folder, views) = filled(&history);
    let last = history.len() as u64;
    let page = views
        .audit_trail()
        .positions(&Filter::default(), 3, 500)
        .unwrap();
    assert_eq!(page.positions, (4..=last).collect::<Vec<_>>());
    assert_eq!(page.next_after, None);
    for after in [last, u64::MAX] {
        let page = views.audit_trail().positions(&Filter::default(), after, 5);
        assert_eq!(page.unwrap(), Page::default());
    }
}

#[test]
fn types_that_do_not_exist_find_nothing() {
    let (_folder, views) = filled(&history(9, 20).concat());
    let filter = Filter {
        types: vec![9_999],
        ..Filter::default()
    };
    let page = views.audit_trail().positions(&filter, 0, 5).unwrap();
    assert_eq!(page, Page::default());
}

#[test]
fn access_records_are_found_by_their_account_where_their_types_are_asked_for() {
    let looks: Vec<Event> = one_of_each()
        .into_iter()
        .filter(Event::is_look_up)
        .collect();
    let of_ada = looks.iter().find(|event| looked_at(event).is_some());
    let of_ada = of_ada.unwrap().clone();
    let history = [
        entry(1, "ada", registered()),
        entry(2, "", of_ada.clone()),
        entry(3, "bob", registered()),
        entry(4, "", of_ada.clone()),
    ];
    let (_folder, views) = filled(&history);
    let find = |account: &str, types: Vec<u16>| {
        let filter = Filter {
            account: Some(key(account)),
            types,
            ..Filter::default()
        };
        views
            .audit_trail()
            .positions(&filter, 0, 10)
            .unwrap()
            .positions
    };
    let code = of_ada.type_code();
    assert_eq!(find("ada", vec![]), [1], "her own history has none");
    assert_eq!(find("ada", vec![code]), [2, 4]);
    assert_eq!(find("ada", vec![code, registered().type_code()]), [1, 2, 4]);
    assert_eq!(find("bob", vec![code]), [0; 0]);
}
