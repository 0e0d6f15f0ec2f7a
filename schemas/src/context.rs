//! Where a request came from. This only informs, so nothing in it is a reason to refuse: a text
//! that is too long is cut and ends with [`CUT`], and a value of the wrong form is left out.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The last character of a text that was cut.
pub const CUT: char = '…';

/// The character that replaces half a surrogate pair.
const REPLACEMENT: &str = "\u{fffd}";
/// How many bytes half a surrogate pair has in a JSON string that is read as bytes.
const SURROGATE_BYTES: usize = 3;

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

    /// Takes a text without the blanks around it; `None` if nothing is left. A text that is too
    /// long loses the zone of its address; a list that is too long keeps only its end.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if !is_over(text, Self::CHARS_MAX) {
            return cut(text, Self::CHARS_MAX).map(Self);
        }
        if text.contains(',') {
            return Some(Self(end_of(text, Self::CHARS_MAX)));
        }
        let Some((address, zone)) = text.split_once('%') else {
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

/// Returns the mark and the last characters of a text: `max` characters in all.
fn end_of(text: &str, max: usize) -> String {
    let kept = text.chars().rev().take(max - 1);
    let kept: String = kept.collect();
    [CUT].into_iter().chain(kept.chars().rev()).collect()
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

impl<'de> Deserialize<'de> for Context {
    /// Takes the raw JSON text of the context. Parsed with the request, a number out of range, half
    /// a surrogate pair or deep nesting would refuse the whole request.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(d)?;
        let read = serde_json::Deserializer::from_str(json.get()).deserialize_map(Fields);
        Ok(read.unwrap_or_default())
    }
}

/// Reads an object, of which two fields count.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Context;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context, A::Error> {
        let mut context = Context::default();
        while let Some((Text(name), value)) = map.next_entry::<Text, &RawValue>()? {
            match name.as_str() {
                "ip" => context.ip = text_of(value).and_then(|text| SourceIp::of(&text)),
                "agent" => context.agent = text_of(value).and_then(|text| Agent::of(&text)),
                _ => {}
            }
        }
        Ok(context)
    }
}

/// Returns a text; `None` for a value of any other type.
fn text_of(value: &RawValue) -> Option<String> {
    let text = serde_json::from_str::<Text>(value.get());
    text.ok().map(|Text(text)| text)
}

/// A JSON string. Half a surrogate pair, which UTF-8 cannot represent, is read as U+FFFD.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(replaced(bytes.to_vec())))
            }
        }
        d.deserialize_bytes(Bytes)
    }
}

/// Converts bytes that are UTF-8 except for halves of surrogate pairs, 3 bytes each.
fn replaced(mut bytes: Vec<u8>) -> String {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let at = from + error.valid_up_to();
        from = bytes.len().min(at + SURROGATE_BYTES);
        bytes.splice(at..from, REPLACEMENT.bytes());
        from = at + REPLACEMENT.len();
    }
    String::from_utf8(bytes).expect("what was none was replaced")
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
                "ip": {"description": text("The user's address", SourceIp::CHARS_MAX)
                    + " In a list the last entry is the address, so the end of a long list is kept."},
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
    fn what_no_number_text_or_stack_holds_is_left_out_or_marked() {
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let objects = format!("{}1{}", r#"{"ip":"#.repeat(9_000), "}".repeat(9_000));
        for nothing in ["1e999", "-1e-999", &"9".repeat(999), &deep, &objects] {
            assert_eq!(read(nothing), Context::default());
            for name in ["ip", "x", r"\ud800", r"\udc00\ud800", ""] {
                let beside = format!(r#"{{"{name}":{nothing},"agent":"Firefox"}}"#);
                assert_eq!(read(&beside).agent.unwrap().as_str(), "Firefox", "{name}");
            }
        }
        for (written, kept) in [
            (r"\ud800", "\u{fffd}"),
            (r"a\ud800", "a\u{fffd}"),
            (r"\udc00\ud800b", "\u{fffd}\u{fffd}b"),
            (r"\ud800\u0041é", "\u{fffd}Aé"),
            (r"\ud800\n", "\u{fffd}\n"),
            (r"\ud83e\udd80", "🦀"),
        ] {
            let agent = read(&format!(r#"{{"agent":"{written}"}}"#)).agent.unwrap();
            assert_eq!(agent.as_str(), kept, "{written}");
        }
        let twice = read(r#"{"ip":"192.0.2.7","ip":"192.0.2.8","\u0069p":"192.0.2.9"}"#);
        assert_eq!(twice.ip.unwrap().as_str(), "192.0.2.9");
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
        let list = format!("{}, 2001:db8::7", "é".repeat(300));
        let list = SourceIp::of(&list).unwrap();
        assert!(list.as_str().starts_with("…é") && list.as_str().ends_with("é, 2001:db8::7"));
        assert_eq!(list.as_str().chars().count(), SourceIp::CHARS_MAX);
        let long = SourceIp::of(&zone).unwrap();
        assert_eq!(long.as_str().chars().count(), SourceIp::CHARS_MAX);
    }
}
