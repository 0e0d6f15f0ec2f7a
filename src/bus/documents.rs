//! What the service publishes about itself: JSON Schema documents and the catalogue of errors.

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign_schemas::catalogue;
use serde::Serialize;

/// The documents by name, made once at the start.
#[derive(Debug)]
pub struct Documents {
    schemas: BTreeMap<&'static str, Bytes>,
    errors: Bytes,
}

impl Documents {
    /// Makes every document of the contract's catalogue.
    pub fn made() -> Self {
        let documents = catalogue::documents().into_iter();
        Self {
            schemas: documents
                .map(|(name, schema)| (name, text(&schema)))
                .collect(),
            errors: text(&catalogue::errors()),
        }
    }

    /// Returns the JSON Schema document of that name; `None` if there is none.
    pub fn schema(&self, name: &str) -> Option<Bytes> {
        self.schemas.get(name).cloned()
    }

    /// Returns the catalogue of refusals and faults.
    pub fn errors(&self) -> Bytes {
        self.errors.clone()
    }
}

fn text<T: Serialize>(document: &T) -> Bytes {
    serde_json::to_vec(document)
        .expect("a document has string keys only")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::endpoints::{self, Operation};
    use countersign_schemas::refusal::ErrorCode;
    use countersign_schemas::reply::Errors;

    #[test]
    fn every_endpoint_has_both_documents_and_a_success_shows_its_details() {
        let endpoints = endpoints::all();
        let documents = Documents::made();
        for endpoint in &endpoints {
            assert!(documents.schema(&endpoint.request_schema()).is_some());
            let response = documents.schema(&endpoint.response_schema()).unwrap();
            if matches!(endpoint.operation, Operation::Command(_)) {
                let response: serde_json::Value = serde_json::from_slice(&response).unwrap();
                let required = response["required"].as_array().unwrap();
                assert!(
                    required.contains(&"details".into()),
                    "{}: {response}",
                    endpoint.name
                );
            }
        }
        assert!(documents.schema("problem").is_some());
        assert_eq!(documents.schema("nothing"), None);
    }

    #[test]
    fn the_catalogue_has_every_word() {
        let errors: Errors = serde_json::from_slice(&Documents::made().errors()).unwrap();
        assert_eq!(errors.errors.len(), ErrorCode::ALL.len());
    }
}
