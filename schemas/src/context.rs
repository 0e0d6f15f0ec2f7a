//! Where a request came from. This only informs, so nothing in it is a reason to refuse: a text
//! that is too long is cut and ends with [`CUT`], and a value of the wrong form is left out.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The last character of a text that was cut.
pub const CUT: char = '…';

/// Where a request came from, as the platform saw it; sealed at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Context {
    /// The user's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<SourceIp>,
    /// The user's agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

/// The address that a request came from, as the platform saw it: text of 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceIp(String);

/// The user agent that a request came from: 1 to 256 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent(String);

impl SourceIp {
    /// The most characters: an IPv6 address in its longest form, with brackets and a port, has 53.
    pub const CHARS_MAX: usize = 64;

    /// Takes a text without the blanks around it, and without the zone of an address if the text
    /// would be too long; `None` if nothing is left.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some((address, zone)) = text
            .split_once('%')
            .filter(|_| is_over(text, Self::CHARS_MAX))
        else {
            return cut(text, Self::CHARS_MAX).map(Self);
        };
        let after = zone.find(']').map_or("", |at| &zone[at..]);
        cut(&format!("{address}{after}"), Self::CHARS_MAX).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Agent {
    /// The most characters of a user agent.
    pub const CHARS_MAX: usize = 256;

    /// Takes a text; `None` if it is empty.
    pub fn of(text: &str) -> Option<Self> {
        cut(text, Self::CHARS_MAX).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_over(text: &str, max: usize) -> bool {
    text.chars().nth(max).is_some()
}

/// Returns the text, or its first characters and the mark: `max` characters in all.
fn cut(text: &str, max: usize) -> Option<String> {
    match text {
        "" => None,
        _ if is_over(text, max) => {
            let kept = text.chars().take(max - 1);
            Some(kept.chain([CUT]).collect())
        }
        _ => Some(text.to_owned()),
    }
}

/// A text, or nothing for a value of any other type.
struct MaybeText(Option<String>);

impl<'de> Deserialize<'de> for MaybeText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Loose).map(|seen| Self(seen.text))
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Loose).map(|seen| seen.context)
    }
}

/// What was read from a value of any type.
#[derive(Default)]
struct Seen {
    text: Option<String>,
    context: Context,
}

/// Reads any JSON value, and fails only if the input is not JSON.
struct Loose;

impl<'de> Visitor<'de> for Loose {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        Ok(Seen {
            text: Some(text.to_owned()),
            ..Seen::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let mut seen = Seen::default();
        while let Some(name) = map.next_key::<String>()? {
            let context = &mut seen.context;
            match name.as_str() {
                "ip" => {
                    let text = map.next_value::<MaybeText>()?.0;
                    context.ip = text.and_then(|text| SourceIp::of(&text));
                }
                "agent" => {
                    let text = map.next_value::<MaybeText>()?.0;
                    context.agent = text.and_then(|text| Agent::of(&text));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(seen)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Seen::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }
}

impl JsonSchema for Context {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Context".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = |what: &str, max: usize| {
            format!(
                "{what}; a longer text is cut to its first {} characters, followed by {CUT}.",
                max - 1
            )
        };
        json_schema!({
            "description": "Where a request came from, as the platform saw it: an object with ip and \
                agent, both texts. It only informs and is never a reason to refuse: what is not of \
                this form is left out.",
            "properties": {
                "ip": {"description": text("The user's address", SourceIp::CHARS_MAX)},
                "agent": {"description": text("The user's agent", Agent::CHARS_MAX)},
            },
            "examples": [{"ip": "203.0.113.7", "agent": "Firefox"}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Context {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn no_value_of_a_context_is_refused() {
        for nothing in [
            "null",
            "1",
            "-1",
            "0.5",
            "true",
            "\"x\"",
            "[]",
            "[[{\"ip\":1}],2]",
            "{}",
            r#"{"ip":1,"agent":[]}"#,
            r#"{"ip":"","agent":""}"#,
            r#"{"ip":" \t","x":{"ip":"a"}}"#,
            r#"{"ip":{"ip":"a"},"agent":null}"#,
        ] {
            assert_eq!(read(nothing), Context::default(), "{nothing}");
        }
        let some = read(r#"{"x":1,"agent":"Firefox","ip":" 192.0.2.7 ","y":[]}"#);
        assert_eq!(some.agent.unwrap().as_str(), "Firefox");
        assert_eq!(some.ip.unwrap().as_str(), "192.0.2.7");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_marked() {
        for (character, count) in [
            ("a", 257),
            ("é", 257),
            ("🦀", 9_999),
            ("a", 256),
            ("🦀", 256),
        ] {
            let agent = Agent::of(&character.repeat(count)).unwrap();
            let is_cut = count > Agent::CHARS_MAX;
            assert_eq!(agent.as_str().chars().count(), Agent::CHARS_MAX);
            assert_eq!(agent.as_str().ends_with(CUT), is_cut, "{character} {count}");
        }
    }

    #[test]
    fn an_address_stays_one_however_long_its_zone_is() {
        let zone = "z".repeat(300);
        for (written, kept) in [
            (format!("2001:db8::7%{zone}"), "2001:db8::7"),
            (format!("[2001:db8::7%{zone}]:443"), "[2001:db8::7]:443"),
            (
                format!("{}192.0.2.7{}", " ".repeat(99), "\t".repeat(99)),
                "192.0.2.7",
            ),
        ] {
            assert_eq!(SourceIp::of(&written).unwrap().as_str(), kept);
        }
        let long = SourceIp::of(&zone).unwrap();
        assert_eq!(long.as_str().chars().count(), SourceIp::CHARS_MAX);
    }
}
