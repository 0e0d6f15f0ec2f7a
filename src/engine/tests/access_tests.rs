//! Access records: who viewed whose history, over the real engine.

use countersign_schemas::event::Event;
use countersign_schemas::event::audit::v1::OperatorAct;
use countersign_schemas::ids::{AccountId, Reason};
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::record::{Record, Role};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::AuditEvent;

use super::fixture::Fixture;
use crate::account::Held;
use crate::engine::queries::access::Access;
use crate::engine::request::Viewer;
use crate::engine::shared::access_records::WINDOW_S;
use crate::engine::shared::subject_rates::{NEW_SUBJECTS_MAX, RATE_WINDOW_S};
use crate::engine::{Caller, Engine};

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

fn viewer(name: &str, on_behalf_of: Option<&str>) -> Viewer {
    Viewer {
        caller: Caller {
            name: name.into(),
            verified: true,
            role: Role::Audit,
        },
        on_behalf_of: on_behalf_of.map(Into::into),
        trace_id: Some([7; 16]),
    }
}

fn recorded(engine: &Engine) -> Vec<AuditEvent> {
    let types = ["subject-viewed", "audit-exported"].map(Into::into);
    let query = AuditPageQuery {
        types: Some(types.into()),
        limit: Some(500),
        ..AuditPageQuery::default()
    };
    engine.queries().audit_page(&query, None).unwrap().events
}

#[test]
fn an_access_record_names_the_viewer_and_the_person_acted_for() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let access = Access::Viewed(Some(&ada()), "audit-timeline");
    let queries = engine.queries();
    queries
        .record_access(&viewer("auditor", Some("Grace H.")), &access)
        .unwrap();
    let events = recorded(&engine);
    let hers = AuditPageQuery {
        types: Some(vec!["subject-viewed".into()]),
        account_id: Some(ada()),
        ..AuditPageQuery::default()
    };
    let hers = queries.audit_page(&hers, None).unwrap();
    assert_eq!(hers.events, events, "found by the viewed account");
    let shown = serde_json::to_value(&events[0]).unwrap();
    assert_eq!(
        shown["data"],
        serde_json::json!({"account_id": "ada", "query": "audit-timeline"})
    );
    assert_eq!(shown["caller"]["name"], "auditor");
    assert_eq!(shown["caller"]["role"], "audit");
    assert_eq!(shown["on_behalf_of"], "Grace H.");
    assert_eq!(shown["trace_id"], "07070707070707070707070707070707");
    assert_eq!(shown.get("account_id"), None, "it is the log's own event");
    let folder = fixture.data();
    drop(engine);
    for file in ["log/00000001.redb", "index.redb", "views.redb"] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        assert!(!bytes.windows(8).any(|w| w == b"Grace H."), "{file}");
    }
}

#[test]
fn one_record_covers_ten_minutes_of_the_same_access_and_no_other() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    let (ada, bob) = (ada(), AccountId::parse("bob").unwrap());
    let timeline = Access::Viewed(Some(&ada), "audit-timeline");
    let access = |viewer: &Viewer, what: &Access| queries.record_access(viewer, what).unwrap();
    let auditor = viewer("auditor", None);
    for _ in 0..1_000 {
        access(&auditor, &timeline);
    }
    assert_eq!(recorded(&engine).len(), 1);
    access(&viewer("other", None), &timeline);
    access(&viewer("auditor", Some("Grace")), &timeline);
    access(&auditor, &Access::Viewed(Some(&bob), "audit-timeline"));
    access(&auditor, &Access::Viewed(Some(&ada), "account-card"));
    access(&auditor, &Access::Viewed(None, "reset-queue"));
    access(&auditor, &Access::Exported(None, "jsonl", "{}".into()));
    assert_eq!(recorded(&engine).len(), 7);
    fixture.pass(WINDOW_S - 1);
    access(&auditor, &timeline);
    assert_eq!(recorded(&engine).len(), 7);
    fixture.pass(1);
    access(&auditor, &timeline);
    access(&auditor, &timeline);
    assert_eq!(recorded(&engine).len(), 8);
}

#[test]
fn an_access_record_is_durable_when_its_query_is_answered() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let access = Access::Viewed(Some(&ada()), "audit-page");
    let auditor = viewer("auditor", None);
    engine.queries().record_access(&auditor, &access).unwrap();
    let log = &engine.admin.log;
    let record = log.get(log.head()).unwrap().unwrap();
    let event = Record::decode(&record).unwrap().event().unwrap();
    assert_eq!(event.name(), "subject-viewed");
    drop(engine);
    assert_eq!(recorded(&fixture.start()).len(), 1);
}

#[test]
fn what_cannot_be_recorded_is_not_shown() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    drop(engine);
    let access = Access::Viewed(Some(&ada()), "audit-page");
    let refused = queries.record_access(&viewer("auditor", None), &access);
    assert_eq!(refused.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[test]
fn an_access_changes_no_account() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let page = |engine: &Engine| {
        let query = AuditTimelineQuery::default();
        engine.queries().audit_timeline(&ada(), &query, None)
    };
    let before = page(&engine).unwrap();
    let access = Access::Viewed(Some(&ada()), "audit-timeline");
    let auditor = viewer("auditor", None);
    engine.queries().record_access(&auditor, &access).unwrap();
    assert_eq!(page(&engine).unwrap(), before);
}

fn counts(engine: &Engine) -> Vec<serde_json::Value> {
    let query = AuditPageQuery {
        types: Some(vec!["look-ups-counted".into()]),
        ..AuditPageQuery::default()
    };
    let page = engine.queries().audit_page(&query, None).unwrap();
    let data = |event| serde_json::to_value(event).unwrap();
    page.events.into_iter().map(data).collect()
}

///
#[test]
fn once_its_time_is_over_a_second_record_counts_the_further_accesses() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    let timeline = ada();
    let timeline = Access::Viewed(Some(&timeline), "audit-timeline");
    let auditor = viewer("auditor", None);
    for _ in 0..1_000 {
        queries.record_access(&auditor, &timeline).unwrap();
    }
    let once = Access::Viewed(None, "reset-queue");
    queries.record_access(&auditor, &once).unwrap();
    fixture.pass(WINDOW_S);
    assert_eq!(counts(&engine), [0; 0]);
    // The next command records what is due.
    queries.record_access(&auditor, &timeline).unwrap();
    let counted = counts(&engine);
    assert_eq!(counted.len(), 1, "one access has its record already");
    let data = serde_json::json!({"account_id": "ada", "query": "audit-timeline", "count": 999});
    assert_eq!(counted[0]["data"], data);
    assert_eq!(counted[0]["caller"]["name"], "auditor");
    let hers = AuditPageQuery {
        types: Some(vec!["look-ups-counted".into()]),
        account_id: Some(ada()),
        ..AuditPageQuery::default()
    };
    assert_eq!(queries.audit_page(&hers, None).unwrap().events.len(), 1);
}

/// C9: neither names nor the caller's claims about itself make a new record each.
#[test]
fn a_caller_names_sixty_new_subjects_in_a_minute_and_refused_ones_are_counted() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    let admit = |viewer: &Viewer, access: Option<&Access>| {
        let admitted = queries.admit_access(viewer, "find-account", access);
        admitted.map_err(|refusal| (refusal.code, refusal.retry_after_s))
    };
    let ada = ada();
    let card = Access::Viewed(Some(&ada), "account-card");
    let eve = viewer("eve", None);
    queries.record_access(&eve, &card).unwrap();
    for n in 0..NEW_SUBJECTS_MAX {
        let named = viewer("eve", Some(&n.to_string()));
        assert_eq!(admit(&named, Some(&card)), Ok(()), "for another each time");
    }
    let refused = Err((ErrorCode::QuotaExceeded, Some(RATE_WINDOW_S)));
    for n in 0..100 {
        assert_eq!(admit(&viewer("eve", Some(&n.to_string())), None), refused);
    }
    assert_eq!(admit(&eve, Some(&card)), Ok(()), "it is on record");
    assert_eq!(admit(&viewer("bob", None), None), Ok(()));
    fixture.pass(WINDOW_S);
    queries.record_access(&eve, &card).unwrap();
    let counted = counts(&engine);
    let data = serde_json::json!({"account_id": null, "query": "find-account", "count": 100});
    assert_eq!(counted.len(), 1, "one for them all");
    assert_eq!(counted[0]["data"], data);
    assert_eq!(admit(&eve, None), Ok(()), "a minute is over");
}

/// A stop records the counts that wait.
#[test]
fn a_stop_loses_no_count() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let access = Access::Viewed(None, "audit-page");
    for _ in 0..3 {
        engine
            .queries()
            .record_access(&viewer("auditor", None), &access)
            .unwrap();
    }
    drop(engine);
    assert_eq!(counts(&fixture.start())[0]["data"]["count"], 2);
}

/// A refusal shows whether the account exists, and leaves no record.
#[test]
fn an_agents_refused_commands_count_as_new_subjects() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let clear = |id: &str| {
        let body = serde_json::json!({"account_id": id, "reason": "curious"});
        fixture.send(&engine, "clear-attempts", body).unwrap_err()
    };
    for n in 0..NEW_SUBJECTS_MAX {
        let id = format!("unknown-{n}");
        assert_eq!(clear(&id), ErrorCode::AccountNotFound, "{n}");
    }
    let agent = Viewer {
        caller: Caller {
            name: "test".into(),
            verified: true,
            role: Role::Support,
        },
        on_behalf_of: None,
        trace_id: None,
    };
    let access = engine
        .queries()
        .admit_access(&agent, "support-account", None);
    assert_eq!(access.unwrap_err().code, ErrorCode::QuotaExceeded);
    for id in ["ada", "unknown"] {
        assert_eq!(clear(id), ErrorCode::QuotaExceeded);
    }
    let suspend = serde_json::json!({"account_id": "ada", "reason": "stolen", "ticket": "T-1"});
    let done = fixture.send(&engine, "suspend-factor", suspend);
    assert!(done.is_ok(), "a recorded command is no access: {done:?}");
    fixture.pass(RATE_WINDOW_S);
    assert_eq!(clear("unknown"), ErrorCode::AccountNotFound);
}

/// What a stopped service cannot record is not done either.
#[test]
fn an_operators_act_is_durable_with_its_sealed_reason_before_it_begins() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    let reason = Reason::parse("the disk is changed on Friday").unwrap();
    let backup = (OperatorAct::Backup, None);
    let eve = viewer("eve", None);
    queries.record_act(&eve, backup, &reason).unwrap();
    let shared = &engine.shared;
    let record = shared.accounts.record(engine.admin.log.head()).unwrap();
    let Event::OperatorActed(acted) = record.event().unwrap() else {
        panic!("the act is the last durable record");
    };
    assert_eq!((acted.act, acted.view.as_deref()), backup);
    assert_eq!(record.meta.caller, "eve");
    let held = Held {
        value: acted.reason,
        version: record.version,
        event_type: record.event_type,
        field: 1,
    };
    let opened = shared.vault.open(record.stream_key, &held).unwrap();
    assert_eq!(*opened, reason.as_str().as_bytes());
    // Each act has its own record, up to sixty in a minute.
    for _ in 1..NEW_SUBJECTS_MAX {
        queries.record_act(&eve, backup, &reason).unwrap();
    }
    let refused = queries.record_act(&eve, backup, &reason).unwrap_err();
    assert_eq!(refused.code, ErrorCode::QuotaExceeded);
    assert_eq!(refused.retry_after_s, Some(RATE_WINDOW_S));
    drop(engine);
    let refused = queries.record_act(&viewer("bob", None), backup, &reason);
    assert_eq!(refused.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[test]
fn an_access_is_named_by_its_query() {
    for (access, name) in [
        (Access::Viewed(None, "reset-queue"), "reset-queue"),
        (
            Access::Exported(None, "records", "{}".into()),
            "audit-records",
        ),
        (Access::Exported(None, "jsonl", "{}".into()), "audit-export"),
    ] {
        assert_eq!(access.query(), name);
    }
}

#[test]
fn a_position_is_reached_once_the_log_has_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (queries, head) = (engine.queries(), engine.feed().head());
    for (asked, is_reached) in [(None, true), (Some(head), true), (Some(head + 1), false)] {
        assert_eq!(queries.has_reached(asked), is_reached, "{asked:?}");
    }
}
