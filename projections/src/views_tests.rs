//! All views together: rebuilds, halts, idempotency.

use std::collections::HashMap;
use std::path::Path;

use countersign_schemas::ids::StreamKey;
use redb::{ReadableDatabase, TableHandle};

use crate::checkpoint::{CheckpointTable, tables_prefix};
use crate::testing::*;
use crate::{Entry, Row, ViewError, Views, fold};

pub(crate) const CACHE: usize = 1 << 20;

pub(crate) fn open(path: &Path) -> Views {
    Views::open(path, CACHE, &seal()).unwrap().0
}

/// Returns the names of all views.
pub(crate) fn names(views: &Views) -> Vec<&'static str> {
    views.list().iter().map(|view| view.name).collect()
}

/// Returns every row of every table, as text; each table of the file is among them.
pub(crate) fn dump(views: &Views) -> Vec<String> {
    let read = views.database().begin_read().unwrap();
    let mut lines = views.dump(&read);
    for view in views.list() {
        let prefix = tables_prefix(view.name, view.version);
        lines.extend(rows(&read, CheckpointTable::new(&(prefix + "checkpoint"))));
    }
    for table in read.list_tables().unwrap() {
        let is_shown = lines.iter().any(|line| line == table.name());
        let is_apart = table.name().ends_with("/seal") || table.name().starts_with("next:");
        assert!(is_shown || is_apart, "{} is not dumped", table.name());
    }
    lines
}

/// Hands over whole groups in slices of random length.
fn in_slices(
    groups: &[Vec<Entry<'static>>],
    random: &mut Random,
    mut each: impl FnMut(&[Entry<'static>]),
) {
    let mut rest = groups;
    while !rest.is_empty() {
        let len = rest.len().min(1 + random.below(40) as usize);
        each(&rest[..len].concat());
        rest = &rest[len..];
    }
}

#[test]
fn a_view_rebuilt_from_zero_equals_the_live_one() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=5 {
        let groups = history(seed, 1_000);
        let all = groups.concat();
        assert!(all.len() >= 1_900, "about 2,000 events");
        let live = open(&folder.path().join(format!("live-{seed}.redb")));
        let mut flush = Random(seed);
        in_slices(&groups, &mut Random(seed), |slice| {
            live.login_status().apply_committed(slice);
            live.catch_up(slice).unwrap();
            if flush.below(4) == 0 {
                live.flush().unwrap();
            }
        });
        let rebuilt = open(&folder.path().join(format!("rebuilt-{seed}.redb")));
        rebuilt.catch_up(&all).unwrap();
        assert_eq!(dump(&live), dump(&rebuilt), "seed {seed}");
        assert_eq!(live.halted(), []);
    }
}

#[test]
fn the_login_view_is_the_fold_of_what_was_committed_however_far_behind_the_table_is() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let mut random = Random(3);
    let mut rows: HashMap<StreamKey, Option<Row>> = HashMap::new();
    let mut waiting: Vec<Entry> = Vec::new();
    in_slices(&history(3, 600), &mut Random(4), |slice| {
        waiting.extend_from_slice(slice);
        if random.below(5) == 0 {
            views.catch_up(&waiting).unwrap();
        }
        views.login_status().apply_committed(slice);
        if random.below(3) == 0 {
            views.catch_up(&waiting).unwrap();
            waiting.clear();
        }
        for entry in slice {
            let row = rows.entry(entry.record.stream_key).or_default();
            *row = fold(row.take(), entry, &[]);
        }
        for (key, row) in &rows {
            assert_eq!(views.login_status().get(key).unwrap(), *row);
        }
        let last = slice.last().unwrap().position;
        assert_eq!(views.login_status().position(), last);
    });
}

/// J-07.
#[test]
fn applying_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let groups = history(6, 200);
    let all = groups.concat();
    views.catch_up(&all).unwrap();
    let once = dump(&views);
    views.catch_up(&all).unwrap();
    in_slices(&groups, &mut Random(1), |slice| {
        views.login_status().apply_committed(slice);
        views.catch_up(slice).unwrap();
    });
    assert_eq!(dump(&views), once);
    assert_eq!(views.halted(), []);
}

#[test]
fn a_gap_halts_that_projection_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.redb");
    let entries: Vec<Entry> = (1..=9).map(|n| entry(n, "ada", registered())).collect();
    let views = open(&path);
    views.catch_up(&entries[..5]).unwrap();
    views.set_audit_trail_back(&entries[1]);
    views.close().unwrap();
    let views = open(&path);
    assert_eq!(views.checkpoint(), 2);
    views.catch_up(&entries[4..7]).unwrap();
    let halted = views.halted();
    assert_eq!(halted.len(), 1);
    assert_eq!(halted[0].0, "audit-trail");
    assert!(halted[0].1.contains("expected position 3 and got 5"));
    assert_eq!(views.checkpoint(), 7, "the other views run");
    views.catch_up(&entries).unwrap();
    for view in views.list() {
        // A halted view stays at its position.
        let held = if view.name == "audit-trail" { 2 } else { 9 };
        assert_eq!(view.checkpoint, held, "{}", view.name);
    }
    // The next start tries again, and finds no gap from the view's own checkpoint.
    views.close().unwrap();
    let views = open(&path);
    views.catch_up(&entries[2..]).unwrap();
    assert_eq!((views.halted(), views.checkpoint()), (vec![], 9));
}

#[test]
fn a_gap_inside_a_slice_halts_with_nothing_of_the_slice_kept() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let mut entries: Vec<Entry> = (1..=9).map(|n| entry(n, "ada", registered())).collect();
    entries.remove(6);
    views.catch_up(&entries).unwrap();
    assert_eq!(views.halted().len(), names(&views).len());
    assert_eq!(views.checkpoint(), 0);
    assert_eq!(dump(&views), dump(&open(&folder.path().join("empty.redb"))));
}

#[test]
fn a_slice_that_splits_a_group_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let pair = || vec![registered(), totp_accepted()];
    let entries = [group(1, "ada", "a", pair()), group(3, "bob", "a", pair())].concat();
    let mut mixed = entries.clone();
    mixed[1].record.command_key.0 = [9; 16];
    for bad in [&entries[1..], &entries[..1], &entries[..3], &mixed] {
        let refused = views.catch_up(bad).unwrap_err();
        assert!(matches!(refused, ViewError::SplitGroup { .. }));
    }
    assert_eq!((views.checkpoint(), views.halted()), (0, vec![]));
    views.catch_up(&entries).unwrap();
    assert_eq!(views.checkpoint(), 4);
}

#[test]
fn a_view_of_another_history_than_the_logs_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let entries: Vec<Entry> = (1..=4).map(|n| entry(n, "ada", registered())).collect();
    let other: Vec<Entry> = (1..=4)
        .map(|n| group(n, "ada", "desk-ada", vec![registered()]).remove(0))
        .collect();
    let log = |entries: Vec<Entry<'static>>| {
        move |position: u64| Some(entries.get(position as usize - 1)?.record.clone())
    };
    views.catch_up(&entries).unwrap();
    assert_eq!(views.rebuild_forked(log(entries.clone())).unwrap(), [""; 0]);
    assert_eq!(views.rebuild_forked(log(other)).unwrap(), names(&views));
    assert_eq!(views.checkpoint(), 0);
    views.catch_up(&entries).unwrap();
    let shorter = log(entries[..3].to_vec());
    assert_eq!(views.rebuild_forked(shorter).unwrap(), names(&views));
}

/// A rebuild can be ahead of the serving view, which may have halted before the events that the log
/// lost.
#[test]
fn a_view_that_is_built_from_another_history_than_the_logs_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let entries: Vec<Entry> = (1..=4).map(|n| entry(n, "ada", registered())).collect();
    views.catch_up(&entries[..2]).unwrap();
    views.rebuild("audit-trail").unwrap();
    views.build(&entries).unwrap();
    let kept = |position: u64| Some(entries[..3].get(position as usize - 1)?.record.clone());
    assert_eq!(views.rebuild_forked(kept).unwrap(), ["audit-trail"]);
    assert_eq!((views.checkpoint(), views.building()), (2, Some(0)));
}

/// Returns a page's views: the first cell of each row of the tables with `view` as the first
/// column.
fn listed(page: &str) -> Vec<&str> {
    let mut lines = page.lines();
    let is_heading = |line: &str| line.starts_with("| view |");
    let mut found = Vec::new();
    while lines.by_ref().any(is_heading) {
        let rows = lines.by_ref().take_while(|line| line.starts_with('|'));
        let cells = rows.filter_map(|row| row.split('`').nth(1));
        found.extend(cells);
    }
    found.sort_unstable();
    found
}

#[test]
fn the_pages_list_every_view_in_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb")).list();
    let stored = include_str!("../../docs/reference/stored-format.md");
    let mut versions: Vec<_> = views
        .iter()
        .map(|view| format!("{}@{}", view.name, view.version))
        .collect();
    versions.sort();
    assert_eq!(listed(stored), versions);
    let runbook = include_str!("../../docs/how-to/runbooks/countersign-projection-lag.md");
    let mut names: Vec<_> = views.iter().map(|view| view.name).collect();
    names.sort_unstable();
    assert_eq!(listed(runbook), names);
}
