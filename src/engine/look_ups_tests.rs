//! Given, when, then.

use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::record::{Record, Role};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::AuditEvent;

use super::house::House;
use super::look_ups::{LookUp, Viewer, WINDOW_S};
use super::{Caller, Engine};

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
