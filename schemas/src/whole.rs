//! Whole numbers as JSON has them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A whole number from 0 to [`Whole::MAX`]: a position or a count.
///
/// `1.0` and `1e2` are whole numbers too, since JSON and its schemas have one type of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(u64);

impl Whole {
    /// The largest number that every JSON reader holds exactly, 2⁵³ − 1 (RFC 7493 §2.2).
    pub const MAX: u64 = (1 << 53) - 1;

    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "this is a whole number from 0 to 9007199254740991";
}

impl From<Whole> for u64 {
    fn from(number: Whole) -> Self {
        number.0
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        match number {
            0..=Whole::MAX => Ok(Whole(number)),
            _ => Err(E::custom(Whole::RULE)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(Whole::RULE)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        let is_whole = number.fract() == 0.0 && (0.0..=Whole::MAX as f64).contains(&number);
        if is_whole {
            Ok(Whole(number as u64))
        } else {
            Err(E::custom(Whole::RULE))
        }
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(WholeVisitor)
    }
}

impl JsonSchema for Whole {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0, "maximum": Self::MAX})
    }
}

/// A position of the log, or the size of its tree: a [`Whole`] from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "positions and sizes count from 1";
}

impl From<Place> for u64 {
    fn from(place: Place) -> Self {
        place.0
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Whole::deserialize(d)? {
            Whole(0) => Err(D::Error::custom(Self::RULE)),
            Whole(place) => Ok(Self(place)),
        }
    }
}

impl JsonSchema for Place {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": Whole::MAX})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| serde_json::from_str(text).ok().map(|Whole(number)| number);
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("1.0", 1),
            ("1e2", 100),
            ("9007199254740991", Whole::MAX),
            ("9007199254740991.0", Whole::MAX),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "-1",
            "0.5",
            "9007199254740992",
            "9007199254740992.0",
            "1e300",
            "-1.0",
            "\"1\"",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
