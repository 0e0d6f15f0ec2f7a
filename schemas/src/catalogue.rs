//! The list of all JSON Schema documents, which `query.schema.<name>` serves and `json/` holds.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::admin;
use crate::audit;
use crate::command;
use crate::published;
use crate::query;
use crate::refusal::{ErrorCode, Problem};
use crate::reply::{self, Success};
use crate::support;
use crate::support_reply;

/// Makes the schema of one document.
type Generate = fn() -> Schema;

/// Declares the list: requests as the service reads them, and responses as it writes them. A field
/// of a response that is always present is required, even if it can be null.
macro_rules! documents {
    (requests { $($request:literal $read:ty,)* } responses { $($response:literal $written:ty,)* }) => {
        const DOCUMENTS: &[(&str, Generate)] = &[
            $(($request, || SchemaSettings::draft2020_12()
                .for_deserialize().into_generator().into_root_schema_for::<$read>()),)*
            $(($response, || SchemaSettings::draft2020_12()
                .for_serialize().into_generator().into_root_schema_for::<$written>()),)*
        ];
    };
}

documents! {
    requests {
        "register-account-request" command::RegisterAccount,
        "change-password-request" command::ChangePassword,
        "enable-2fa-request" command::Enable2fa,
        "confirm-code-request" command::ConfirmCode,
        "cancel-enrolment-request" command::CancelEnrolment,
        "regenerate-backup-codes-request" command::RegenerateBackupCodes,
        "disable-2fa-request" command::Disable2fa,
        "start-login-request" command::StartLogin,
        "verify-login-request" command::VerifyLogin,
        "user-cancel-reset-request" support::UserCancelReset,
        "clear-attempts-request" command::ClearAttempts,
        "suspend-factor-request" support::SuspendFactor,
        "request-reset-request" support::RequestReset,
        "approve-reset-request" support::ApproveReset,
        "reject-reset-request" support::RejectReset,
        "cancel-reset-request" support::CancelReset,
        "execute-reset-request" support::ExecuteReset,
        "erase-account-request" command::EraseAccount,
        "rotate-keys-request" command::RotateKeys,
        "login-status-request" query::NoFields,
        "find-account-request" query::FindAccountQuery,
        "account-card-request" query::NoFields,
        "reset-queue-request" query::ResetQueueQuery,
        "audit-timeline-request" query::AuditTimelineQuery,
        "audit-page-request" query::AuditPageQuery,
        "account-at-request" audit::AccountAtQuery,
        "checkpoint-request" query::NoFields,
        "proof-request" audit::ProofQuery,
        "consistency-request" audit::ConsistencyQuery,
        "audit-records-request" audit::AuditRecordsQuery,
        "audit-export-request" audit::AuditExportQuery,
        "audit-explain-request" audit::AuditExplainQuery,
        "schema-request" query::NoFields,
        "errors-request" query::NoFields,
        "jwks-request" query::NoFields,
        "backup-request" admin::BackupRequest,
        "log-stats-request" query::NoFields,
        "view-list-request" query::NoFields,
        "key-list-request" query::NoFields,
        "view-rebuild-request" admin::ViewRebuildRequest,
    }
    responses {
        "register-account-response" Success<reply::AccountRegistered>,
        "change-password-response" Success<reply::PasswordChanged>,
        "enable-2fa-response" Success<reply::EnrolmentStarted>,
        "confirm-code-response" Success<reply::CodeConfirmed>,
        "cancel-enrolment-response" Success<reply::FactorChanged>,
        "regenerate-backup-codes-response" Success<reply::BackupCodesRegenerated>,
        "disable-2fa-response" Success<reply::FactorChanged>,
        "start-login-response" Success<reply::LoginStarted>,
        "verify-login-response" Success<reply::LoginVerified>,
        "user-cancel-reset-response" Success<support_reply::CaseChanged>,
        "clear-attempts-response" Success<reply::FactorChanged>,
        "suspend-factor-response" Success<support_reply::FactorSuspended>,
        "request-reset-response" Success<support_reply::ResetRequested>,
        "approve-reset-response" Success<support_reply::ResetApproved>,
        "reject-reset-response" Success<support_reply::CaseChanged>,
        "cancel-reset-response" Success<support_reply::CaseChanged>,
        "execute-reset-response" Success<support_reply::CaseChanged>,
        "erase-account-response" Success<reply::AccountErased>,
        "rotate-keys-response" Success<reply::KeysRotated>,
        "login-status-response" reply::LoginStatus,
        "find-account-response" support_reply::AccountFound,
        "account-card-response" support_reply::AccountCard,
        "reset-queue-response" support_reply::ResetQueue,
        "audit-timeline-response" reply::AuditPage,
        "audit-page-response" reply::AuditPage,
        "account-at-response" reply::LoginStatus,
        "checkpoint-response" audit::SignedCheckpoint,
        "proof-response" audit::InclusionProof,
        "consistency-response" audit::ConsistencyProof,
        "audit-records-response" audit::AuditRecords,
        "audit-export-response" audit::ExportPage,
        "audit-explain-response" audit::Explanation,
        "schema-response" serde_json::Map<String, Value>,
        "errors-response" reply::Errors,
        "jwks-response" reply::Jwks,
        "backup-response" admin::BackupTaken,
        "log-stats-response" admin::LogStats,
        "view-list-response" admin::ViewList,
        "key-list-response" admin::KeyList,
        "view-rebuild-response" admin::ViewList,
        "audit-event" reply::AuditEvent,
        "published-event" published::PublishedEvent,
        "problem" Problem,
    }
}

/// Returns every document's name, in the list's order.
///
/// A name is one token of a subject. The documents of an endpoint are `<endpoint>-request` and
/// `<endpoint>-response`; the others are `audit-event`, `published-event` and `problem`.
pub fn names() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.iter().map(|(name, _)| *name)
}

/// Returns the JSON Schema (2020-12) of that name; `None` if the list does not have it.
pub fn document(name: &str) -> Option<Value> {
    let (name, generate) = DOCUMENTS.iter().find(|(known, _)| *known == name)?;
    Some(finish(name, generate()))
}

/// Returns every document with its name, in the list's order.
pub fn documents() -> Vec<(&'static str, Value)> {
    DOCUMENTS
        .iter()
        .map(|(name, generate)| (*name, finish(name, generate())))
        .collect()
}

/// Returns the catalogue of refusals and faults, which `query.errors` serves.
pub fn errors() -> reply::Errors {
    let entry = |code: &ErrorCode| reply::ErrorEntry {
        code: code.as_str().into(),
        status: code.status(),
        title: code.title().into(),
        retryable: code.retryable(),
    };
    reply::Errors {
        errors: ErrorCode::ALL.iter().map(entry).collect(),
    }
}

/// Gives the schema its document's name as a title.
fn finish(name: &str, mut schema: Schema) -> Value {
    schema.insert("title".into(), name.into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::command::Command;

    #[test]
    fn every_command_has_a_request_and_a_response() {
        for (command, _) in Command::ALL {
            assert!(document(&format!("{command}-request")).is_some());
            assert!(document(&format!("{command}-response")).is_some());
        }
        assert_eq!(document("no-such-document"), None);
    }

    #[test]
    fn no_two_documents_share_a_name() {
        let distinct: std::collections::BTreeSet<_> = names().collect();
        assert_eq!(distinct.len(), names().count());
        assert_eq!(documents().len(), names().count());
    }

    #[test]
    fn a_request_is_closed_and_a_response_requires_what_it_always_has() {
        let request = document("enable-2fa-request").expect("listed");
        assert_eq!(request["additionalProperties"], json!(false));
        let response = document("login-status-response").expect("listed");
        let required = response["required"].as_array().expect("has a list");
        assert!(required.contains(&json!("throttled_until")));
    }
}
