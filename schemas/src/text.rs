//! Bounded texts: one definition of length and characters, which both the check and the JSON Schema
//! use.
//!
//! Lengths count characters, since a JSON Schema cannot count bytes; the payload limit bounds the
//! bytes. A schema contains the characters themselves, so that every regex dialect can read it.

use serde_json::{Map, Value, json};

/// An inclusive range of characters.
pub type Range = (char, char);

/// Letters, digits, `_` and `-`: safe as one token of a subject.
pub const WORD: &[Range] = &[('A', 'Z'), ('a', 'z'), ('0', '9'), ('_', '_'), ('-', '-')];
/// Printable ASCII.
pub const PRINTABLE: &[Range] = &[(' ', '~')];
/// Printable ASCII without the space.
pub const NO_SPACE: &[Range] = &[('!', '~')];

/// Characters that cannot be seen: controls, blanks, the default-ignorable characters of Unicode,
/// and characters that are drawn as nothing. A range includes its last character.
pub const UNSEEN: &[Range] = &[
    ('\0', ' '),
    ('\u{7f}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{13441}', '\u{13442}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Which characters a text may have.
#[derive(Clone, Copy, Debug)]
pub enum Chars {
    /// Only characters of these ranges.
    Only(&'static [Range]),
    /// Any characters, at least one of them visible.
    Seen,
}

/// The form of a text of at least one character.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The most characters.
    pub max: usize,
    /// The allowed characters.
    pub chars: Chars,
}

impl Form {
    /// Returns whether a text has this form.
    pub fn allows(&self, text: &str) -> bool {
        let is_long = text.chars().nth(self.max).is_some();
        let fits = match self.chars {
            Chars::Only(ranges) => text.chars().all(|c| is_in(ranges, c)),
            Chars::Seen => is_seen(text),
        };
        !text.is_empty() && !is_long && fits
    }

    /// Returns the JSON Schema of this form.
    pub fn schema(&self) -> Map<String, Value> {
        let mut schema = Map::new();
        schema.insert("type".into(), json!("string"));
        schema.insert("minLength".into(), json!(1));
        schema.insert("maxLength".into(), json!(self.max));
        let (keyword, rule) = match self.chars {
            // Not anchored: in some regex dialects `$` also matches before a final line break.
            Chars::Only(ranges) => ("not", json!({"pattern": none_of(ranges)})),
            Chars::Seen => ("pattern", json!(none_of(UNSEEN))),
        };
        schema.insert(keyword.into(), rule);
        schema
    }
}

/// Returns whether a text contains a visible character.
pub fn is_seen(text: &str) -> bool {
    text.chars().any(|c| !is_in(UNSEEN, c))
}

fn is_in(ranges: &[Range], c: char) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Returns the pattern of one character that is in none of the ranges.
fn none_of(ranges: &[Range]) -> String {
    let mut pattern = String::from("[^");
    for (first, last) in ranges {
        pattern.push(*first);
        if first != last {
            pattern.push('-');
            pattern.push(*last);
        }
    }
    pattern.push(']');
    pattern
}

/// Declares a text type that can be made only through its check.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $max:literal, $chars:expr, $clean:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The rule in one sentence, which a refusal quotes.
            pub const RULE: &'static str = $rule;
            const FORM: crate::text::Form = crate::text::Form { max: $max, chars: $chars };

            /// Checks a text and brings it into its one spelling.
            ///
            /// # Errors
            /// [`BadText`] with the rule if the text breaks it.
            pub fn parse(text: &str) -> Result<Self, BadText> {
                let clean: fn(&str) -> String = $clean;
                Self::check(text).map(|()| Self(clean(text)))
            }

            /// Checks a text without keeping it.
            ///
            /// # Errors
            /// [`BadText`] with the rule if the text breaks it.
            pub fn check(text: &str) -> Result<(), BadText> {
                match Self::FORM.allows(text) {
                    true => Ok(()),
                    false => Err(BadText(Self::RULE)),
                }
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadText;
            fn try_from(text: String) -> Result<Self, BadText> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl crate::open_part::OpenPart for $name {
            fn show(&self, out: &mut Vec<u8>) {
                crate::open_part::show_text(&self.0, out);
            }
        }

        impl crate::body::Field for $name {}

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = Self::FORM.schema();
                schema.insert("description".into(), Self::RULE.into());
                schema.into()
            }
        }
    };
}
pub(crate) use text;

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Form = Form {
        max: 4,
        chars: Chars::Seen,
    };

    #[test]
    fn a_length_counts_characters_as_a_schema_does() {
        assert!(FOUR.allows("🦀🦀🦀🦀"));
        assert!(!FOUR.allows("aaaaa"));
        assert!(!FOUR.allows(""));
    }

    #[test]
    fn an_invisible_text_is_no_text() {
        for unseen in [
            " ",
            "\t",
            "\n",
            "\0",
            "\u{a0}",
            "\u{ad}",
            "\u{200b}",
            "\u{2060}",
            "\u{feff}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0020}",
            "\u{fe0f}",
            "\u{180e}",
            "\u{85}",
            " \u{2003}",
        ] {
            assert!(!FOUR.allows(unseen), "{unseen:?}");
            assert!(FOUR.allows(&format!("{unseen}x")), "{unseen:?}x");
        }
        assert!(
            char::MAX > '\u{e0fff}'
                && (char::MIN..=char::MAX).all(|c| {
                    let is_blank = c.is_whitespace() || c.is_control();
                    !is_blank || is_in(UNSEEN, c)
                }),
            "every blank and control of the standard library is unseen"
        );
    }

    #[test]
    fn the_ranges_ascend_so_that_they_are_one_class_of_a_pattern() {
        let ends = UNSEEN.iter().flat_map(|(first, last)| [first, last]);
        assert!(ends.is_sorted());
    }
}
