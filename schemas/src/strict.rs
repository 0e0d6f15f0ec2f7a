//! Strict JSON: a body that does not match the contract exactly is refused, and no refusal repeats
//! it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::body;
use crate::code::MalformedCode;
use crate::ids::{
    AccountId, AccountName, Audience, AuthenticatorId, CaseId, ChallengeText, CommandId, Label,
    Reason, Ticket, Username,
};
use crate::query::{EventName, PageLimit};
use crate::time::Micros;
use crate::whole::{Place, Whole};

/// Why a body was refused; no variant carries a value of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not one JSON text in UTF-8 (400).
    #[error("the body is not one JSON text in UTF-8")]
    Malformed,
    /// The body is JSON, but not this request (422).
    #[error("{pointer}: {detail}")]
    Invalid {
        /// JSON pointer to the field, empty for the whole body.
        pointer: String,
        /// What the contract demands of the field.
        detail: Cow<'static, str>,
    },
    /// The body is this request, but a backup code in it has a wrong check character (401).
    #[error("{MISTYPED}")]
    Mistyped,
}

/// The message for a backup code with a wrong check character.
pub const MISTYPED: &str = "the backup code is mistyped: nothing was compared or counted";

/// The message for `null` in place of a value.
const NULL: &str = "a value is required here, and null counts as none";

impl DecodeError {
    /// Makes an error for the field at this JSON pointer.
    pub fn at(pointer: &str, detail: &'static str) -> Self {
        Self::Invalid {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// Decodes a body that must be one JSON object of the given shape.
///
/// The work is linear in the size of the body, which the caller has bounded.
///
/// # Errors
/// [`DecodeError::Invalid`] for unknown fields, duplicate keys, wrong types and an array in place
/// of an object; [`DecodeError::Malformed`] for text that is not JSON (empty, BOM, invalid UTF-8,
/// trailing bytes).
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|_| DecodeError::Malformed)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| DecodeError::Malformed)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    object(reader).map_err(|error| describe(&serde_path_to_error::Error::new(track.path(), error)))
}

/// For `#[serde(deserialize_with)]`: a struct that is present must be a JSON object.
///
/// # Errors
/// The deserializer's, for a value of another shape.
pub fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    struct Maybe<T>(T);
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            object(d).map(Maybe)
        }
    }
    Ok(Option::<Maybe<T>>::deserialize(d)?.map(|Maybe(value)| value))
}

/// For `#[serde(deserialize_with)]`: one word of a list, which must be a string. serde's derive
/// would also accept an object.
///
/// # Errors
/// The deserializer's, for a value of another shape.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    let text = String::deserialize(d)?;
    T::deserialize(text.into_deserializer())
}

/// For `#[serde(deserialize_with)]`: a [`word`], or null.
///
/// # Errors
/// The deserializer's, for a value of another shape.
pub fn optional_word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| T::deserialize(text.into_deserializer()))
        .transpose()
}

/// For `#[serde(deserialize_with)]`: reads a value by the rules of another type.
///
/// # Errors
/// The deserializer's, for a value of another shape.
pub fn read_as<'de, R, T, D>(d: D) -> Result<T, D::Error>
where
    R: Deserialize<'de> + Into<T>,
    D: Deserializer<'de>,
{
    R::deserialize(d).map(Into::into)
}

/// For `#[serde(deserialize_with)]`: [`read_as`], or null.
///
/// # Errors
/// The deserializer's, for a value of another shape.
pub fn optional_as<'de, R, T, D>(d: D) -> Result<Option<T>, D::Error>
where
    R: Deserialize<'de> + Into<T>,
    D: Deserializer<'de>,
{
    Ok(Option::<R>::deserialize(d)?.map(Into::into))
}

/// Deserialises a struct from a map only: serde's derive would also accept an array.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    struct OnlyMap<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    d.deserialize_map(OnlyMap(PhantomData))
}

/// Turns serde's message into one of the service's own. serde's text can quote the request
/// ("unknown field `hunter2`"), so only names and sentences of the service's own types are taken
/// from it.
fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> DecodeError {
    if error.inner().classify() != serde_json::error::Category::Data {
        return DecodeError::Malformed;
    }
    let message = error.inner().to_string();
    if message.starts_with("unknown field") {
        // The path ends with the unknown name itself, which is text of the request.
        return DecodeError::Invalid {
            pointer: parent(error.path()),
            detail: known_names(&message).into(),
        };
    }
    let field = |prefix: &str| {
        let (name, _) = message.strip_prefix(prefix)?.split_once('`')?;
        Some(format!("{}/{name}", pointer(error.path())))
    };
    if let Some(pointer) = field("missing field `") {
        return DecodeError::at(&pointer, "this field is required");
    }
    if let Some(pointer) = field("duplicate field `") {
        return DecodeError::at(&pointer, "this field appears more than once");
    }
    if message.starts_with("invalid type: null") {
        return DecodeError::at(&pointer(error.path()), NULL);
    }
    let rules = body::RULES.iter().map(body::Rule::sentence);
    let detail = rules
        .chain(RULES.iter().copied())
        .find(|rule| message.starts_with(rule))
        .unwrap_or("this value does not have the type that the schema names");
    DecodeError::at(&pointer(error.path()), detail)
}

/// Returns the fields that an object knows, from serde's "unknown field `x`, expected `a` or `b`".
/// The name `x` can contain these words too, so the last occurrence counts: no field of the service
/// contains them.
fn known_names(message: &str) -> String {
    let (_, known) = message.rsplit_once(", expected ").unwrap_or_default();
    let names: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        "no fields are allowed here".into()
    } else {
        format!("this field does not exist here, only {}", names.join(", "))
    }
}

/// Returns the JSON pointer of a path that leads through known fields only.
fn pointer(path: &serde_path_to_error::Path) -> String {
    segments(path.iter())
}

/// Returns the JSON pointer without its last segment.
fn parent(path: &serde_path_to_error::Path) -> String {
    segments(path.iter().take(path.iter().count().saturating_sub(1)))
}

fn segments<'a>(path: impl Iterator<Item = &'a serde_path_to_error::Segment>) -> String {
    path.filter_map(|segment| match segment {
        serde_path_to_error::Segment::Map { key } => Some(format!("/{key}")),
        serde_path_to_error::Segment::Seq { index } => Some(format!("/{index}")),
        _ => None,
    })
    .collect()
}

/// The sentences of the service's own checks, none of which quotes the request.
const RULES: &[&str] = &[
    AccountId::RULE,
    Username::RULE,
    CommandId::RULE,
    AuthenticatorId::RULE,
    ChallengeText::RULE,
    Audience::RULE,
    Label::RULE,
    AccountName::RULE,
    Reason::RULE,
    Ticket::RULE,
    CaseId::RULE,
    Micros::RULE,
    MalformedCode::RULE,
    Whole::RULE,
    Place::RULE,
    PageLimit::RULE,
    EventName::RULE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        password: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        id: String,
        #[serde(default, deserialize_with = "optional_object")]
        inner: Option<Inner>,
    }

    fn refused(body: &[u8]) -> DecodeError {
        decode::<Outer>(body).unwrap_err()
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in [
            &b""[..],
            b"\xff",
            b"\xef\xbb\xbf{\"id\":\"a\"}",
            b"{\"id\":\"\xc3\x28\"}",
            b"{\"id\":\"a\"} x",
            b"{\"nope\":1} x",
            b"{\"id\":1e999",
        ] {
            assert_eq!(refused(body), DecodeError::Malformed, "{body:?}");
        }
    }

    #[test]
    fn null_for_what_is_required_is_said_to_be_as_good_as_nothing() {
        for (body, pointer) in [
            (&br#"{"id":null}"#[..], "/id"),
            (
                br#"{"id":"a","inner":{"password":null}}"#,
                "/inner/password",
            ),
            (b"null", ""),
        ] {
            assert_eq!(refused(body), DecodeError::at(pointer, NULL));
        }
        let kind = DecodeError::at(
            "/id",
            "this value does not have the type that the schema names",
        );
        assert_eq!(refused(br#"{"id":["invalid type: null"]}"#), kind);
    }

    #[test]
    fn what_is_json_of_another_shape_is_invalid() {
        for body in [
            &b"[]"[..],
            b"null",
            b"\"x\"",
            b"{}",
            b"{\"id\":1}",
            b"{\"id\":\"a\",\"id\":\"a\"}",
            b"{\"id\":\"a\",\"x\":1}",
            b"[\"a\"]",
            b"{\"id\":\"a\",\"inner\":[\"p\"]}",
            b"{\"id\":\"a\",\"inner\":\"p\"}",
        ] {
            assert!(
                matches!(refused(body), DecodeError::Invalid { .. }),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_body_nested_a_hundred_thousand_deep_is_refused_without_a_crash() {
        let deep = format!("{{\"id\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        decode::<Outer>(deep.as_bytes()).unwrap_err();
    }

    #[test]
    fn no_refusal_repeats_a_value_or_an_unknown_name() {
        for body in [
            &br#"{"id":"a","hunter2":1}"#[..],
            br#"{"id":"a","x`, expected `hunter2`":1}"#,
            br#"{"id":"a","inner":{"hunter2":1}}"#,
            br#"{"id":"a","inner":"hunter2"}"#,
            br#"{"id":["hunter2"]}"#,
        ] {
            assert!(!format!("{:?}", refused(body)).contains("hunter2"));
        }
    }

    #[test]
    fn an_unknown_field_is_named_by_its_parent_and_the_known_names() {
        let named = |body: &[u8]| match refused(body) {
            DecodeError::Invalid { pointer, detail } => (pointer, detail.into_owned()),
            other => panic!("{other:?}"),
        };
        let only = |pointer: &str, names: &str| {
            let detail = format!("this field does not exist here, only {names}");
            (pointer.to_owned(), detail)
        };
        for name in ["x", "id2", "a/b", "`, expected `hunter2`", ""] {
            let outer = format!(r#"{{"id":"a","{name}":1}}"#);
            assert_eq!(named(outer.as_bytes()), only("", "id, inner"));
            let inner = format!(r#"{{"id":"a","inner":{{"password":"p","{name}":1}}}}"#);
            assert_eq!(named(inner.as_bytes()), only("/inner", "password"));
        }
        let none = decode::<crate::query::NoFields>(b"{\"x\":1}").unwrap_err();
        assert_eq!(none, DecodeError::at("", "no fields are allowed here"));
    }

    #[test]
    fn the_right_shape_is_taken() {
        let body = br#"{"id":"a","inner":{"password":"p"}}"#;
        let inner = Some(Inner {
            password: "p".into(),
        });
        assert_eq!(
            decode::<Outer>(body),
            Ok(Outer {
                id: "a".into(),
                inner
            })
        );
        assert_eq!(decode::<Outer>(br#"{"id":"a"}"#).unwrap().inner, None);
    }
}
