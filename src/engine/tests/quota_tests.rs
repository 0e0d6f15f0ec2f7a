//! The limits of one agent over all accounts, over the real engine: restarts, lost indexes,
//! records.

use std::sync::mpsc;

use countersign_schemas::audit::AuditExplainQuery;
use countersign_schemas::query::AuditPageQuery;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::AuditEvent;
use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::account::{Policy, Reply, ResetReply};
use crate::engine::Engine;

const MAX: usize = 3;

fn start(fixture: &Fixture) -> Engine {
    fixture.start_with(|options| {
        let max = MAX as u16;
        options.policy = Policy {
            suspensions_max: max,
            clears_max: max,
            reset_ends_max: max,
            erasures_max: max,
            reset_requests_max: 100,
            ..options.policy.clone()
        };
    })
}

fn send_by(
    fixture: &Fixture,
    engine: &Engine,
    caller: &str,
    name: &str,
    body: &Value,
) -> Result<Reply, Refusal> {
    let (sender, receiver) = mpsc::channel();
    let mut request = fixture.request(name, body, &fixture.fresh_id(), engine);
    request.caller.name = caller.into();
    engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    receiver.recv().unwrap().result.map(|done| done.reply)
}

/// Keys are destroyed once a minute: an erasure that follows another waits for that.
const BETWEEN_ERASURES_S: u64 = 61;

fn of(account: &str) -> Value {
    json!({"account_id": account, "reason": "because", "ticket": "T-1"})
}

fn events(engine: &Engine, name: &str) -> Vec<AuditEvent> {
    let query = AuditPageQuery {
        types: Some(vec![name.into()]),
        ..AuditPageQuery::default()
    };
    engine.queries().audit_page(&query, None).unwrap().events
}

/// A-21, S-09: through restarts, and after the index is rebuilt from the log.
#[test]
fn s09_an_agent_that_suspends_one_account_after_another_is_stopped_and_the_auditors_hear_of_it() {
    let fixture = Fixture::new();
    let mut engine = start(&fixture);
    for n in 0..=MAX + 2 {
        fixture.enrol(&engine, &format!("a-{n}"));
    }
    for n in 0..MAX {
        send_by(
            &fixture,
            &engine,
            "eve",
            "suspend-factor",
            &of(&format!("a-{n}")),
        )
        .unwrap();
        drop(engine);
        std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
        engine = start(&fixture);
    }
    let last = of(&format!("a-{MAX}"));
    for _ in 0..5 {
        let refused = send_by(&fixture, &engine, "eve", "suspend-factor", &last).unwrap_err();
        assert_eq!(refused.code, ErrorCode::QuotaExceeded);
        assert_eq!(refused.retry_after_s, Some(86_400));
        let detail = refused.detail.unwrap();
        assert!(detail.contains("another agent"), "{detail}");
    }
    send_by(&fixture, &engine, "bob", "suspend-factor", &last).unwrap();
    let twice = send_by(&fixture, &engine, "bob", "suspend-factor", &last);
    assert_eq!(twice.unwrap_err().code, ErrorCode::FactorSuspended);
    fixture.pass(61);
    // The next command records what is due.
    let next = of(&format!("a-{}", MAX + 1));
    send_by(&fixture, &engine, "bob", "suspend-factor", &next).unwrap();
    let reported = events(&engine, "agent-acts-refused");
    let shown = serde_json::to_value(&reported).unwrap();
    assert_eq!(reported.len(), 1);
    let data = json!({"by": "eve", "act": "suspend-factor", "count": 5});
    assert_eq!(shown[0]["data"], data);
    assert_eq!(shown[0]["caller"]["name"], "countersign");
    fixture.pass(86_400);
    let next = of(&format!("a-{}", MAX + 2));
    send_by(&fixture, &engine, "eve", "suspend-factor", &next).unwrap();
}

/// Deciding each act again from the log as it was gives the same result.
#[test]
fn every_counted_act_is_explained_by_how_often_its_agent_had_done_it() {
    let fixture = Fixture::new();
    let engine = start(&fixture);
    let names: Vec<_> = (0..=MAX).map(|n| format!("a-{n}")).collect();
    for name in &names {
        fixture.enrol(&engine, name);
    }
    for name in &names {
        let wrong = json!({"account_id": name, "code": "000000"});
        fixture.send(&engine, "verify-login", wrong).unwrap_err();
        let reset = send_by(&fixture, &engine, "alice", "request-reset", &of(name));
        let Ok(Reply::Reset(ResetReply::Requested { case_id, .. })) = reset else {
            panic!("a case is opened");
        };
        let over = name == &names[MAX];
        let on_case = json!({"case_id": case_id.as_str(), "reason": "no"});
        let reasoned = json!({"account_id": name, "reason": "because"});
        for (command, body) in [
            ("reject-reset", &on_case),
            ("clear-attempts", &reasoned),
            ("suspend-factor", &of(name)),
            ("erase-account", &reasoned),
        ] {
            fixture.pass(BETWEEN_ERASURES_S);
            let done = send_by(&fixture, &engine, "eve", command, body);
            let code = done.err().map(|refusal| refusal.code);
            let expected = over.then_some(ErrorCode::QuotaExceeded);
            assert_eq!(code, expected, "{command} {name}");
        }
    }
    for kind in [
        "reset-rejected",
        "factor-suspended",
        "attempts-cleared",
        "account-erased",
    ] {
        let done = events(&engine, kind);
        assert_eq!(done.len(), MAX, "{kind}");
        let query = AuditExplainQuery {
            position: done[MAX - 1].position,
        };
        let explained = engine.queries().audit_explain(&query).unwrap();
        let shown = serde_json::to_value(&explained).unwrap();
        assert_eq!(shown["rerun"], "same", "{shown}");
    }
}

/// An erasure is counted also if a start completes it or the index is rebuilt.
#[test]
fn an_operators_erasures_are_counted_through_a_restart_and_a_lost_index() {
    let fixture = Fixture::new();
    let mut engine = start(&fixture);
    for n in 0..=MAX {
        fixture.enrol(&engine, &format!("a-{n}"));
    }
    for n in 0..MAX {
        fixture.pass(BETWEEN_ERASURES_S);
        send_by(
            &fixture,
            &engine,
            "op",
            "erase-account",
            &json!({"account_id": format!("a-{n}"), "reason": "because"}),
        )
        .unwrap();
        drop(engine);
        std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
        engine = start(&fixture);
    }
    let last = json!({"account_id": format!("a-{MAX}"), "reason": "because"});
    let refused = send_by(&fixture, &engine, "op", "erase-account", &last).unwrap_err();
    assert_eq!(refused.code, ErrorCode::QuotaExceeded);
    fixture.pass(BETWEEN_ERASURES_S);
    send_by(&fixture, &engine, "op-2", "erase-account", &last).unwrap();
}
