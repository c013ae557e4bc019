//! Timestamps with the precision of the wire format.

use std::fmt;

/// A point in time in UTC with millisecond precision. Its `Display` is the wire format,
/// RFC 3339: `2026-01-31T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Creates a timestamp from milliseconds since 1970-01-01 (negative: before).
    /// Saturates at the years -9999 and 9999.
    pub fn from_unix_millis(millis: i64) -> Self {
        let nearest = match millis.is_negative() {
            true => jiff::Timestamp::MIN,
            false => jiff::Timestamp::MAX,
        };
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(nearest))
    }

    /// Returns the milliseconds since 1970-01-01.
    pub fn unix_millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

/// The error for a text that is not a valid RFC 3339 timestamp.
#[derive(Debug, thiserror::Error)]
#[error("is not a valid RFC 3339 timestamp")]
pub struct InvalidTimestamp(#[source] jiff::Error);

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Parses any RFC 3339 timestamp; precision beyond a millisecond is truncated.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let at: jiff::Timestamp = text.parse().map_err(InvalidTimestamp)?;
        Ok(Self::from_unix_millis(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_displayed_in_utc_with_three_decimals() {
        let shown = |millis| Timestamp::from_unix_millis(millis).to_string();
        assert_eq!(shown(1_769_860_800_000), "2026-01-31T12:00:00.000Z");
        assert_eq!(shown(1_769_860_800_007), "2026-01-31T12:00:00.007Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_displayed_can_be_parsed() {
        let at = Timestamp::from_unix_millis(1_769_860_800_007);
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_distant_past_and_future_saturate() {
        for (millis, year) in [(i64::MIN, "-009999-"), (i64::MAX, "9999-")] {
            let at = Timestamp::from_unix_millis(millis);
            assert!(at.to_string().starts_with(year), "{at}");
        }
    }
}
