//! Instants as the log and the wire have them: microseconds, RFC 3339.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970-01-01T00:00:00Z; RFC 3339 in JSON, a plain integer in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "a time is RFC 3339, for example 2026-11-24T12:00:00Z";

    /// One second.
    pub const SECOND: u64 = 1_000_000;

    /// The instant `seconds` later, saturating at the end of time.
    pub fn plus_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(Self::SECOND)))
    }

    /// The instant `seconds` earlier, saturating at the epoch.
    pub fn minus_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds.saturating_mul(Self::SECOND)))
    }

    /// Whole seconds since the epoch.
    pub fn unix_s(self) -> u64 {
        self.0 / Self::SECOND
    }

    /// Whole seconds from `earlier` to here, rounded up, 0 when it lies ahead.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0).div_ceil(Self::SECOND)
    }

    /// Reads an RFC 3339 time.
    ///
    /// Errors: a constant sentence when the text is no RFC 3339 time between 1970 and 9999.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let at: jiff::Timestamp = text.parse().map_err(|_| Self::RULE)?;
        u64::try_from(at.as_microsecond())
            .map(Self)
            .map_err(|_| Self::RULE)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0)
            .ok()
            .and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
        match at {
            Some(at) => {
                // Six digits unless the writer asks for fewer: sentences take whole seconds.
                let digits = f.precision().unwrap_or(6);
                write!(f, "{at:.digits$}")
            }
            None => f.write_str("9999-12-30T22:00:00Z"),
        }
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.collect_str(self)
        } else {
            s.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = String::deserialize(d)?;
            Self::parse(&text).map_err(de::Error::custom)
        } else {
            u64::deserialize(d).map(Self)
        }
    }
}

impl JsonSchema for Micros {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for us in [0, 1, 1_771_837_200_000_000, 1_771_837_200_123_456] {
            assert_eq!(Micros::parse(&Micros(us).to_string()), Ok(Micros(us)));
        }
        assert!(Micros::parse("yesterday").is_err());
        assert!(Micros::parse("1969-12-31T23:59:59Z").is_err());
    }
}
