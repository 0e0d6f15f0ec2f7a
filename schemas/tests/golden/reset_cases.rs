//! The cases of the support reset, stored and on the wire.

use countersign_schemas::event::Event;
use countersign_schemas::event::reset::v1 as reset;
use countersign_schemas::sealed::Protected;

use crate::event_cases::{Case, LAST, NOW, ODD, longest, protected};
use crate::wire_cases::{self, case};

use reset::{CancelledBy, Lost, RequestRefused};

/// Every event of a case's life: the smallest, the largest, and one with odd characters.
pub fn events() -> Vec<Case> {
    let ids = [
        ("smallest", String::new(), protected(0, 0)),
        ("largest", longest(), protected(u32::MAX, 130)),
        ("unicode", ODD.to_owned(), protected(1, 40)),
    ];
    let mut cases: Vec<Case> = ids
        .into_iter()
        .flat_map(|(name, case_id, reason)| of_case(name, &case_id, &reason))
        .collect();
    let cancelled = |by, reason| {
        let case_id = "A_b-9".into();
        Event::ResetCancelled(reset::ResetCancelled {
            case_id,
            by,
            reason,
        })
    };
    cases.extend([
        ("user", cancelled(CancelledBy::User, None)),
        ("login", cancelled(CancelledBy::Login, None)),
        ("disabled", cancelled(CancelledBy::Disabled, None)),
    ]);
    let lost = |lost| requested("A_b-9", Some(lost), &protected(1, 17));
    cases.extend([
        ("app", lost(Lost::App)),
        ("backup-codes", lost(Lost::BackupCodes)),
    ]);
    let refused = |by: &str, cause, count| {
        let by = by.into();
        Event::ResetRequestsRefused(reset::ResetRequestsRefused { by, cause, count })
    };
    cases.extend([
        ("smallest", refused("", RequestRefused::Open, 0)),
        (
            "largest",
            refused(&longest(), RequestRefused::Quota, u32::MAX),
        ),
        ("two-bytes", refused(ODD, RequestRefused::Open, 128)),
    ]);
    cases
}

fn requested(case_id: &str, lost: Option<Lost>, reason: &Protected) -> Event {
    Event::ResetRequested(reset::ResetRequested {
        case_id: case_id.into(),
        expires_at: NOW,
        lost,
        reason: reason.clone(),
        ticket: protected(2, 33),
    })
}

fn of_case(name: &'static str, id: &str, reason: &Protected) -> Vec<Case> {
    let (case_id, reason) = (id.to_owned(), reason.clone());
    let lost = (name == "largest").then_some(Lost::Both);
    let at = if name == "largest" { LAST } else { NOW };
    vec![
        (name, requested(id, lost, &reason)),
        (
            name,
            Event::ResetApproved(reset::ResetApproved {
                case_id: case_id.clone(),
                execute_after: at,
                reason: reason.clone(),
            }),
        ),
        (
            name,
            Event::ResetRejected(reset::ResetRejected {
                case_id: case_id.clone(),
                reason: reason.clone(),
            }),
        ),
        (
            name,
            Event::ResetCancelled(reset::ResetCancelled {
                case_id: case_id.clone(),
                by: CancelledBy::Agent,
                reason: Some(reason.clone()),
            }),
        ),
        (
            name,
            Event::ResetExpired(reset::ResetExpired {
                case_id: case_id.clone(),
            }),
        ),
        (
            name,
            Event::ResetExecuted(reset::ResetExecuted {
                case_id,
                told_until: at,
                reason,
            }),
        ),
    ]
}

const DETAILS: &str = r#""details":{"position":12,"version":3,"at":"2026-02-23T09:00:00.123456Z"}"#;

/// Every document of the reset.
pub fn wire() -> Vec<wire_cases::Case> {
    let (z64, r500, t64) = ("Z".repeat(64), "r".repeat(500), "t".repeat(64));
    let context = r#""context":{"ip":"2001:db8::7"}"#;
    let mut cases = vec![
        case(
            "request-reset-request",
            "smallest",
            r#"{"account_id":"a","reason":"r","ticket":"t"}"#,
        ),
        case(
            "request-reset-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","reason":"{r500}","ticket":"{t64}","lost":"backup-codes",{context}}}"#
            ),
        ),
        case(
            "suspend-factor-request",
            "smallest",
            r#"{"account_id":"a","reason":"r","ticket":"t"}"#,
        ),
        case(
            "suspend-factor-request",
            "largest",
            format!(r#"{{"account_id":"{z64}","reason":"{r500}","ticket":"{t64}",{context}}}"#),
        ),
        case(
            "user-cancel-reset-request",
            "smallest",
            r#"{"account_id":"a"}"#,
        ),
        case(
            "user-cancel-reset-request",
            "largest",
            format!(r#"{{"account_id":"{z64}",{context}}}"#),
        ),
        case(
            "request-reset-response",
            "ordinary",
            format!(
                r#"{{"case_id":"c-1","state":"waiting-approval","expires_at":"2026-03-02T09:00:00.000000Z",{DETAILS}}}"#
            ),
        ),
        case(
            "approve-reset-response",
            "ordinary",
            format!(
                r#"{{"state":"cooling-off","execute_after":"2026-02-26T09:00:00.000000Z",{DETAILS}}}"#
            ),
        ),
        case(
            "suspend-factor-response",
            "ordinary",
            format!(r#"{{"state":"suspended",{DETAILS}}}"#),
        ),
    ];
    for document in [
        "approve-reset-request",
        "reject-reset-request",
        "cancel-reset-request",
        "execute-reset-request",
    ] {
        let smallest = r#"{"case_id":"c","reason":"r"}"#;
        let largest = format!(r#"{{"case_id":"{z64}","reason":"{r500}",{context}}}"#);
        cases.push(case(document, "smallest", smallest));
        cases.push(case(document, "largest", largest));
    }
    for (document, state) in [
        ("reject-reset-response", "rejected"),
        ("cancel-reset-response", "cancelled"),
        ("user-cancel-reset-response", "cancelled"),
        ("execute-reset-response", "executed"),
    ] {
        let body = format!(r#"{{"state":"{state}",{DETAILS}}}"#);
        cases.push(case(document, "ordinary", body));
    }
    cases.extend(queries());
    cases
}

fn queries() -> Vec<wire_cases::Case> {
    let open = r#"{"case_id":"c-1","account_id":"ada","state":"waiting-approval","requested_by":"alice","requested_at":"2026-02-23T09:00:00.000000Z","expires_at":"2026-03-02T09:00:00.000000Z","reason":"lost","ticket":"T-1"}"#;
    let closed = r#"{"case_id":"c-2","account_id":"bob","state":"executed","requested_by":"alice","requested_at":"2026-02-23T09:00:00.000000Z","expires_at":"2026-03-02T09:00:00.000000Z","approved_by":"bob","execute_after":"2026-02-26T09:00:00.000000Z","closed_at":"2026-02-26T09:00:01.000000Z","closed_by":"alice","lost":"both","reason":"lost","ticket":"T-1"}"#;
    vec![
        case("find-account-request", "smallest", r#"{"username":"a"}"#),
        case("account-card-request", "smallest", "{}"),
        case("reset-queue-request", "smallest", "{}"),
        case("reset-queue-request", "executed", r#"{"state":"executed"}"#),
        case(
            "find-account-response",
            "ordinary",
            r#"{"account_id":"ada"}"#,
        ),
        case("reset-queue-response", "none", r#"{"cases":[]}"#),
        case(
            "reset-queue-response",
            "two",
            format!(r#"{{"cases":[{open},{closed}],"more":true}}"#),
        ),
        case(
            "account-card-response",
            "smallest",
            r#"{"account_id":"ada","username":null,"registered_at":null,"password_set_at":null,"second_factor":"off","methods":[],"enabled_at":null,"backup_codes_left":0,"set_no":0,"wrong_codes":0,"wrong_code_at":null,"throttled_until":null,"double_code":false,"suspended":false,"last_login_at":null,"cleared_at":null,"reset":null,"after_reset_days":null,"position":0}"#,
        ),
        case(
            "account-card-response",
            "suspended-by-support",
            r#"{"account_id":"ada","username":null,"registered_at":null,"password_set_at":null,"second_factor":"on","methods":["backup-code"],"enabled_at":null,"backup_codes_left":9,"set_no":1,"wrong_codes":0,"wrong_code_at":null,"throttled_until":null,"double_code":false,"suspended":true,"suspended_by":"support","last_login_at":null,"cleared_at":null,"reset":null,"after_reset_days":null,"position":4}"#,
        ),
        case(
            "account-card-response",
            "suspended-by-failures",
            r#"{"account_id":"ada","username":null,"registered_at":null,"password_set_at":null,"second_factor":"on","methods":["backup-code"],"enabled_at":null,"backup_codes_left":9,"set_no":1,"wrong_codes":0,"wrong_code_at":null,"throttled_until":null,"double_code":false,"suspended":true,"suspended_by":"failures","last_login_at":null,"cleared_at":null,"reset":null,"after_reset_days":null,"position":4}"#,
        ),
        case(
            "account-card-response",
            "with-a-case",
            format!(
                r#"{{"account_id":"ada","username":{{"first":"a","length":3}},"registered_at":"2026-02-23T09:00:00.000000Z","password_set_at":"2026-02-23T09:00:00.000000Z","second_factor":"on","methods":["backup-code"],"enabled_at":"2026-02-23T09:00:00.000000Z","backup_codes_left":9,"set_no":1,"wrong_codes":100,"wrong_code_at":"2026-02-23T09:00:00.000000Z","throttled_until":null,"double_code":true,"suspended":true,"last_login_at":"2026-02-23T09:00:00.000000Z","cleared_at":"2026-02-23T09:00:00.000000Z","reset":{open},"after_reset_days":30,"position":7}}"#
            ),
        ),
        case(
            "login-status-response",
            "after-reset",
            r#"{"account_id":"ada","second_factor":"off","methods":[],"throttled_until":null,"double_code":false,"backup_codes_left":0,"backup_codes_low":false,"set_no":1,"enabled_at":null,"after_reset_days":1,"position":9}"#,
        ),
        case(
            "start-login-response",
            "after-reset",
            format!(
                r#"{{"status":"complete","account_id":"ada","method":"password","after_reset_days":1,{DETAILS}}}"#
            ),
        ),
        case(
            "verify-login-response",
            "after-reset",
            format!(
                r#"{{"account_id":"ada","status":"complete","method":"totp","backup_codes_left":10,"backup_codes_low":false,"after_reset_days":30,{DETAILS}}}"#
            ),
        ),
    ]
}
