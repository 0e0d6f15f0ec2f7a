//! Compares every event type with what the published schema, version 1.4.0, requires and allows
//! (events/base_event.json, events/iam/iam.json, events/iam/authentication.json,
//! events/iam/account_change.json and the objects that they name).

use countersign_schemas::event::Event;
use countersign_schemas::ids::AccountId;
use countersign_schemas::reply::{Caller, Source};
use countersign_schemas::time::Micros;

use super::*;

/// Required in every class: classification, occurrence, base event.
const REQUIRED: [&str; 7] = [
    "activity_id",
    "category_uid",
    "class_uid",
    "type_uid",
    "severity_id",
    "time",
    "metadata",
];
/// The optional fields of a base event that ours have.
const BASE_OPTIONAL: [&str; 11] = [
    "activity_name",
    "category_name",
    "class_name",
    "type_name",
    "severity",
    "status_id",
    "status",
    "status_detail",
    "message",
    "count",
    "unmapped",
];
const IAM: [&str; 5] = [
    "user",
    "actor",
    "src_endpoint",
    "http_request",
    "auth_factors",
];
const AUTHENTICATION_ONLY: [&str; 3] = ["service", "is_mfa", "is_remote"];
/// The activities of Authentication and of Account Change; both have 99.
const ACTIVITIES: [(u64, &[u64]); 3] = [
    (0, &[99]),
    (3001, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99]),
    (3002, &[1, 2, 3, 4, 5, 6, 99]),
];
const FACTOR_TYPES: std::ops::RangeInclusive<u64> = 0..=11;

fn event(kind: &str, account: Option<&str>, data: Value) -> AuditEvent {
    AuditEvent {
        position: 12,
        kind: kind.into(),
        account_id: account.map(|id| AccountId::parse(id).unwrap()),
        version: 3,
        at: Micros(1_771_837_200_123_456),
        caller: Caller {
            name: "login-gw".into(),
            role: "platform".into(),
            verified: true,
        },
        on_behalf_of: Some("Zoë".into()),
        command_id: "c-1".into(),
        trace_id: None,
        source: Some(Source {
            ip: Some("203.0.113.7".into()),
            agent: Some("Firefox".into()),
        }),
        data,
        text: "One sentence.".into(),
    }
}

/// Every type, for an account and for the log itself, at a login and outside of one.
fn all() -> Vec<AuditEvent> {
    let mut all = Vec::new();
    for (_, _, kind) in Event::ALL {
        for account in [Some("ada"), None] {
            for data in [
                json!({"purpose": "login", "count": 3}),
                json!({"purpose": "regenerate"}),
                json!({}),
            ] {
                all.push(event(kind, account, data));
            }
        }
    }
    all
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_event_has_the_fields_that_its_class_requires_and_none_that_it_does_not_know() {
    for event in all() {
        let shown = ocsf(&event);
        for field in REQUIRED {
            assert!(!shown[field].is_null(), "{field} of {}", event.kind);
        }
        let class = number(&shown["class_uid"]);
        let mut known = [&REQUIRED[..], &BASE_OPTIONAL].concat();
        if class != 0 {
            known.extend(IAM);
        }
        if class == 3002 {
            known.extend(AUTHENTICATION_ONLY);
        }
        for field in shown.as_object().unwrap().keys() {
            assert!(known.contains(&field.as_str()), "{field} in class {class}");
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_schema_and_fit_each_other() {
    for event in all() {
        let shown = ocsf(&event);
        let class = number(&shown["class_uid"]);
        let (_, activities) = ACTIVITIES
            .iter()
            .find(|(known, _)| *known == class)
            .unwrap();
        let activity = number(&shown["activity_id"]);
        assert!(activities.contains(&activity), "{activity} in {class}");
        assert_eq!(number(&shown["type_uid"]), class * 100 + activity);
        assert_eq!(number(&shown["category_uid"]), class / 1_000);
        assert!((1..=4).contains(&number(&shown["severity_id"])));
        assert!((1..=2).contains(&number(&shown["status_id"])));
        assert_eq!(number(&shown["time"]), 1_771_837_200_123);
        for factor in shown["auth_factors"].as_array().unwrap_or(&Vec::new()) {
            let kind = number(&factor["factor_type_id"]);
            assert!(FACTOR_TYPES.contains(&kind) || kind == 99);
        }
    }
}

#[test]
fn the_objects_have_what_they_require() {
    for event in all() {
        let shown = ocsf(&event);
        let metadata = &shown["metadata"];
        assert_eq!(metadata["version"], "1.4.0");
        for field in ["name", "vendor_name"] {
            assert!(metadata["product"][field].is_string());
        }
        let class = number(&shown["class_uid"]);
        if class != 0 {
            let user = &shown["user"];
            assert!(
                user["uid"].is_string() || user["name"].is_string(),
                "at least one"
            );
            assert!(shown["actor"]["user"]["name"].is_string(), "at least one");
            assert_eq!(shown["src_endpoint"]["ip"], "203.0.113.7");
            assert_eq!(shown["http_request"]["user_agent"], "Firefox");
        }
        if class == 3002 {
            assert!(
                shown["service"]["name"].is_string(),
                "service or dst_endpoint"
            );
        }
    }
}

/// The fields that lead from an alert in a security tool back to the event.
#[test]
fn the_sentence_and_the_way_back_to_the_record_are_in_every_event() {
    for event in all() {
        let shown = ocsf(&event);
        assert_eq!(shown["message"], "One sentence.");
        assert_eq!(shown["status_detail"], event.kind);
        let metadata = &shown["metadata"];
        assert_eq!(
            (&metadata["uid"], &metadata["sequence"]),
            (&json!("12"), &json!(12))
        );
        assert_eq!(metadata["event_code"], event.kind);
        assert_eq!(metadata["correlation_uid"], "c-1");
        let unmapped = &shown["unmapped"];
        assert_eq!(unmapped["version"], 3);
        assert_eq!(unmapped["on_behalf_of"], "Zoë");
        assert_eq!(unmapped["data"], event.data);
    }
}

#[test]
fn logins_and_changes_are_what_a_security_tool_looks_for() {
    let of = |kind: &str, data: Value| {
        let shown = ocsf(&event(kind, Some("ada"), data));
        let number = |field: &str| number(&shown[field]);
        (
            number("class_uid"),
            number("activity_id"),
            number("status_id"),
        )
    };
    let login = || json!({"purpose": "login"});
    assert_eq!(of("totp-accepted", login()), (3002, 1, 1));
    assert_eq!(of("backup-code-accepted", login()), (3002, 1, 1));
    assert_eq!(of("totp-rejected", login()), (3002, 1, 2));
    assert_eq!(of("code-replayed", login()), (3002, 1, 2));
    assert_eq!(of("password-rejected", login()), (3002, 1, 2));
    assert_eq!(of("login-pair-rejected", json!({})), (3002, 1, 2));
    assert_eq!(
        of("totp-accepted", json!({"purpose": "disable"})),
        (3002, 99, 1)
    );
    assert_eq!(of("two-factor-enabled", json!({})), (3001, 10, 1));
    assert_eq!(of("two-factor-disabled", json!({})), (3001, 11, 1));
    assert_eq!(of("account-registered", json!({})), (3001, 1, 1));
    assert_eq!(of("account-erased", json!({})), (3001, 6, 1));
    assert_eq!(of("factor-suspended", json!({})), (3001, 9, 1));
    let mfa = ocsf(&event("totp-accepted", Some("ada"), login()));
    assert_eq!(mfa["is_mfa"], true);
    let alone = ocsf(&event("login-completed", Some("ada"), json!({})));
    assert_eq!(alone["is_mfa"], false);
}

/// The row of the docs for an event type.
fn row(kind: &str) -> String {
    // An event of the log itself has no account.
    let is_of_accounts = !LOG_WIDE.contains(&kind);
    let account = is_of_accounts.then_some("ada");
    let shown = ocsf(&event(kind, account, json!({"purpose": "login"})));
    let text = |field: &str| shown[field].as_str().unwrap().to_owned();
    let none = Vec::new();
    let factors = shown["auth_factors"].as_array().unwrap_or(&none);
    let factors: Vec<_> = factors
        .iter()
        .map(|f| f["factor_type"].as_str().unwrap())
        .collect();
    format!(
        "| `{kind}` | {} ({}) | {} ({}) | {} | {} | {} |",
        text("class_name"),
        shown["class_uid"],
        text("activity_name"),
        shown["activity_id"],
        text("status"),
        text("severity"),
        factors.join(", ")
    )
}

const LOG_WIDE: [&str; 11] = [
    "epoch-started",
    "policy-in-force",
    "unknown-name-refused",
    "clock-jumped",
    "clock-back-accepted",
    "keys-rotated",
    "data-keys-rewrapped",
    "subject-viewed",
    "audit-exported",
    "look-ups-counted",
    "agent-acts-refused",
];

#[test]
fn the_table_in_the_docs_has_every_event_type_with_a_class_of_its_own() {
    let docs = include_str!("../../../docker/ocsf.md");
    for (_, _, kind) in Event::ALL {
        let row = row(kind);
        let is_other = row.contains("(99) | Success | Informational |  |");
        let has_this_row = docs.lines().any(|line| line == row);
        assert!(
            has_this_row || is_other,
            "docker/ocsf.md lacks the row {row}"
        );
        let has_row = docs.contains(&format!("| `{kind}` |"));
        assert!(
            has_this_row || !has_row,
            "docker/ocsf.md has another row than {row}"
        );
    }
}

/// An assertion has no `pwd` then either.
#[test]
fn a_password_that_the_caller_vouched_for_is_not_among_the_factors() {
    let factors = |kind, data| {
        let body = ocsf(&event(kind, Some("ada"), data));
        let list = body["auth_factors"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = list.iter().map(|f| f["factor_type"].clone()).collect();
        (names, body["is_mfa"].clone())
    };
    let first = |first: &str| json!({"purpose": "login", "first_factor": first});
    let both = (vec![json!("Password"), json!("OTP")], json!(true));
    assert_eq!(factors("totp-accepted", first("password")), both);
    let otp = (vec![json!("OTP")], json!(true));
    assert_eq!(factors("totp-accepted", first("vouched")), otp);
    let spare = (vec![json!("Backup Code")], json!(true));
    assert_eq!(factors("backup-code-rejected", first("vouched")), spare);
    let completed = |credential| json!({"method": "password", "credential": credential});
    let password = (vec![json!("Password")], json!(false));
    assert_eq!(factors("login-completed", completed(1)), password);
    assert_eq!(
        factors("login-completed", completed(0)),
        (vec![], json!(false))
    );
}
