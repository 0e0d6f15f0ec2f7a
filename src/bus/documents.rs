//! What the service says of itself: JSON Schema documents and the catalogue of errors.

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign_schemas::command::Command;
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery, NoFields};
use countersign_schemas::refusal::{ErrorCode, Problem};
use countersign_schemas::reply::{self, Success};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

use super::endpoints::{Asked, Endpoint};

/// The name of the document that describes every refusal and fault.
pub const PROBLEM_SCHEMA: &str = "problem";

/// The catalogue of refusals and faults.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Errors {
    /// One entry for each word.
    pub errors: Vec<ErrorEntry>,
}

/// One word of the catalogue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorEntry {
    /// The stable word.
    pub code: String,
    /// The status number.
    pub status: u16,
    /// One safe sentence.
    pub title: String,
    /// Whether the same request can succeed later.
    pub retryable: bool,
}

/// The documents by name, made once.
#[derive(Debug)]
pub struct Documents {
    schemas: BTreeMap<String, Bytes>,
    errors: Bytes,
}

impl Documents {
    /// Makes the documents of these endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let mut schemas = BTreeMap::new();
        for endpoint in endpoints {
            schemas.insert(endpoint.request_schema(), text(&request(endpoint)));
            schemas.insert(endpoint.response_schema(), text(&response(endpoint)));
        }
        schemas.insert(PROBLEM_SCHEMA.into(), text(&schema_for!(Problem)));
        let errors = ErrorCode::ALL.iter().map(|code| ErrorEntry {
            code: code.as_str().into(),
            status: code.status(),
            title: code.title().into(),
            retryable: code.retryable(),
        });
        let errors = text(&Errors {
            errors: errors.collect(),
        });
        Self { schemas, errors }
    }

    /// The JSON Schema document of that name.
    pub fn schema(&self, name: &str) -> Option<Bytes> {
        self.schemas.get(name).cloned()
    }

    /// The catalogue of refusals and faults.
    pub fn errors(&self) -> Bytes {
        self.errors.clone()
    }
}

fn text<T: Serialize>(document: &T) -> Bytes {
    serde_json::to_vec(document)
        .expect("a document has string keys only")
        .into()
}

fn request(endpoint: &Endpoint) -> Schema {
    match endpoint.asked {
        Asked::Command(_) => {
            Command::schema(endpoint.name).expect("the endpoints are made from the commands")
        }
        Asked::AuditTimeline => schema_for!(AuditTimelineQuery),
        Asked::AuditPage => schema_for!(AuditPageQuery),
        Asked::LoginStatus | Asked::Schema | Asked::Errors => schema_for!(NoFields),
    }
}

fn response(endpoint: &Endpoint) -> Schema {
    match endpoint.asked {
        Asked::Command(_) => command_response(endpoint.name),
        Asked::LoginStatus => schema_for!(reply::LoginStatus),
        Asked::AuditTimeline | Asked::AuditPage => schema_for!(reply::AuditPage),
        Asked::Schema => schema_for!(serde_json::Map<String, serde_json::Value>),
        Asked::Errors => schema_for!(Errors),
    }
}

fn command_response(name: &str) -> Schema {
    match name {
        "register-account" => schema_for!(Success<reply::AccountRegistered>),
        "change-password" => schema_for!(Success<reply::PasswordChanged>),
        "enable-2fa" => schema_for!(Success<reply::EnrolmentStarted>),
        "confirm-code" => schema_for!(Success<reply::CodeConfirmed>),
        "cancel-enrolment" | "disable-2fa" | "clear-attempts" => {
            schema_for!(Success<reply::FactorChanged>)
        }
        "regenerate-backup-codes" => schema_for!(Success<reply::BackupCodesRegenerated>),
        "start-login" => schema_for!(Success<reply::LoginStarted>),
        "verify-login" => schema_for!(Success<reply::LoginVerified>),
        _ => unreachable!("a test asks for every command's document"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bus::endpoints;

    #[test]
    fn every_endpoint_has_both_documents_and_a_success_shows_its_details() {
        let endpoints = endpoints::all();
        let documents = Documents::new(&endpoints);
        for endpoint in &endpoints {
            assert!(documents.schema(&endpoint.request_schema()).is_some());
            let response = documents.schema(&endpoint.response_schema()).unwrap();
            if matches!(endpoint.asked, Asked::Command(_)) {
                let response: serde_json::Value = serde_json::from_slice(&response).unwrap();
                let required = response["required"].as_array().unwrap();
                assert!(
                    required.contains(&"details".into()),
                    "{}: {response}",
                    endpoint.name
                );
            }
        }
        assert!(documents.schema(PROBLEM_SCHEMA).is_some());
        assert_eq!(documents.schema("nothing"), None);
    }

    #[test]
    fn the_catalogue_has_every_word() {
        let errors: Errors = serde_json::from_slice(&Documents::new(&[]).errors()).unwrap();
        assert_eq!(errors.errors.len(), ErrorCode::ALL.len());
    }
}
