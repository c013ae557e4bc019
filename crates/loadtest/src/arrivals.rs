//! The order in which numbered items arrive: which are late, repeated or skipped.

use std::ops::Range;

/// The number of gaps that are remembered. An item from an older gap counts as repeated if
/// it arrives, and not as skipped if it does not.
const MAX_GAPS: usize = 1024;

/// How an arrival relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// No higher number arrived before it.
    InOrder,
    /// A higher number arrived before it.
    Late,
    /// The same number arrived before.
    Repeated,
}

/// Which of the numbers 1, 2, 3 … have arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// The next number; `None` until the first arrival if the start is unknown.
    next: Option<u64>,
    gaps: Vec<Range<u64>>,
}

impl Arrivals {
    /// Starts with the number that arrives first.
    pub(crate) const fn from_first() -> Self {
        Self {
            next: None,
            gaps: Vec::new(),
        }
    }

    /// Starts after this number.
    pub(crate) const fn after(number: u64) -> Self {
        Self {
            next: Some(number + 1),
            gaps: Vec::new(),
        }
    }

    /// Returns the highest number so far, if one is known.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.next.map(|next| next - 1)
    }

    /// Returns how many numbers below the highest have not arrived.
    pub(crate) fn skipped(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.end - gap.start).sum()
    }

    /// Returns whether a number below the highest has not arrived.
    pub(crate) fn has_skipped(&self, number: u64) -> bool {
        self.gaps.iter().any(|gap| gap.contains(&number))
    }

    #[inline]
    pub(crate) fn record(&mut self, number: u64) -> Arrival {
        let next = self.next.unwrap_or(number);
        if number < next {
            return self.record_older(number);
        }
        if number > next {
            if self.gaps.len() == MAX_GAPS {
                self.gaps.remove(0);
            }
            self.gaps.push(next..number);
        }
        self.next = Some(number + 1);
        Arrival::InOrder
    }

    #[cold]
    fn record_older(&mut self, number: u64) -> Arrival {
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return Arrival::Repeated;
        };
        let gap = self.gaps.remove(at);
        let rest = [gap.start..number, number + 1..gap.end];
        for (n, part) in rest.into_iter().filter(|gap| !gap.is_empty()).enumerate() {
            self.gaps.insert(at + n, part);
        }
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use super::Arrival::{InOrder, Late, Repeated};
    use super::*;

    #[test]
    fn late_and_repeated_numbers_are_told_apart() {
        let mut arrivals = Arrivals::after(0);
        for (number, expected) in [
            (1, InOrder),
            (2, InOrder),
            (2, Repeated),
            (6, InOrder),
            (4, Late),
            (4, Repeated),
            (5, Late),
            (3, Late),
            (3, Repeated),
            (7, InOrder),
        ] {
            assert_eq!(arrivals.record(number), expected, "{number}");
        }
    }

    #[test]
    fn a_number_is_skipped_until_it_arrives() {
        let mut arrivals = Arrivals::after(0);
        for number in [1, 4, 9, 3] {
            arrivals.record(number);
        }
        assert_eq!(arrivals.skipped(), 5);
        let skipped: Vec<u64> = (0..12).filter(|n| arrivals.has_skipped(*n)).collect();
        assert_eq!(skipped, [2, 5, 6, 7, 8]);
    }

    #[test]
    fn without_a_known_start_the_first_number_is_the_start() {
        let mut arrivals = Arrivals::from_first();
        assert_eq!(arrivals.record(41), InOrder);
        assert_eq!(arrivals.record(40), Repeated);
        assert_eq!(arrivals.record(42), InOrder);
    }

    #[test]
    fn the_number_of_remembered_gaps_is_bounded() {
        let mut arrivals = Arrivals::after(0);
        for number in 1..=2 * MAX_GAPS as u64 {
            assert_eq!(arrivals.record(2 * number), InOrder);
        }
        assert_eq!(arrivals.skipped(), MAX_GAPS as u64);
        assert_eq!(arrivals.record(1), Repeated);
    }
}
