//! Open loops: messages are due on a schedule, whatever the server does.

use crate::generator::Nanos;

/// When messages are due, and which connections send them.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// At equal intervals, from each of the senders in turn.
    Even { senders: Vec<usize> },
    /// At random times, each from a random one of the senders.
    Poisson { senders: Vec<usize> },
}

#[derive(Debug)]
pub(crate) struct OpenLoop {
    /// Messages per second.
    rate: f64,
    pattern: Pattern,
    due: Nanos,
    previous: usize,
}

impl OpenLoop {
    pub(crate) fn new(rate: f64, pattern: Pattern) -> Self {
        Self {
            rate,
            pattern,
            due: 0,
            previous: 0,
        }
    }

    /// Makes the first message due at this time.
    pub(crate) fn start(&mut self, now: Nanos) {
        self.due = now;
    }

    /// Returns when the next message is due.
    pub(crate) fn due(&self) -> Nanos {
        self.due
    }

    /// Returns the sender of the message that is due and advances to the next message.
    pub(crate) fn next_sender(&mut self, random: &mut Random) -> usize {
        let (sender, interval) = match &self.pattern {
            Pattern::Even { senders } => {
                self.previous = (self.previous + 1) % senders.len();
                (senders[self.previous], 1.0)
            }
            Pattern::Poisson { senders } => {
                let place = (random.next() % senders.len() as u64) as usize;
                (senders[place], -random.fraction().ln())
            }
        };
        self.due += (interval / self.rate * 1e9) as Nanos;
        sender
    }
}

/// The same pseudorandom numbers in every run, so that runs can be compared (xorshift64).
/// All phases of a run share one sequence: a repeated step has different times.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x2545_F491_4F6C_DD1D)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number greater than 0 and at most 1.
    fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_pattern_takes_the_senders_in_turn_at_equal_intervals() {
        let senders = vec![5, 7, 9];
        let mut load = OpenLoop::new(1000.0, Pattern::Even { senders });
        load.start(100);
        let mut random = Random::new();
        let schedule = [(); 4].map(|()| (load.due(), load.next_sender(&mut random)));
        let expected = [(100, 7), (1_000_100, 9), (2_000_100, 5), (3_000_100, 7)];
        assert_eq!(schedule, expected);
    }

    #[test]
    fn a_poisson_pattern_keeps_its_rate_and_uses_all_senders() {
        let mut load = OpenLoop::new(
            1000.0,
            Pattern::Poisson {
                senders: (0..10).collect(),
            },
        );
        let mut random = Random::new();
        let mut sent = [0; 10];
        for _ in 0..10_000 {
            sent[load.next_sender(&mut random)] += 1;
        }
        let seconds = load.due() as f64 / 1e9;
        assert!((9.5..10.5).contains(&seconds), "{seconds}");
        assert!(
            sent.iter().all(|count| (800..1200).contains(count)),
            "{sent:?}"
        );
    }
}
