//! When a failed call is repeated, and when it is given up.

use std::time::Duration;

/// The pauses after the first failures. The last one is repeated.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
];

/// For how long a call is repeated.
const PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Returns the pause after this many failures, of which the first was so long ago; `None` if the
/// call is given up.
pub(super) fn pause(failures: u32, failing_for: Duration) -> Option<Duration> {
    let at = usize::try_from(failures).unwrap_or(usize::MAX);
    let at = at.saturating_sub(1).min(PAUSES.len() - 1);
    (failing_for < PATIENCE).then_some(PAUSES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_repeated_for_three_days() {
        let (mut elapsed, mut pauses) = (Duration::ZERO, Vec::new());
        while let Some(pause) = pause(pauses.len() as u32 + 1, elapsed) {
            pauses.push(pause.as_secs());
            elapsed += pause;
        }
        assert_eq!(pauses[..7], [1, 5, 30, 120, 600, 3600, 3600]);
        let hours = elapsed.as_secs() / 3600;
        assert!((72..=73).contains(&hours), "{hours} hours");
    }
}
