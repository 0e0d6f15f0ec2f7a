//! Given, when, then.

use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::record::{Record, Role};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::AuditEvent;

use super::house::House;
use crate::engine::queries::look_ups::LookUp;
use crate::engine::request::Viewer;
use crate::engine::shared::look_rates::{NEW_LOOKS_MAX, RATE_WINDOW_S};
use crate::engine::shared::recorded_looks::WINDOW_S;
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
fn a_look_is_on_record_with_who_looked_and_for_whom() {
    let house = House::new();
    let engine = house.start();
    let look = LookUp::Viewed(Some(&ada()), "audit-timeline");
    let queries = engine.queries();
    queries
        .record_look_up(&viewer("auditor", Some("Grace H.")), &look)
        .unwrap();
    let events = recorded(&engine);
    let hers = AuditPageQuery {
        types: Some(vec!["subject-viewed".into()]),
        account_id: Some(ada()),
        ..AuditPageQuery::default()
    };
    let hers = queries.audit_page(&hers, None).unwrap();
    assert_eq!(
        hers.events, events,
        "found by the account that was looked at"
    );
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
    let folder = house.data();
    drop(engine);
    for file in ["log/00000001.redb", "index.redb", "views.redb"] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        assert!(!bytes.windows(8).any(|w| w == b"Grace H."), "{file}");
    }
}

#[test]
fn one_record_stands_for_ten_minutes_of_the_same_and_no_other() {
    let house = House::new();
    let engine = house.start();
    let queries = engine.queries();
    let (ada, bob) = (ada(), AccountId::parse("bob").unwrap());
    let timeline = LookUp::Viewed(Some(&ada), "audit-timeline");
    let look = |viewer: &Viewer, what: &LookUp| queries.record_look_up(viewer, what).unwrap();
    let auditor = viewer("auditor", None);
    for _ in 0..1_000 {
        look(&auditor, &timeline);
    }
    assert_eq!(recorded(&engine).len(), 1);
    look(&viewer("other", None), &timeline);
    look(&viewer("auditor", Some("Grace")), &timeline);
    look(&auditor, &LookUp::Viewed(Some(&bob), "audit-timeline"));
    look(&auditor, &LookUp::Viewed(Some(&ada), "account-card"));
    look(&auditor, &LookUp::Viewed(None, "reset-queue"));
    look(&auditor, &LookUp::Exported(None, "jsonl", "{}".into()));
    assert_eq!(recorded(&engine).len(), 7);
    house.pass(WINDOW_S - 1);
    look(&auditor, &timeline);
    assert_eq!(recorded(&engine).len(), 7);
    house.pass(1);
    look(&auditor, &timeline);
    look(&auditor, &timeline);
    assert_eq!(recorded(&engine).len(), 8);
}

#[test]
fn a_look_is_the_logs_last_durable_record_when_it_is_answered() {
    let house = House::new();
    let engine = house.start();
    let look = LookUp::Viewed(Some(&ada()), "audit-page");
    let auditor = viewer("auditor", None);
    engine.queries().record_look_up(&auditor, &look).unwrap();
    let log = &engine.admin.log;
    let record = log.get(log.head()).unwrap().unwrap();
    let event = Record::decode(&record).unwrap().event().unwrap();
    assert_eq!(event.name(), "subject-viewed");
    drop(engine);
    assert_eq!(recorded(&house.start()).len(), 1);
}

#[test]
fn what_cannot_be_recorded_is_not_shown() {
    let house = House::new();
    let engine = house.start();
    let queries = engine.queries();
    drop(engine);
    let look = LookUp::Viewed(Some(&ada()), "audit-page");
    let refused = queries.record_look_up(&viewer("auditor", None), &look);
    assert_eq!(refused.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[test]
fn looking_changes_no_account() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let page = |engine: &Engine| {
        let query = AuditTimelineQuery::default();
        engine.queries().audit_timeline(&ada(), &query, None)
    };
    let before = page(&engine).unwrap();
    let look = LookUp::Viewed(Some(&ada()), "audit-timeline");
    let auditor = viewer("auditor", None);
    engine.queries().record_look_up(&auditor, &look).unwrap();
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
fn once_its_time_is_over_a_second_record_says_how_many_looks_there_were() {
    let house = House::new();
    let engine = house.start();
    let queries = engine.queries();
    let timeline = ada();
    let timeline = LookUp::Viewed(Some(&timeline), "audit-timeline");
    let auditor = viewer("auditor", None);
    for _ in 0..1_000 {
        queries.record_look_up(&auditor, &timeline).unwrap();
    }
    let once = LookUp::Viewed(None, "reset-queue");
    queries.record_look_up(&auditor, &once).unwrap();
    house.pass(WINDOW_S);
    assert_eq!(counts(&engine), [0; 0]);
    // Whatever comes next brings what is due.
    queries.record_look_up(&auditor, &timeline).unwrap();
    let told = counts(&engine);
    assert_eq!(told.len(), 1, "one look has its record already");
    let data = serde_json::json!({"account_id": "ada", "query": "audit-timeline", "count": 999});
    assert_eq!(told[0]["data"], data);
    assert_eq!(told[0]["caller"]["name"], "auditor");
    let hers = AuditPageQuery {
        types: Some(vec!["look-ups-counted".into()]),
        account_id: Some(ada()),
        ..AuditPageQuery::default()
    };
    assert_eq!(queries.audit_page(&hers, None).unwrap().events.len(), 1);
}

/// C9: neither names nor what a caller says of itself make a new record each.
#[test]
fn a_caller_names_sixty_that_are_not_on_record_in_a_minute_and_what_is_refused_is_counted() {
    let house = House::new();
    let engine = house.start();
    let queries = engine.queries();
    let admit = |viewer: &Viewer, look_up: Option<&LookUp>| {
        let admitted = queries.admit_look_up(viewer, "find-account", look_up);
        admitted.map_err(|refusal| (refusal.code, refusal.retry_after_s))
    };
    let ada = ada();
    let card = LookUp::Viewed(Some(&ada), "account-card");
    let eve = viewer("eve", None);
    queries.record_look_up(&eve, &card).unwrap();
    for n in 0..NEW_LOOKS_MAX {
        let named = viewer("eve", Some(&n.to_string()));
        assert_eq!(admit(&named, Some(&card)), Ok(()), "for another each time");
    }
    let refused = Err((ErrorCode::QuotaExceeded, Some(RATE_WINDOW_S)));
    for n in 0..100 {
        assert_eq!(admit(&viewer("eve", Some(&n.to_string())), None), refused);
    }
    assert_eq!(admit(&eve, Some(&card)), Ok(()), "it is on record");
    assert_eq!(admit(&viewer("bob", None), None), Ok(()));
    house.pass(WINDOW_S);
    queries.record_look_up(&eve, &card).unwrap();
    let told = counts(&engine);
    let data = serde_json::json!({"account_id": null, "query": "find-account", "count": 100});
    assert_eq!(told.len(), 1, "one for them all");
    assert_eq!(told[0]["data"], data);
    assert_eq!(admit(&eve, None), Ok(()), "a minute is over");
}

/// What waits is recorded when the service stops.
#[test]
fn a_stop_loses_no_count() {
    let house = House::new();
    let engine = house.start();
    let look = LookUp::Viewed(None, "audit-page");
    for _ in 0..3 {
        engine
            .queries()
            .record_look_up(&viewer("auditor", None), &look)
            .unwrap();
    }
    drop(engine);
    assert_eq!(counts(&house.start())[0]["data"]["count"], 2);
}

/// A refusal says whether the account is there, and leaves no record.
#[test]
fn an_agents_refused_commands_count_as_looks_at_new_subjects() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let clear = |id: &str| {
        let body = serde_json::json!({"account_id": id, "reason": "looking"});
        house.send(&engine, "clear-attempts", body).unwrap_err()
    };
    for n in 0..NEW_LOOKS_MAX {
        let id = format!("nobody-{n}");
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
    let look = engine
        .queries()
        .admit_look_up(&agent, "support-account", None);
    assert_eq!(look.unwrap_err().code, ErrorCode::QuotaExceeded);
    for id in ["ada", "nobody"] {
        assert_eq!(clear(id), ErrorCode::QuotaExceeded);
    }
    let suspend = serde_json::json!({"account_id": "ada", "reason": "stolen", "ticket": "T-1"});
    let done = house.send(&engine, "suspend-factor", suspend);
    assert!(done.is_ok(), "what is recorded is no look: {done:?}");
    house.pass(RATE_WINDOW_S);
    assert_eq!(clear("nobody"), ErrorCode::AccountNotFound);
}

#[test]
fn a_look_is_named_by_its_query() {
    for (look, name) in [
        (LookUp::Viewed(None, "reset-queue"), "reset-queue"),
        (
            LookUp::Exported(None, "records", "{}".into()),
            "audit-records",
        ),
        (LookUp::Exported(None, "jsonl", "{}".into()), "audit-export"),
    ] {
        assert_eq!(look.query(), name);
    }
}

#[test]
fn a_position_is_reached_once_the_log_has_it() {
    let house = House::new();
    let engine = house.start();
    let (queries, head) = (engine.queries(), engine.feed().head());
    for (asked, is_reached) in [(None, true), (Some(head), true), (Some(head + 1), false)] {
        assert_eq!(queries.has_reached(asked), is_reached, "{asked:?}");
    }
}
