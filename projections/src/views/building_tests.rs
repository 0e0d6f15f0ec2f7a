//! A rebuilt view: the old one serves until the new one is complete, whatever happens between.

use std::path::Path;

use crate::testing::*;
use crate::views_tests::{dump, names, open};
use crate::{Entry, Filter, ViewError, Views};

/// Returns whole groups of about this many entries, from a position on.
fn slice(groups: &[Vec<Entry<'static>>], after: u64, entries: usize) -> Vec<Entry<'static>> {
    let mut taken = Vec::new();
    let rest = groups.iter().filter(|group| group[0].position > after);
    for group in rest {
        if taken.len() >= entries {
            break;
        }
        taken.extend_from_slice(group);
    }
    taken
}

/// Builds to the end of the history and switches.
fn finish(views: &Views, groups: &[Vec<Entry<'static>>]) {
    while let Some(after) = views.building() {
        let entries = slice(groups, after, 300);
        assert_eq!(views.build(&entries).unwrap(), []);
        views.switch().unwrap();
    }
}

fn building(views: &Views) -> Vec<Option<u64>> {
    views.list().iter().map(|view| view.building).collect()
}

fn found(views: &Views) -> Vec<u64> {
    let filter = Filter {
        account: Some(key("account-3")),
        ..Filter::default()
    };
    let page = views.audit_trail().positions(&filter, 0, 10_000);
    page.unwrap().positions
}

/// J-06: rebuilt twice, in one go or in parts, with slices of any size.
#[test]
fn j06_a_view_built_beside_itself_equals_the_live_one_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let groups = history(21, 800);
    let views = open(&folder.path().join("views.redb"));
    views.catch_up(&groups.concat()).unwrap();
    let live = dump(&views);
    for name in names(&views) {
        assert!(views.rebuild(name).unwrap());
        finish(&views, &groups);
        assert_eq!(dump(&views), live, "{name}");
    }
    for name in names(&views) {
        assert!(views.rebuild(name).unwrap());
    }
    finish(&views, &groups);
    assert_eq!(dump(&views), live, "all at once");
    assert_eq!((views.building(), views.halted()), (None, vec![]));
}

/// J-02.
#[test]
fn j02_a_rebuild_killed_anywhere_goes_on_while_the_old_view_serves() {
    let folder = tempfile::tempdir().unwrap();
    let groups = history(22, 800);
    let last = groups.concat().last().unwrap().position;
    let path = folder.path().join("views.redb");
    let views = open(&path);
    views.catch_up(&groups.concat()).unwrap();
    views.flush().unwrap();
    let (live, hers) = (dump(&views), found(&views));
    assert!(hers.len() > 10);
    for name in names(&views) {
        assert!(views.rebuild(name).unwrap());
    }
    // A kill leaves what a copy of the open file holds: the flushed state.
    let killed = |views: &Views, percent: u64| {
        views.flush().unwrap();
        let crashed = folder.path().join(format!("killed-{percent}.redb"));
        std::fs::copy(&path, &crashed).unwrap();
        crashed
    };
    for percent in [0, 50, 99] {
        while views.building().is_some_and(|at| at < last * percent / 100) {
            let entries = slice(&groups, views.building().unwrap(), 20);
            assert_eq!(views.build(&entries).unwrap(), []);
        }
        let again = open(&killed(&views, percent));
        assert_eq!(
            building(&again),
            building(&views),
            "{percent} %: it goes on"
        );
        assert_eq!((dump(&again), found(&again)), (live.clone(), hers.clone()));
        finish(&again, &groups);
        assert_eq!(dump(&again), live, "{percent} %");
    }
    finish(&views, &groups);
    assert_eq!(dump(&views), live);
}

#[test]
fn while_one_is_built_the_old_one_follows_the_log_and_the_new_one_is_not_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let groups = history(23, 600);
    let (first, second) = groups.split_at(400);
    let views = open(&folder.path().join("views.redb"));
    views.catch_up(&first.concat()).unwrap();
    assert!(views.rebuild("audit-trail").unwrap());
    let reached = slice(first, 0, 10_000).last().unwrap().position;
    assert_eq!(views.build(&slice(first, 0, 10_000)).unwrap(), []);
    views.catch_up(&second.concat()).unwrap();
    assert_eq!(
        views.switch().unwrap(),
        [""; 0],
        "it is behind the one that serves"
    );
    assert_eq!(views.building(), Some(reached));
    finish(&views, &groups);
    let fresh = open(&folder.path().join("fresh.redb"));
    fresh.catch_up(&groups.concat()).unwrap();
    assert_eq!(dump(&views), dump(&fresh));
}

#[test]
fn a_rebuilt_login_view_answers_throughout() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let entries: Vec<Vec<Entry>> = (1..=4)
        .map(|n| vec![entry(n, "ada", registered())])
        .collect();
    views.catch_up(&entries.concat()).unwrap();
    assert!(!views.rebuild("no-such-view").unwrap());
    assert!(views.rebuild("login-status").unwrap());
    let answers = || views.login_status().get(&key("ada")).unwrap().is_some();
    assert!(answers());
    assert_eq!(views.build(&entries[..2].concat()).unwrap(), []);
    assert!(answers());
    finish(&views, &entries);
    assert!(answers());
}

/// J-01.
#[test]
fn j01_a_fold_that_panics_halts_its_view_alone_and_a_rebuild_ends_the_halt() {
    let folder = tempfile::tempdir().unwrap();
    let groups = history(24, 300);
    let all = groups.concat();
    let views = open(&folder.path().join("views.redb"));
    views.catch_up(&slice(&groups, 0, 100)).unwrap();
    let before = views.checkpoint();
    let trail = || {
        let mut lines = dump(&views);
        lines.retain(|line| line.starts_with("BY_"));
        lines
    };
    let held = trail();
    panic_at(Some(("audit-trail", before + 30)));
    views.catch_up(&slice(&groups, before, 10_000)).unwrap();
    let last = all.last().unwrap().position;
    assert_eq!(views.checkpoint(), last, "the others go on");
    let halted = views.halted();
    assert_eq!((halted.len(), halted[0].0), (1, "audit-trail"));
    assert!(halted[0].1.contains("panicked"), "{halted:?}");
    assert_eq!(
        views.list()[1].checkpoint,
        before,
        "nothing of the slice is kept"
    );
    assert_eq!(trail(), held, "not a row of it either");
    // As long as it panics, the rebuild is given up and the halted view stays as it was.
    assert!(views.rebuild("audit-trail").unwrap());
    let given_up = views.build(&all).unwrap();
    assert_eq!((given_up.len(), given_up[0].0), (1, "audit-trail"));
    assert_eq!(views.list()[1].given_up.as_ref(), Some(&given_up[0].1));
    assert_eq!(
        (views.building(), views.list()[1].checkpoint),
        (None, before)
    );
    panic_at(None);
    assert!(views.rebuild("audit-trail").unwrap());
    assert_eq!(views.list()[1].given_up, None);
    finish(&views, &groups);
    assert_eq!(views.halted(), []);
    let fresh = open(&folder.path().join("fresh.redb"));
    fresh.catch_up(&all).unwrap();
    assert_eq!(dump(&views), dump(&fresh));
}

#[test]
fn a_slice_that_splits_a_group_is_refused_by_what_is_built_too() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let pair = group(1, "ada", "a", vec![registered(), totp_accepted()]);
    views.catch_up(&pair).unwrap();
    assert!(views.rebuild("audit-trail").unwrap());
    let refused = views.build(&pair[..1]).unwrap_err();
    assert!(matches!(refused, ViewError::SplitGroup { .. }));
    assert_eq!(views.building(), Some(0));
}

/// The tables of another version stay until this build's own have caught up.
#[test]
fn another_versions_tables_are_dropped_only_when_they_are_superseded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let older = redb::TableDefinition::<u64, u64>::new("audit-trail@0/by-account");
    let has_older = |path: &Path| {
        let db = redb::Database::open(path).unwrap();
        let read = redb::ReadableDatabase::begin_read(&db).unwrap();
        read.open_table(older).is_ok()
    };
    let db = redb::Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(older).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    let views = open(&path);
    views.catch_up(&[entry(1, "ada", registered())]).unwrap();
    views.close().unwrap();
    assert!(has_older(&path), "the previous build finds its own");
    let views = open(&path);
    assert!(views.rebuild("audit-trail").unwrap());
    views.drop_superseded().unwrap();
    assert_eq!(
        views.building(),
        Some(0),
        "what is being built is no leftover"
    );
    views.close().unwrap();
    assert!(!has_older(&path));
}
