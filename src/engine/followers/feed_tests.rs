//! The events read for publication arrive as whole commands, also after a long backlog.

use serde_json::json;

use super::*;
use crate::engine::tests::fixture::{Fixture, PASSWORD};

/// More commands than a portion has room for; each has two events.
const COMMANDS: usize = PORTION_EVENTS_MAX / 2 + 20;

#[test]
fn a_commands_events_stay_together_wherever_a_portion_ends() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for at in 0..COMMANDS {
        let name = format!("account-{at}");
        let body = json!({"account_id": name, "username": name, "password": PASSWORD});
        fixture.send(&engine, "register-account", body).unwrap();
    }
    let feed = engine.feed();
    let all = published_in(&feed, 0);
    assert!(all.iter().any(|event| event.group.size == 2));
    assert_eq!(all.last().unwrap().position, feed.head());
    // Started at each of the first events, a portion ends at each possible place within a command.
    let ends = all.iter().filter(|e| e.group.index + 1 == e.group.size);
    let ends: Vec<_> = ends.map(|event| event.position).take(5).collect();
    assert!(
        ends.windows(2).any(|two| two[1] % 2 != two[0] % 2),
        "{ends:?}"
    );
    for begin in ends {
        let rest = published_in(&feed, begin);
        let expected = all.iter().filter(|event| event.position > begin);
        assert!(rest.iter().eq(expected), "after {begin}");
    }
}

/// Reads everything after a position, portion by portion; each portion holds whole commands.
fn published_in(feed: &Feed, begin: u64) -> Vec<PublishedEvent> {
    let (mut events, mut through, mut portions) = (Vec::new(), begin, 0);
    while through < feed.head() {
        let portion = feed.after(through).unwrap();
        assert!(portion.through > through, "it comes to an end");
        assert!(portion.events.len() <= PORTION_EVENTS_MAX);
        let last = portion.events.last().unwrap();
        assert_eq!(
            last.group.index + 1,
            last.group.size,
            "the last command is whole"
        );
        if let Some(first) = portion.events.first().filter(|_| portions > 0) {
            assert_eq!(first.group.index, 0, "the first command is whole");
        }
        (through, portions) = (portion.through, portions + 1);
        events.extend(portion.events);
    }
    assert!(portions >= 2, "the backlog is longer than a portion");
    events
}

#[test]
fn an_event_that_only_the_stream_has_is_kept_beside_the_keyring_for_the_next_start() {
    use std::os::unix::fs::PermissionsExt;

    let fixture = Fixture::new();
    let engine = fixture.start();
    let feed = engine.feed();
    let body = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(&engine, "register-account", body).unwrap();
    let event = feed.after(0).unwrap().events.remove(0);
    assert!(feed.has(&event).unwrap());
    let mut beyond = event.clone();
    beyond.position = feed.head() + 1;
    assert!(!feed.has(&beyond).unwrap());
    let path = stream_witness::path(&fixture.keyring());
    for lost_from in [4, beyond.position] {
        feed.bear_witness(beyond.clone(), lost_from).unwrap();
        let kept: Witness = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((kept.lost_from, &kept.event), (lost_from, &beyond));
        assert_eq!(kept.log_id, feed.epochs()[0].log_id);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop((feed, engine));
    assert!(fixture.try_start().is_err());
}

#[test]
fn what_publication_reached_is_what_the_operator_is_shown() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let feed = engine.feed();
    assert!(engine.readings().publication.is_none());
    feed.publication().turn_on();
    feed.publication().halt("no broker".into());
    let shown = engine.readings().publication.unwrap();
    assert_eq!((shown.position, shown.lag), (0, feed.head()));
    assert_eq!(shown.halted.as_deref(), Some("no broker"));
}
