//! What crosses the wire: `wire/<document>/<case>.json`, byte for byte.

use countersign_schemas::admin;
use countersign_schemas::audit;
use countersign_schemas::catalogue;
use countersign_schemas::command::Command;
use countersign_schemas::published::PublishedEvent;
use countersign_schemas::query::{
    AuditPageQuery, AuditTimelineQuery, FindAccountQuery, NoFields, ResetQueueQuery, decode_query,
};
use countersign_schemas::refusal::{ErrorCode, Problem};
use countersign_schemas::reply::{self, Success};
use countersign_schemas::support_reply;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::{hold, listed, none, read};
use crate::mutants::{JSON_BYTES, mutations, truncations};
use crate::wire_cases::cases;

fn command(name: &str, body: &[u8]) -> Option<Vec<u8>> {
    Command::decode(name, body).ok()?.encode().ok()
}

fn query<T: DeserializeOwned + Serialize>(body: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec(&decode_query::<T>(body).ok()?).ok()
}

fn written<T: DeserializeOwned + Serialize>(body: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec(&serde_json::from_slice::<T>(body).ok()?).ok()
}

fn success<T: DeserializeOwned + Serialize>(body: &[u8]) -> Option<Vec<u8>> {
    written::<Success<T>>(body)
}

/// Reads the bytes as that document says, strictly for a request, and writes them again.
fn recode(document: &str, body: &[u8]) -> Option<Vec<u8>> {
    match document {
        "login-status-request"
        | "schema-request"
        | "errors-request"
        | "jwks-request"
        | "checkpoint-request"
        | "log-stats-request"
        | "view-list-request"
        | "account-card-request"
        | "key-list-request" => query::<NoFields>(body),
        "find-account-request" => query::<FindAccountQuery>(body),
        "reset-queue-request" => query::<ResetQueueQuery>(body),
        "find-account-response" => written::<support_reply::AccountFound>(body),
        "account-card-response" => written::<support_reply::AccountCard>(body),
        "reset-queue-response" => written::<support_reply::ResetQueue>(body),
        "suspend-factor-response" => success::<support_reply::FactorSuspended>(body),
        "request-reset-response" => success::<support_reply::ResetRequested>(body),
        "approve-reset-response" => success::<support_reply::ResetApproved>(body),
        "reject-reset-response"
        | "cancel-reset-response"
        | "user-cancel-reset-response"
        | "execute-reset-response" => success::<support_reply::CaseChanged>(body),
        "backup-request" => query::<admin::BackupRequest>(body),
        "view-rebuild-request" => query::<admin::ViewRebuildRequest>(body),
        "backup-response" => written::<admin::BackupTaken>(body),
        "key-list-response" => written::<admin::KeyList>(body),
        "log-stats-response" => written::<admin::LogStats>(body),
        "view-list-response" | "view-rebuild-response" => written::<admin::ViewList>(body),
        "account-at-request" => query::<audit::AccountAtQuery>(body),
        "proof-request" => query::<audit::ProofQuery>(body),
        "consistency-request" => query::<audit::ConsistencyQuery>(body),
        "audit-records-request" => query::<audit::AuditRecordsQuery>(body),
        "audit-export-request" => query::<audit::AuditExportQuery>(body),
        "audit-explain-request" => query::<audit::AuditExplainQuery>(body),
        "audit-explain-response" => written::<audit::Explanation>(body),
        "checkpoint-response" => written::<audit::SignedCheckpoint>(body),
        "proof-response" => written::<audit::InclusionProof>(body),
        "consistency-response" => written::<audit::ConsistencyProof>(body),
        "audit-records-response" => written::<audit::AuditRecords>(body),
        "audit-export-response" => written::<audit::ExportPage>(body),
        "audit-timeline-request" => query::<AuditTimelineQuery>(body),
        "audit-page-request" => query::<AuditPageQuery>(body),
        "register-account-response" => success::<reply::AccountRegistered>(body),
        "change-password-response" => success::<reply::PasswordChanged>(body),
        "enable-2fa-response" => success::<reply::EnrolmentStarted>(body),
        "confirm-code-response" => success::<reply::CodeConfirmed>(body),
        "cancel-enrolment-response" | "disable-2fa-response" | "clear-attempts-response" => {
            success::<reply::FactorChanged>(body)
        }
        "erase-account-response" => success::<reply::AccountErased>(body),
        "rotate-keys-response" => success::<reply::KeysRotated>(body),
        "regenerate-backup-codes-response" => success::<reply::BackupCodesRegenerated>(body),
        "start-login-response" => success::<reply::LoginStarted>(body),
        "verify-login-response" => success::<reply::LoginVerified>(body),
        "login-status-response" | "account-at-response" => written::<reply::LoginStatus>(body),
        "audit-timeline-response" | "audit-page-response" => written::<reply::AuditPage>(body),
        "schema-response" => written::<serde_json::Map<String, serde_json::Value>>(body),
        "jwks-response" => written::<reply::Jwks>(body),
        "errors-response" => written::<reply::Errors>(body),
        "audit-event" => written::<reply::AuditEvent>(body),
        "published-event" => written::<PublishedEvent>(body),
        "problem" => written::<Problem>(body),
        _ => command(
            document.strip_suffix("-request").expect("a known document"),
            body,
        ),
    }
}

fn hold_cases() -> Vec<String> {
    let held = |(document, case, body): &crate::wire_cases::Case| {
        hold(&format!("wire/{document}/{case}.json"), body.as_bytes()).err()
    };
    cases().iter().filter_map(held).collect()
}

/// Every golden file with its document's name and its bytes; what is missing is added first, and
/// reported by one test only.
fn golden() -> Vec<(String, String, Vec<u8>)> {
    hold_cases();
    let of = |path: String| {
        let document = path
            .split('/')
            .nth(1)
            .expect("wire/<document>/<case>")
            .to_owned();
        let bytes = read(&path);
        (path, document, bytes)
    };
    listed("wire").into_iter().map(of).collect()
}

#[test]
fn every_document_reads_and_writes_its_golden_bytes() {
    none(hold_cases());
    for (path, document, bytes) in golden() {
        let again = recode(&document, &bytes).unwrap_or_else(|| panic!("{path} is not read"));
        let again = String::from_utf8_lossy(&again);
        assert_eq!(again, String::from_utf8_lossy(&bytes), "{path}");
    }
}

#[test]
fn every_document_and_every_error_code_has_its_golden_files() {
    hold_cases();
    let files = listed("wire");
    for name in catalogue::names() {
        let folder = format!("wire/{name}/");
        assert!(
            files.iter().any(|file| file.starts_with(&folder)),
            "{name} has no golden file"
        );
    }
    for code in ErrorCode::ALL {
        let file = format!("wire/problem/{}.json", code.as_str());
        assert!(files.contains(&file), "{file} is missing");
    }
    for file in files {
        let document = file.split('/').nth(1).expect("wire/<document>/<case>");
        assert!(
            catalogue::document(document).is_some(),
            "{file} is of no document"
        );
    }
}

#[test]
fn every_golden_file_keeps_its_json_schema() {
    let mut findings = Vec::new();
    for (path, document, bytes) in golden() {
        let schema = catalogue::document(&document).unwrap();
        let schema = jsonschema::draft202012::new(&schema).unwrap();
        let value = serde_json::from_slice(&bytes).unwrap();
        let breaches = schema.iter_errors(&value);
        findings.extend(breaches.map(|breach| format!("{path}: {breach}")));
    }
    none(findings);
}

#[test]
fn a_truncated_document_is_refused() {
    for (path, document, bytes) in golden() {
        // An empty query body stands for `{}`.
        for cut in truncations(&bytes).filter(|cut| !cut.is_empty()) {
            assert_eq!(recode(&document, cut), None, "{path} cut to {}", cut.len());
        }
    }
}

/// What a request says, by name: nothing of it may be lost on the way. Left out are what has
/// several spellings, what is as good as nothing, and the context, in which anything may stand.
fn said(request: &[u8]) -> Value {
    fn strip(value: &mut Value) {
        if let Value::Object(members) = value {
            members.retain(|name, member| !member.is_null() && name != "context");
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "username" | "code" | "next_code" | "at" | "from" | "to" => {
                        *member = true.into();
                    }
                    _ => strip(member),
                }
            }
        } else if let Some(number) = value.as_f64() {
            *value = number.into();
        }
    }
    let mut value = match request {
        b"" => Value::Object(serde_json::Map::new()),
        bytes => serde_json::from_slice(bytes).unwrap(),
    };
    strip(&mut value);
    value
}

#[test]
fn a_changed_byte_is_refused_or_read_as_what_the_changed_document_says() {
    for (path, document, bytes) in golden() {
        mutations(&bytes, JSON_BYTES, |mutant| {
            let Some(once) = recode(&document, mutant) else {
                return;
            };
            if document.ends_with("-request") {
                assert_eq!(
                    said(&once),
                    said(mutant),
                    "{path}: {}",
                    mutant.escape_ascii()
                );
            }
            assert_eq!(
                recode(&document, &once),
                Some(once),
                "{path}: {}",
                mutant.escape_ascii()
            );
        });
    }
}
