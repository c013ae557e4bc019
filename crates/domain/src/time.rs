//! Moments, as precise as the wire shows them.

use std::fmt;

/// A moment in UTC with millisecond precision. Its `Display` is the wire's
/// form, RFC 3339: `2026-01-31T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The moment that many milliseconds after 1970-01-01 (negative: before);
    /// beyond the years -9999 to 9999 it stays at their end.
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(
            jiff::Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 {
                jiff::Timestamp::MIN
            } else {
                jiff::Timestamp::MAX
            }),
        )
    }

    /// Milliseconds since 1970-01-01.
    pub fn unix_millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

/// A text that is no moment in RFC 3339.
#[derive(Debug, thiserror::Error)]
#[error("is no moment in RFC 3339")]
pub struct InvalidTimestamp(#[source] jiff::Error);

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads the form that `Display` writes, and any other of RFC 3339; what is
    /// finer than a millisecond is cut off.
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
    fn it_is_shown_in_utc_with_exactly_three_decimals() {
        let shown = |millis| Timestamp::from_unix_millis(millis).to_string();
        assert_eq!(shown(1_769_860_800_000), "2026-01-31T12:00:00.000Z");
        assert_eq!(shown(1_769_860_800_007), "2026-01-31T12:00:00.007Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_shown_can_be_read() {
        let at = Timestamp::from_unix_millis(1_769_860_800_007);
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_far_future_is_the_last_moment() {
        assert!(
            Timestamp::from_unix_millis(i64::MAX)
                .to_string()
                .starts_with("9999-")
        );
    }
}
