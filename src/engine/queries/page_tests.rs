//! Pages: where they end, and that no text chosen by a sender makes one impossible.

use countersign_schemas::audit::{AuditExportQuery, ExportFormat};
use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery, PAGE_MAX, ResetQueueQuery};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::AuditPage;
use serde_json::{Value, json};

use super::PAGE_BYTES_MAX;
use crate::engine::Engine;
use crate::engine::queries::support::CASES_MAX;
use crate::engine::tests::fixture::{Fixture, PASSWORD};

/// Bytes of a page's frame beside its items.
const FRAME_BYTES: usize = 64;

/// Returns the longest agent, of characters that take six bytes in JSON.
fn agent() -> Value {
    json!({"ip": "2001:db8::7", "agent": "\u{1}".repeat(999)})
}

/// Repeats a query until the views have caught up; how long that takes is no matter here.
fn caught_up<T>(ask: impl Fn() -> Result<T, Refusal>) -> T {
    loop {
        match ask() {
            Err(refusal) if refusal.code == ErrorCode::ProjectionBehind => {}
            other => return other.unwrap(),
        }
    }
}

fn login(fixture: &Fixture, engine: &Engine) {
    let body = json!({"account_id": "ada", "password": PASSWORD, "context": agent()});
    fixture.send(engine, "start-login", body).unwrap();
}

fn register(fixture: &Fixture, engine: &Engine) {
    let body = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    fixture.send(engine, "register-account", body).unwrap();
}

/// Follows `next` to the end; returns the positions of every page, each of which keeps the bound.
fn followed(page: impl Fn(u64) -> AuditPage) -> Vec<Vec<u64>> {
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = page(after);
        let bytes = serde_json::to_vec(&page).unwrap().len();
        assert!(bytes <= PAGE_BYTES_MAX + FRAME_BYTES, "{bytes}");
        found.push(page.events.iter().map(|event| event.position).collect());
        match page.next {
            Some(next) => after = next,
            None => return found,
        }
    }
}

#[test]
fn the_longest_agents_make_a_page_shorter_and_no_history_impossible() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine);
    for _ in 0..PAGE_MAX {
        login(&fixture, &engine);
    }
    let queries = engine.queries();
    let head = engine.admin().log_stats().unwrap().position;
    let ada = AccountId::parse("ada").unwrap();
    let limit = Some(PAGE_MAX);
    let timeline = followed(|after| {
        let after = Some(after);
        let query = AuditTimelineQuery { after, limit };
        caught_up(|| queries.audit_timeline(&ada, &query, None))
    });
    let everything = followed(|after| {
        let query = AuditPageQuery {
            after: Some(after),
            limit,
            ..AuditPageQuery::default()
        };
        caught_up(|| queries.audit_page(&query, None))
    });
    assert_eq!(everything.concat(), (1..=head).collect::<Vec<_>>());
    assert_eq!(timeline.concat().len(), usize::from(PAGE_MAX) + 2);
    // If pages ended by their count alone, there would be two.
    assert!(timeline.len() > 2 && timeline.iter().all(|page| !page.is_empty()));
}

/// An export has one of the end times, a page the other: both end before it.
#[test]
fn a_time_up_to_which_is_asked_is_not_in_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine);
    for _ in 0..3 {
        fixture.pass(60);
        login(&fixture, &engine);
    }
    let queries = engine.queries();
    let whole = caught_up(|| queries.audit_page(&AuditPageQuery::default(), None));
    let through = whole.events.last().unwrap().position;
    for event in &whole.events {
        let expected: Vec<_> = whole.events.iter().filter(|e| e.at < event.at).collect();
        let query = AuditPageQuery {
            to: Some(event.at),
            ..AuditPageQuery::default()
        };
        let page = caught_up(|| queries.audit_page(&query, None));
        assert_eq!(page.events.iter().collect::<Vec<_>>(), expected);
        assert_eq!(page.next, None);
        let query = AuditExportQuery {
            format: ExportFormat::Jsonl,
            through,
            after: None,
            types: None,
            account_id: None,
            from: None,
            to: Some(event.at),
            proofs: false,
        };
        let export = caught_up(|| queries.audit_export(&query));
        let events: Vec<_> = export.events.iter().map(|e| &e.event).collect();
        assert_eq!(events, expected);
    }
}

#[test]
fn more_open_cases_than_a_page_holds_are_all_found_by_its_next() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let reason = format!("x{}", "\u{1}".repeat(499));
    let cases = CASES_MAX + 1;
    for n in 0..cases {
        let account = format!("a-{n}");
        fixture.enrol(&engine, &account);
        // The first reasons are long, so that bytes end a page; later the count does.
        let reason = if n < CASES_MAX * 3 / 4 {
            reason.as_str()
        } else {
            "short"
        };
        let body = json!({"account_id": account, "reason": reason, "ticket": "T-1"});
        let mut request = fixture.request("request-reset", &body, &fixture.fresh_id(), &engine);
        request.caller.name = format!("agent-{n}");
        let (sender, receiver) = std::sync::mpsc::channel();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        receiver.recv().unwrap().result.unwrap();
    }
    let queries = engine.queries();
    let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let query = ResetQueueQuery { state: None, after };
        let queue = caught_up(|| queries.reset_queue(&query, None));
        assert!(serde_json::to_vec(&queue).unwrap().len() <= PAGE_BYTES_MAX + FRAME_BYTES);
        assert_eq!(queue.more, queue.next.is_some());
        found.extend(
            queue
                .cases
                .into_iter()
                .map(|case| case.account_id.as_str().to_owned()),
        );
        (after, pages) = (queue.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..cases).map(|n| format!("a-{n}")).collect();
    assert_eq!(found, expected);
    assert!(pages > 1);
}

#[test]
fn an_export_that_names_a_type_a_thousand_times_has_a_record_of_one() {
    let filter = |types: Vec<String>| {
        crate::engine::filter_text(&AuditExportQuery {
            format: ExportFormat::Csv,
            through: 1,
            after: None,
            types: Some(types),
            account_id: None,
            from: None,
            to: None,
            proofs: false,
        })
    };
    assert_eq!(
        filter(vec!["totp-accepted".into(); 3_000]),
        r#"{"types":["totp-accepted"]}"#
    );
}
