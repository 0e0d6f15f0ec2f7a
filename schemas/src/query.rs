//! The queries. A body may be empty; names are the format.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::event::Event;
use crate::ids::{AccountId, Username};
use crate::strict::{DecodeError, decode};
use crate::support::CaseState;
use crate::time::Micros;
use crate::whole::Whole;

/// The largest page that a query may ask for, in events.
pub const PAGE_MAX: u16 = 500;
/// The page size, in events, of a query that does not name one.
pub const PAGE_DEFAULT: u16 = 100;

/// The most events of a page, as a query names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit(u16);

impl PageLimit {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "a limit is 1 to 500";
}

impl From<PageLimit> for u16 {
    fn from(limit: PageLimit) -> Self {
        limit.0
    }
}

impl<'de> Deserialize<'de> for PageLimit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match u16::try_from(u64::from(Whole::deserialize(d)?)) {
            Ok(limit @ 1..=PAGE_MAX) => Ok(Self(limit)),
            Ok(_) | Err(_) => Err(D::Error::custom(Self::RULE)),
        }
    }
}

impl JsonSchema for PageLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PageLimit".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX})
    }
}

/// The kebab-case name of an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(String);

impl EventName {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "there is no event type with this name";
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        if Event::ALL.iter().any(|(_, _, known)| *known == name) {
            Ok(Self(name))
        } else {
            Err(D::Error::custom(Self::RULE))
        }
    }
}

impl JsonSchema for EventName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Event::ALL.iter().map(|(_, _, name)| *name).collect();
        json_schema!({"type": "string", "enum": names})
    }
}

/// Names of event types.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct EventNames(Vec<EventName>);

impl From<EventNames> for Vec<String> {
    fn from(names: EventNames) -> Self {
        names.0.into_iter().map(|name| name.0).collect()
    }
}

/// Asks for a part of one account's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditTimelineQuery {
    /// Only events after this position.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
    )]
    #[schemars(with = "Option<Whole>")]
    pub after: Option<u64>,
    /// The most events of the page, 1–500.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<PageLimit, _, _>"
    )]
    #[schemars(with = "Option<PageLimit>")]
    pub limit: Option<u16>,
}

/// Asks for a part of the whole history; every filter given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditPageQuery {
    /// Only events after this position.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
    )]
    #[schemars(with = "Option<Whole>")]
    pub after: Option<u64>,
    /// The most events of the page, 1–500.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<PageLimit, _, _>"
    )]
    #[schemars(with = "Option<PageLimit>")]
    pub limit: Option<u16>,
    /// Only events of these types (kebab-case names).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<EventNames, _, _>"
    )]
    #[schemars(with = "Option<EventNames>")]
    pub types: Option<Vec<String>>,
    /// Only events of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Only events that this caller caused; letter case does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only events recorded at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Only events recorded before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
}

/// Asks for the account of a username.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindAccountQuery {
    /// The whole username, compared in lower case.
    pub username: Username,
}

/// Asks for reset cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetQueueQuery {
    /// Only cases in this state; only open cases when absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_word"
    )]
    pub state: Option<CaseState>,
    /// Only cases after this one: the `next` of the previous page.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::strict::optional_as::<Whole, _, _>"
    )]
    #[schemars(with = "Option<Whole>")]
    pub after: Option<u64>,
}

/// The body of a query that needs only its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// Decodes a query's body; an empty body counts as `{}`.
///
/// # Errors
/// [`DecodeError`], which repeats no value of the body, if the body is not the query's object.
pub fn decode_query<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    decode(if body.is_empty() { b"{}" } else { body })
}

/// Returns the page size that a query asked for, in events.
pub fn page_limit(limit: Option<u16>) -> usize {
    usize::from(limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX))
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
        let read = |body: &str| decode_query::<AuditTimelineQuery>(body.as_bytes());
        let limit = |body| read(body).map(|query| page_limit(query.limit));
        assert_eq!(limit("{}"), Ok(100));
        assert_eq!(limit(r#"{"limit":500}"#), Ok(500));
        assert_eq!(limit(r#"{"limit":1.0}"#), Ok(1));
        for bad in ["0", "501", "65537", "1.5", "\"1\"", "-1"] {
            let body = format!(r#"{{"limit":{bad}}}"#);
            assert!(read(&body).is_err(), "{bad}");
        }
    }
}
