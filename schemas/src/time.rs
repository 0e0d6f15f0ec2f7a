//! Instants as the log and the wire hold them: microseconds and RFC 3339.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970-01-01T00:00:00Z; RFC 3339 in JSON, a plain integer in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Micros {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str = "a time is RFC 3339, for example 2026-11-24T12:00:00Z";

    /// One second, in microseconds.
    pub const SECOND: u64 = 1_000_000;

    /// Returns the instant `seconds` later, saturating at the end of time.
    pub fn plus_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(Self::SECOND)))
    }

    /// Returns the instant `seconds` earlier, saturating at the epoch.
    pub fn minus_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds.saturating_mul(Self::SECOND)))
    }

    /// Returns whole seconds since the epoch.
    pub fn unix_s(self) -> u64 {
        self.0 / Self::SECOND
    }

    /// Returns whole seconds from `earlier` to this instant, rounded up; 0 if `earlier` lies ahead.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0).div_ceil(Self::SECOND)
    }

    /// Reads an RFC 3339 time; digits beyond microseconds are cut off.
    ///
    /// # Errors
    /// A constant sentence if the text is not an RFC 3339 time between 1970 and 9999.
    ///
    /// Source: RFC 3339 §5.6. A leap second counts as the one before it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        instant(text).map(Self).ok_or(Self::RULE)
    }
}

/// Returns the pattern that [`instant`] accepts, calendar included, since a validator may ignore a
/// schema's `format`.
fn pattern() -> String {
    let leap = "(19(7[26]|8[048]|9[26])|[2-9][0-9](0[48]|[2468][048]|[13579][26])\
                |([2468][048]|[3579][26])00)-02-29";
    let month = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)\
                 |02-(0[1-9]|1[0-9]|2[0-8])";
    let date = format!("((19[7-9][0-9]|[2-9][0-9]{{3}})-({month})|{leap})");
    let clock = "([01][0-9]|2[0-3]):[0-5][0-9]";
    format!("^{date}[Tt ]{clock}:([0-5][0-9]|60)(\\.[0-9]+)?([Zz]|[+-]{clock})$")
}

/// Returns microseconds since 1970; `None` for a text without exactly this form (jiff accepts
/// others too), and for every instant in the last day of 9999.
fn instant(text: &str) -> Option<u64> {
    let (civil, rest) = text.split_at_checked("YYYY-MM-DDTHH:MM:SS".len())?;
    let marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    let is_formed = marks
        .iter()
        .all(|(at, mark)| civil.get(*at..at + 1) == Some(mark));
    if !is_formed || !matches!(civil.get(10..11)?, "T" | "t" | " ") {
        return None;
    }
    let two = |at: usize| number::<i8>(civil.get(at..at + 2)?);
    let date = Date::new(number(civil.get(..4)?)?, two(5)?, two(8)?).ok()?;
    let second = match two(17)? {
        60 => 59,
        second => second,
    };
    let time = Time::new(two(11)?, two(14)?, second, 0).ok()?;
    let since = date.to_datetime(time).duration_since(EPOCH).as_secs();
    let (fraction, zone) = fraction(rest)?;
    // A schema can bound the date as written, but not the instant that its zone makes of it.
    u64::try_from(since).ok()?;
    let seconds = u64::try_from(since - offset_s(zone)?).unwrap_or(0);
    Some(seconds * Micros::SECOND + fraction)
}

/// Returns the microseconds of an optional fraction, and the text after it.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let (digits, zone) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let six = format!("{digits:0<6}");
    let micros = number(six.get(..6)?)?;
    (!digits.is_empty()).then_some((micros, zone))
}

/// Returns how many seconds a zone's clocks are ahead of UTC.
fn offset_s(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let pair = |digits: &str, below: i64| -> Option<i64> {
        let value: i64 = number(digits).filter(|_| digits.len() == 2)?;
        (value < below).then_some(value)
    };
    let seconds = pair(hours, 24)? * 3_600 + pair(minutes, 60)? * 60;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// Reads digits; `parse` alone would accept a sign.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0)
            .ok()
            .and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
        match at {
            Some(at) => {
                // Six digits unless the caller asks for fewer: sentences use whole seconds.
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
        json_schema!({
            "type": "string",
            "description": Self::RULE,
            "pattern": pattern(),
            // In some regex dialects `$` also matches before a final line break.
            "not": {"pattern": "\n"},
        })
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

    /// RFC 3339 §5.6: texts that only look like a time are refused.
    #[test]
    fn a_time_has_the_one_form_of_its_standard() {
        let noon = Micros(1_795_521_600_000_000);
        for good in [
            "2026-11-24T12:00:00Z",
            "2026-11-24t12:00:00z",
            "2026-11-24 12:00:00Z",
            "2026-11-24T12:00:00.000Z",
            "2026-11-24T12:00:00.000000999999Z",
            "2026-11-24T13:30:00+01:30",
            "2026-11-23T12:01:00-23:59",
            "2026-11-24T12:00:00-00:00",
        ] {
            assert_eq!(Micros::parse(good), Ok(noon), "{good}");
        }
        for bad in [
            "2026-11-24T12:00Z",
            "2026-11-24T12Z",
            "20261124T120000Z",
            "2026-11-24T12:00:00",
            "2026-11-24T12:00:00+01",
            "2026-11-24T12:00:00+0100",
            "2026-11-24T12:00:00Z[UTC]",
            "2026-11-24T12:00:00,5Z",
            "2026-11-24T12:00:00.Z",
            "+002026-11-24T12:00:00Z",
            "2026-11-24T12:00:00+24:00",
            "2026-11-24T12:00:00+01:60",
            "2026-11-24T24:00:00Z",
            "2026-02-29T12:00:00Z",
            " 2026-11-24T12:00:00Z",
            "2026-11-24T12:00:00Z ",
            "２026-11-24T12:00:00Z",
            "",
        ] {
            assert_eq!(Micros::parse(bad), Err(Micros::RULE), "{bad}");
        }
        let last = Micros::parse("9999-12-31T23:59:59Z");
        assert_eq!(
            last,
            Ok(Micros(253_402_300_799_000_000)),
            "never, as many say"
        );
        let leap = Micros::parse("2016-12-31T23:59:60Z");
        assert_eq!(leap, Ok(Micros(1_483_228_799_000_000)));
    }
}
