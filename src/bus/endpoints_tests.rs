//! The list of endpoints: subjects, users and roles.

use countersign_schemas::refusal::ErrorCode;

use super::*;
use crate::bus::Identity;

#[test]
fn every_endpoint_has_a_name_of_its_own_that_is_the_last_fixed_token() {
    let all = all();
    let names: std::collections::BTreeSet<_> = all.iter().map(|e| e.name).collect();
    assert_eq!(names.len(), all.len());
    for endpoint in &all {
        let subject = endpoint.subject();
        let fixed = subject.strip_suffix(".*").unwrap_or(&subject);
        let token = match endpoint.name {
            "user-cancel-reset" => "cancel-reset",
            name => name,
        };
        assert_eq!(fixed.rsplit('.').next(), Some(token));
    }
    let subjects: std::collections::BTreeSet<_> = all.iter().map(Endpoint::subject).collect();
    assert_eq!(subjects.len(), all.len());
}

#[test]
fn a_support_command_has_a_subject_of_its_own() {
    let clear = all()
        .into_iter()
        .find(|e| e.name == "clear-attempts")
        .unwrap();
    assert_eq!(clear.subject(), "countersign.v1.support.*.clear-attempts");
    assert_eq!(clear.kind(), "support");
    assert_eq!(clear.roles(), [Role::Support]);
}

#[test]
fn the_user_is_the_one_token_before_the_name() {
    let all = all();
    let one = |name: &str| *all.iter().find(|e| e.name == name).unwrap();
    let clear = one("clear-attempts");
    let user = |subject| clear.user_in(subject);
    assert_eq!(
        user("countersign.v1.support.a%2Eb.clear-attempts"),
        Some("a%2Eb")
    );
    assert_eq!(user("countersign.v1.support.clear-attempts"), None);
    assert_eq!(user("countersign.v1.admin.alice.clear-attempts"), None);
    assert_eq!(user("countersign.v1.support.alice.approve-reset"), None);
    let start = one("start-login");
    assert_eq!(
        start.user_in("countersign.v1.command.alice.start-login"),
        None
    );
    assert_eq!(start.subject_without_user(), None);
}

#[test]
fn the_id_is_what_follows_the_name() {
    let status = all()
        .into_iter()
        .find(|e| e.name == "login-status")
        .unwrap();
    assert_eq!(status.subject(), "countersign.v1.query.login-status.*");
    assert_eq!(
        status.id_in("countersign.v1.query.login-status.a-1"),
        Some("a-1")
    );
    assert_eq!(status.id_in("countersign.v1.query.login-status"), None);
}

/// Which role may use which endpoint, written here a second time by hand; a new endpoint has no
/// line yet.
#[test]
fn every_endpoint_is_open_to_these_roles_and_to_no_other() {
    use Role::{Audit, Operator, Platform, Support};
    let open_to = |name: &str| -> &'static [Role] {
        match name {
            "register-account"
            | "change-password"
            | "enable-2fa"
            | "confirm-code"
            | "cancel-enrolment"
            | "regenerate-backup-codes"
            | "disable-2fa"
            | "start-login"
            | "verify-login"
            | "user-cancel-reset" => &[Platform],
            "clear-attempts" | "suspend-factor" | "request-reset" | "approve-reset"
            | "reject-reset" | "cancel-reset" | "execute-reset" | "find-account"
            | "account-card" | "reset-queue" => &[Support],
            "erase-account" | "rotate-keys" | "backup" | "log-stats" | "view-list" | "key-list"
            | "view-rebuild" => &[Operator],
            "login-status" => &[Platform, Support],
            "audit-timeline" => &[Support, Audit],
            "checkpoint" => &[Operator, Audit],
            "audit-page" | "account-at" | "proof" | "consistency" | "audit-records"
            | "audit-export" | "audit-explain" => &[Audit],
            "schema" | "errors" | "jwks" => &[Platform, Support, Operator, Audit],
            other => panic!("name here the roles that may use {other}"),
        }
    };
    let accounts = [
        ("PLATFORM", Platform),
        ("SUPPORT", Support),
        ("OPERATOR", Operator),
        ("AUDIT", Audit),
    ];
    for endpoint in all() {
        for (account, role) in accounts {
            let is_open = open_to(endpoint.name).contains(&role);
            assert_eq!(
                endpoint.roles().contains(&role),
                is_open,
                "{}: {role:?}",
                endpoint.name
            );
            let mut headers = async_nats::HeaderMap::new();
            let info = format!(r#"{{"acc":"{account}","user":"u"}}"#);
            headers.insert(super::super::headers::REQUEST_INFO, info.as_str());
            let identity = Identity::default();
            let asked = identity.caller_of_query(Some(&headers), endpoint.roles());
            match asked {
                Ok(caller) => assert!(is_open && caller.role == role, "{}", endpoint.name),
                Err(refusal) => {
                    assert!(!is_open, "{}", endpoint.name);
                    assert_eq!(refusal.code, ErrorCode::ActorForbidden);
                }
            }
        }
    }
}

/// Written here a second time by hand: a header of the service that would have no effect is
/// refused.
#[test]
fn every_endpoint_takes_these_headers_of_ours_and_refuses_the_others() {
    use crate::bus::headers::{Headers, OWN};
    for endpoint in all() {
        for name in OWN {
            let waits = matches!(endpoint.kind(), "query" | "admin")
                && matches!(
                    endpoint.operation,
                    Operation::Query(_) | Operation::Admin(_)
                );
            let is_taken = name != "Countersign-Min-Position" || waits;
            let value = match name {
                "Countersign-Deadline" => "2999-01-01T00:00:00Z",
                "Countersign-Min-Position" => "1",
                _ => "ada",
            };
            for spelled in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let mut map = async_nats::HeaderMap::new();
                map.insert(spelled.as_str(), value);
                let read = Headers::read(Some(&map), endpoint.headers());
                assert_eq!(read.is_ok(), is_taken, "{} {spelled}", endpoint.name);
                if let Err(refusal) = read {
                    assert_eq!(refusal.code, ErrorCode::RequestInvalid);
                    assert!(refusal.detail.unwrap().starts_with(name), "{spelled}");
                }
            }
        }
    }
}

/// The lanes of the queries, listed here by hand a second time.
#[test]
fn agents_and_auditors_take_no_thread_of_a_login_check() {
    for endpoint in all() {
        let Operation::Query(kind) = endpoint.operation else {
            continue;
        };
        for role in endpoint.roles() {
            let expected = match (endpoint.name, role) {
                (_, Role::Support) => LaneName::Support,
                ("login-status", Role::Platform) => LaneName::LoginChecks,
                _ => LaneName::Audit,
            };
            assert_eq!(kind.lane(*role), expected, "{} {role:?}", endpoint.name);
        }
    }
}
