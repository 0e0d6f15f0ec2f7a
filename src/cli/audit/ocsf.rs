//! Events in the form of the Open Cybersecurity Schema Framework, version 1.4.0, for security
//! tools.
//!
//! A login check is Authentication (3002), a change of an account Account Change (3001), an event
//! of the log itself a Base Event (0). The whole table is in `docker/ocsf.md`. Facts without a
//! field of the framework are in `unmapped`.

use countersign_schemas::event::{Event, Severity};
use countersign_schemas::reply::AuditEvent;
use serde_json::{Map, Value, json};

/// The version of the framework that the events follow.
const OCSF_VERSION: &str = "1.4.0";

const BASE: (u64, &str) = (0, "Base Event");
const ACCOUNT_CHANGE: (u64, &str) = (3001, "Account Change");
const AUTHENTICATION: (u64, &str) = (3002, "Authentication");
const LOGON: (u64, &str) = (1, "Logon");
const OTHER: u64 = 99;

/// The kind of factor, with the number and word of the framework.
type Factor = (u64, &'static str);
const OTP: Factor = (7, "OTP");
const PASSWORD: Factor = (11, "Password");
const BACKUP_CODE: Factor = (OTHER, "Backup Code");

/// The class, activity and status of an event.
struct Class {
    class: (u64, &'static str),
    activity: (u64, String),
    is_success: bool,
    factors: Vec<Factor>,
}

/// One event of the framework.
pub fn ocsf(event: &AuditEvent) -> Value {
    let class = class_of(event);
    let (class_uid, class_name) = class.class;
    let (activity_id, activity_name) = class.activity;
    let (category_uid, category_name) = match class_uid {
        0 => (0, "Uncategorized"),
        _ => (3, "Identity & Access Management"),
    };
    let (status_id, status) = if class.is_success {
        (1, "Success")
    } else {
        (2, "Failure")
    };
    let (severity_id, severity) = severity_of(event);
    let mut body = json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": format!("{class_name}: {activity_name}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_detail": event.kind,
        "time": event.at.0 / 1_000,
        "message": event.text,
        "metadata": metadata(event),
        "unmapped": unmapped(event, class_uid),
    });
    if let Some(count) = event.data.get("count").filter(|_| class_uid != 0) {
        body["count"] = count.clone();
    }
    if class_uid != 0 {
        put_identity(&mut body, event);
    }
    if class.class == AUTHENTICATION {
        body["service"] = json!({"name": "countersign"});
        body["is_remote"] = true.into();
        body["is_mfa"] = (class.factors.len() > 1).into();
    }
    let checked: Vec<_> = class
        .factors
        .iter()
        .filter(|factor| **factor != PASSWORD || !is_vouched(event))
        .collect();
    if !checked.is_empty() {
        let factor = |(id, name): &&Factor| json!({"factor_type_id": id, "factor_type": name});
        body["auth_factors"] = checked.iter().map(factor).collect();
    }
    body
}

fn metadata(event: &AuditEvent) -> Value {
    json!({
        "version": OCSF_VERSION,
        "product": {
            "name": "Countersign",
            "vendor_name": "Countersign",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "log_name": "audit",
        "uid": event.position.to_string(),
        "sequence": event.position,
        "event_code": event.kind,
        "correlation_uid": event.command_id,
    })
}

/// The facts without a field of the framework.
fn unmapped(event: &AuditEvent, class_uid: u64) -> Value {
    let mut unmapped = Map::new();
    unmapped.insert("data".into(), event.data.clone());
    unmapped.insert("version".into(), event.version.into());
    unmapped.insert("caller_verified".into(), event.caller.verified.into());
    let texts = [
        ("on_behalf_of", &event.on_behalf_of),
        ("trace_id", &event.trace_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            unmapped.insert(name.into(), text.as_str().into());
        }
    }
    if class_uid == 0 {
        let caller = json!({"name": event.caller.name, "role": event.caller.role});
        unmapped.insert("caller".into(), caller);
    }
    Value::Object(unmapped)
}

/// The account, the caller and the source.
fn put_identity(body: &mut Value, event: &AuditEvent) {
    body["user"] = match &event.account_id {
        Some(id) => json!({"uid": id.as_str(), "type_id": 1, "type": "User"}),
        None => json!({"name": "unknown", "type_id": 0, "type": "Unknown"}),
    };
    body["actor"] = json!({
        "user": {"name": event.caller.name, "type_id": OTHER, "type": event.caller.role},
    });
    let source = event.source.as_ref();
    if let Some(ip) = source.and_then(|source| source.ip.as_ref()) {
        body["src_endpoint"] = json!({"ip": ip});
    }
    if let Some(agent) = source.and_then(|source| source.agent.as_ref()) {
        body["http_request"] = json!({"user_agent": agent});
    }
}

/// Number and word of the framework; another build's types are daily life.
fn severity_of(event: &AuditEvent) -> (u64, &'static str) {
    match Event::severity_of(&event.kind) {
        Some(Severity::Informational) | None => (1, "Informational"),
        Some(Severity::Low) => (2, "Low"),
        Some(Severity::Medium) => (3, "Medium"),
        Some(Severity::High) => (4, "High"),
    }
}

fn class_of(event: &AuditEvent) -> Class {
    match event.kind.as_str() {
        "login-started" => authentication((6, "Preauth"), true, &[PASSWORD]),
        "login-completed" => authentication(LOGON, true, &[PASSWORD]),
        "totp-accepted" => authentication(purpose(event), true, &[PASSWORD, OTP]),
        "backup-code-accepted" => authentication(purpose(event), true, &[PASSWORD, BACKUP_CODE]),
        "password-rejected" => authentication(purpose(event), false, &[PASSWORD]),
        "totp-rejected" => authentication(purpose(event), false, &[PASSWORD, OTP]),
        "login-pair-rejected" => authentication(LOGON, false, &[PASSWORD, OTP]),
        "backup-code-rejected" => authentication(purpose(event), false, &[PASSWORD, BACKUP_CODE]),
        "code-replayed" => authentication(purpose(event), false, &[PASSWORD, OTP]),
        "unknown-name-refused" => authentication(LOGON, false, &[PASSWORD]),
        "attempts-suppressed" => authentication((OTHER, "Attempts Suppressed"), false, &[]),
        "account-registered" => change(1, "Create"),
        "password-set" => change(3, "Password Change"),
        "two-factor-enabled" => with_otp(change(10, "MFA Factor Enable")),
        "two-factor-disabled" => with_otp(change(11, "MFA Factor Disable")),
        "attempts-throttled" | "double-code-required" | "factor-suspended" => change(9, "Lock"),
        "account-erased" => change(6, "Delete"),
        "enrolment-code-rejected" => Class {
            is_success: false,
            ..change(OTHER, &titled(&event.kind))
        },
        other if event.account_id.is_some() => change(OTHER, &titled(other)),
        other => Class {
            class: BASE,
            activity: (OTHER, titled(other)),
            is_success: true,
            factors: Vec::new(),
        },
    }
}

fn authentication(activity: (u64, &str), is_success: bool, factors: &[Factor]) -> Class {
    Class {
        class: AUTHENTICATION,
        activity: (activity.0, activity.1.to_owned()),
        is_success,
        factors: factors.to_vec(),
    }
}

fn change(id: u64, name: &str) -> Class {
    Class {
        class: ACCOUNT_CHANGE,
        activity: (id, name.to_owned()),
        is_success: true,
        factors: Vec::new(),
    }
}

fn with_otp(class: Class) -> Class {
    Class {
        factors: vec![OTP],
        ..class
    }
}

/// Whether the caller vouched for the first factor, so that no password was checked here.
fn is_vouched(event: &AuditEvent) -> bool {
    // A login by password alone names the credential that it rests on.
    let is_of_none = event.kind == "login-completed" && event.data["credential"] == 0;
    event.data["first_factor"] == "vouched" || is_of_none
}

/// A login, or a code that proved another command.
fn purpose(event: &AuditEvent) -> (u64, &'static str) {
    match event.data.get("purpose").and_then(Value::as_str) {
        Some("login") => LOGON,
        _ => (OTHER, "Proof Of Owner"),
    }
}

/// `backup-codes-issued` as `Backup Codes Issued`.
fn titled(kind: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_ascii_uppercase() + rest
    };
    kind.split('-').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "ocsf_tests.rs"]
mod tests;
