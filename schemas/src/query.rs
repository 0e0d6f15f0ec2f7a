//! The queries: bodies may be empty, names are the format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, Username};
use crate::strict::{DecodeError, decode};
use crate::support::CaseState;
use crate::time::Micros;

/// The largest page that a query may ask for.
pub const PAGE_MAX: u16 = 500;
/// The page of a query that does not say.
pub const PAGE_DEFAULT: u16 = 100;

/// Which part of one account's history to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditTimelineQuery {
    /// Only events after this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many events, 1–500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
}

/// Which part of the whole history to show; every filter given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditPageQuery {
    /// Only events after this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many events, 1–500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
    /// Only events of these types (kebab-case names).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Only events of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Only events that this caller caused, in whatever letter case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only events recorded at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Only events recorded before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
}

/// Whose name it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindAccountQuery {
    /// The whole username, compared in lower case.
    pub username: Username,
}

/// Which reset cases to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetQueueQuery {
    /// Only cases in this state; the open ones when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<CaseState>,
}

/// A query whose answer needs nothing but its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// Decodes a query's body; an empty one stands for `{}`.
///
/// # Errors
/// [`DecodeError`], which repeats no value of the body.
pub fn decode_query<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    decode(if body.is_empty() { b"{}" } else { body })
}

/// The page size that a query asked for.
///
/// # Errors
/// [`DecodeError::Invalid`] outside 1–500.
pub fn page_limit(limit: Option<u16>) -> Result<usize, DecodeError> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(usize::from(limit)),
        _ => Err(DecodeError::at("/limit", "a limit is 1 to 500")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_is_an_empty_query() {
        assert_eq!(decode_query(b""), Ok(AuditPageQuery::default()));
        assert!(decode_query::<AuditPageQuery>(b"[]").is_err());
        assert!(decode_query::<NoFields>(b"{\"x\":1}").is_err());
    }

    #[test]
    fn a_page_has_1_to_500_events() {
        assert_eq!(page_limit(None), Ok(100));
        assert_eq!(page_limit(Some(500)), Ok(500));
        assert!(page_limit(Some(0)).is_err());
        assert!(page_limit(Some(501)).is_err());
    }
}
