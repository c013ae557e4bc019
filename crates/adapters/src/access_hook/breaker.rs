//! The circuit breaker: after several failures in a row, calls are refused at once, so that joins
//! fail fast and the product is not called while it recovers.

use std::time::Duration;

use tokio::time::Instant;

/// How many calls in a row fail before the breaker opens.
const FAILURES: u32 = 5;
/// How long it then refuses calls, until a single one finds out whether the product answers.
const PAUSE: Duration = Duration::from_secs(5);

/// The state of the product, as far as calls have shown it.
#[derive(Debug, Default)]
pub(super) struct Breaker(State);

#[derive(Debug)]
enum State {
    /// Calls are made; so many in a row have failed.
    Closed { failures: u32 },
    /// Calls are refused until then.
    Open { until: Instant },
    /// Calls are refused until the one that is made has ended.
    Probing,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// A call that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permitted {
    /// One of many.
    Call,
    /// The one that finds out whether the product answers again.
    Probe,
}

/// What a failure has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The first one in a row.
    First,
    /// It was the last one that is tolerated: the breaker is open now.
    Opened,
    /// Nothing that is worth a log line.
    Again,
}

impl Breaker {
    /// Decides whether a call may be made. A probe must be reported as succeeded or failed.
    pub(super) fn permit(&mut self, now: Instant) -> Option<Permitted> {
        match self.0 {
            State::Closed { .. } => Some(Permitted::Call),
            State::Open { until } if until <= now => {
                self.0 = State::Probing;
                Some(Permitted::Probe)
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// Returns whether a call that was permitted and has waited may still be made.
    pub(super) fn still_permits(&self, permitted: Permitted) -> bool {
        permitted == Permitted::Probe || matches!(self.0, State::Closed { .. })
    }

    /// Notes that the product has answered. Returns whether that closes the breaker.
    pub(super) fn succeeded(&mut self) -> bool {
        let before = std::mem::take(&mut self.0);
        !matches!(before, State::Closed { .. })
    }

    /// Notes that the product has not answered.
    pub(super) fn failed(&mut self, permitted: Permitted, now: Instant) -> Failed {
        let open = State::Open { until: now + PAUSE };
        match (&mut self.0, permitted) {
            (State::Closed { failures }, _) => {
                *failures += 1;
                match *failures {
                    FAILURES => {
                        self.0 = open;
                        Failed::Opened
                    }
                    1 => Failed::First,
                    _ => Failed::Again,
                }
            }
            (State::Probing, Permitted::Probe) => {
                self.0 = open;
                Failed::Again
            }
            // A call that began before says nothing new.
            (State::Open { .. } | State::Probing, _) => Failed::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(Permitted::Call, now), Failed::First);
        for _ in 2..FAILURES {
            assert_eq!(breaker.failed(Permitted::Call, now), Failed::Again);
            assert_eq!(breaker.permit(now), Some(Permitted::Call));
        }
        assert_eq!(breaker.failed(Permitted::Call, now), Failed::Opened);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 * FAILURES {
            breaker.failed(Permitted::Call, now);
            assert!(!breaker.succeeded(), "it was closed");
        }
        assert_eq!(breaker.permit(now), Some(Permitted::Call));
        let mut breaker = opened(now);
        assert_eq!(breaker.permit(now), None);
        assert!(!breaker.still_permits(Permitted::Call));
        // The answer to a call that began before.
        assert!(breaker.succeeded());
        assert_eq!(breaker.permit(now), Some(Permitted::Call));
    }

    #[test]
    fn after_a_pause_one_call_finds_out_whether_it_closes() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PAUSE;
        assert_eq!(breaker.permit(later), Some(Permitted::Probe));
        assert_eq!(breaker.permit(later), None);
        assert!(breaker.still_permits(Permitted::Probe));
        // A call that began before does not end the probe.
        assert_eq!(breaker.failed(Permitted::Call, later), Failed::Again);
        assert_eq!(breaker.permit(later + PAUSE), None);
        assert_eq!(breaker.failed(Permitted::Probe, later), Failed::Again);
        assert_eq!(breaker.permit(later), None);
        let later = later + PAUSE;
        assert_eq!(breaker.permit(later), Some(Permitted::Probe));
        assert!(breaker.succeeded());
        assert_eq!(breaker.permit(later), Some(Permitted::Call));
    }
}
