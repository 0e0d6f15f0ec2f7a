//! Refusals and faults: stable words and RFC 9457 problem documents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::strict::{DecodeError, MISTYPED};

/// Declares the one catalogue of refusals and faults.
macro_rules! catalogue {
    ($($variant:ident $code:literal $status:literal $retryable:literal $title:literal,)*) => {
        /// The stable word of a refusal (4xx) or a fault (5xx).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $(#[doc = $title] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the contract's table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// Returns the word itself.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Returns the status number, in HTTP's sense (RFC 9110).
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns whether the same request can succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// Returns one safe sentence for the caller: what happened and what to do.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Returns the code of this word; `None` if the catalogue does not have it.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

catalogue! {
    RequestMalformed "request.malformed" 400 false "The body is not one JSON text in UTF-8: send a JSON object",
    RequestInvalid "request.invalid" 422 false "The request breaks its schema: see errors, and countersign.v1.query.schema.<name>",
    PayloadTooLarge "payload.too_large" 413 false "The payload is over 65536 bytes: send less",
    ActorUnverified "actor.unverified" 401 false "No verified caller: connect through an account that imports the service with share: true",
    ActorForbidden "actor.forbidden" 403 false "This role may not ask for that",
    CredentialsInvalid "credentials.invalid" 401 false "The password is wrong or the user is unknown",
    CodeInvalid "code.invalid" 401 false "The code is not valid: ask for a new one",
    CodeSecondRequired "code.second_required" 428 true "Send two consecutive codes of the app, as code and next_code",
    AccountThrottled "account.throttled" 429 true "Too many wrong attempts: nothing was compared, try again after the wait",
    FactorSuspended "factor.suspended" 403 false "App codes or the whole account are suspended: the detail names the ways that are open",
    AttemptsNone "attempts.none" 409 false "No wrong code is counted, so there is nothing to clear",
    AccountNotFound "account.not_found" 404 false "There is no such account",
    CaseNotFound "case.not_found" 404 false "There is no such case",
    AccountExists "account.exists" 409 false "The account id or the username is taken: choose another",
    FactorAlreadyOn "factor.already_on" 409 false "2FA is on already: disable it first",
    FactorNotOn "factor.not_on" 409 false "2FA is not on for this account",
    FactorNotPending "factor.not_pending" 409 false "No enrolment of that authenticator is pending: start again with enable-2fa",
    ResetOpen "reset.open" 409 false "A reset case is open already",
    ResetClosed "reset.closed" 409 false "The reset case is closed",
    ResetNone "reset.none" 409 false "There is no open reset case",
    VersionConflict "version.conflict" 409 false "The account kept changing while the command was prepared: send it again",
    IdempotencyMismatch "idempotency.mismatch" 409 false "The same command id came with another body or subject: use a new id",
    OutcomeUnseen "outcome.unseen" 409 false "This command was done before and its secret reply is gone: ask for a new one with a new command id",
    EnrolmentExpired "enrolment.expired" 410 false "The enrolment has expired: start again with enable-2fa",
    ChallengeExpired "challenge.expired" 410 false "The login challenge is used, expired or unknown: start again with start-login",
    PasswordUnacceptable "password.unacceptable" 422 false "The password is too short, too long or too common: choose one of 8 to 256 bytes",
    ApprovalSelf "approval.self" 403 false "A second agent must approve",
    ResetCoolingOff "reset.cooling_off" 425 true "The cooling-off time is not over: execute after it",
    QuotaExceeded "quota.exceeded" 429 true "The agent's limit is reached: try later",
    Overloaded "overloaded" 503 true "The service is busy and nothing was appended: send the same command id again",
    Draining "draining" 503 true "The service is stopping and nothing was appended: send the same command id again",
    StoreUnavailable "store.unavailable" 503 true "The store cannot answer and nothing was appended: send the same command id again",
    DirectoryUnavailable "directory.unavailable" 503 true "The directory did not answer and nothing was appended: send the same command id again",
    ProjectionBehind "projection.behind" 503 true "The view has not reached that position yet: ask again",
    DeadlineExceeded "deadline.exceeded" 504 true "The deadline has passed and nothing was appended: send it again with a later one",
    OutcomeUnknown "outcome.unknown" 500 true "The outcome is unknown: send the same command id again to learn it",
    Internal "internal" 500 true "The service failed on this command: send the same command id again to learn the outcome",
}

/// What the account's clock or the code's history shows about a refused confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Diagnosis {
    /// The code belongs to another time step: the phone's clock is wrong.
    ClockOff {
        /// How many steps of 30 s the phone is ahead (positive) or behind (negative).
        steps: i64,
    },
    /// The code was used before.
    Replayed,
}

/// A field that broke the schema; it never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer to the field, empty for the whole body.
    pub pointer: String,
    /// What the contract demands of the field.
    pub detail: String,
}

/// A "no" to one request: a word of the catalogue, and details that help the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable word.
    pub code: ErrorCode,
    /// One more safe sentence, a constant of the code.
    pub detail: Option<&'static str>,
    /// Whole seconds until a retry can succeed.
    pub retry_after_s: Option<u64>,
    /// The fields that broke the schema.
    pub errors: Vec<FieldError>,
    /// Why a confirming code was wrong.
    pub diagnosis: Option<Diagnosis>,
}

impl Refusal {
    /// Makes a refusal with nothing but its word.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            detail: None,
            retry_after_s: None,
            errors: Vec::new(),
            diagnosis: None,
        }
    }

    /// Makes a refusal with one more safe sentence.
    pub fn because(code: ErrorCode, detail: &'static str) -> Self {
        Self {
            detail: Some(detail),
            ..Self::new(code)
        }
    }

    /// Makes a refusal with the seconds to wait, at least one.
    pub fn after(code: ErrorCode, seconds: u64) -> Self {
        Self {
            retry_after_s: Some(seconds.max(1)),
            ..Self::new(code)
        }
    }

    /// Returns the problem document (RFC 9457).
    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("urn:countersign:error:{}", self.code.as_str()),
            code: self.code.as_str().into(),
            status: self.code.status(),
            title: self.code.title().into(),
            detail: self.detail.map(Into::into),
            retryable: self.code.retryable(),
            retry_after_s: self.retry_after_s,
            errors: self.errors.clone(),
            diagnosis: self.diagnosis,
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::new(ErrorCode::RequestMalformed),
            DecodeError::Invalid { pointer, detail } => Self {
                errors: vec![FieldError {
                    pointer,
                    detail: detail.into_owned(),
                }],
                ..Self::new(ErrorCode::RequestInvalid)
            },
            DecodeError::Mistyped => Self::because(ErrorCode::CodeInvalid, MISTYPED),
        }
    }
}

/// The body of every refusal and fault: an RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:countersign:error:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable word.
    pub code: String,
    /// The status number.
    pub status: u16,
    /// One safe sentence about the word.
    pub title: String,
    /// One more safe sentence about this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// Whole seconds until a retry can succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The fields that broke the schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Why a confirming code was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_own_code_and_fits_a_header() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            assert!((400..600).contains(&code.status()));
            assert!(code.title().bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
    }
}
