//! All views together: rebuilds, halts, idempotency.

use std::collections::HashMap;
use std::path::Path;

use countersign_schemas::ids::StreamKey;
use redb::{ReadableDatabase, ReadableTable};

use crate::audit_trail::{BY_ACCOUNT, BY_CALLER, BY_TYPE};
use crate::checkpoint::CheckpointTable;
use crate::login_view::ROWS;
use crate::testing::*;
use crate::{Entry, Row, ViewError, Views, account_card, fold, reset_queue};

pub(crate) const CACHE: usize = 1 << 20;
const VIEWS: [&str; 4] = ["login-status", "audit-trail", "account-card", "reset-queue"];

pub(crate) fn open(path: &Path) -> Views {
    Views::open(path, CACHE, &seal()).unwrap().0
}

/// Returns every row of every table, as text.
pub(crate) fn dump(views: &Views) -> Vec<String> {
    let read = views.database().begin_read().unwrap();
    let mut lines = Vec::new();
    macro_rules! rows {
        ($table:expr) => {
            for row in read.open_table($table).unwrap().iter().unwrap() {
                let (key, value) = row.unwrap();
                lines.push(format!(
                    "{} {:?} {:?}",
                    stringify!($table),
                    key.value(),
                    value.value()
                ));
            }
        };
    }
    rows!(ROWS);
    rows!(BY_ACCOUNT);
    rows!(BY_TYPE);
    rows!(BY_CALLER);
    rows!(account_card::CARDS);
    rows!(reset_queue::CASES);
    rows!(reset_queue::BY_ACCOUNT);
    rows!(reset_queue::BY_STATE);
    rows!(CheckpointTable::new("login-status@4/checkpoint"));
    rows!(CheckpointTable::new("audit-trail@3/checkpoint"));
    rows!(CheckpointTable::new("account-card@1/checkpoint"));
    rows!(CheckpointTable::new("reset-queue@1/checkpoint"));
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
    let held: Vec<u64> = views.list().iter().map(|v| v.checkpoint).collect();
    assert_eq!(held, [9, 2, 9, 9], "a halted view stays where it was");
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
    assert_eq!(views.halted().len(), VIEWS.len());
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
    assert_eq!(views.rebuild_forked(log(other)).unwrap(), VIEWS);
    assert_eq!(views.checkpoint(), 0);
    views.catch_up(&entries).unwrap();
    let shorter = log(entries[..3].to_vec());
    assert_eq!(views.rebuild_forked(shorter).unwrap(), VIEWS);
}

/// A rebuild can be ahead of the serving view, which may have halted before the events that the log
/// lost.
#[test]
fn a_view_that_is_built_from_another_history_than_the_logs_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&folder.path().join("views.redb"));
    let entries: Vec<Entry> = (1..=4).map(|n| entry(n, "ada", registered())).collect();
    views.catch_up(&entries[..2]).unwrap();
    views.rebuild(VIEWS[1]).unwrap();
    views.build(&entries).unwrap();
    let kept = |position: u64| Some(entries[..3].get(position as usize - 1)?.record.clone());
    assert_eq!(views.rebuild_forked(kept).unwrap(), [VIEWS[1]]);
    assert_eq!((views.checkpoint(), views.building()), (2, Some(0)));
}
