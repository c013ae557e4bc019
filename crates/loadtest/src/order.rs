//! The order in which numbered things arrive: what is late, what comes again.

use std::ops::Range;

/// How many gaps are remembered. What belongs into an older one counts as repeated.
const MAX_GAPS: usize = 1024;

/// How one arrival stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arrival {
    /// Nothing before it came too early.
    InOrder,
    /// A later one was here before it.
    Late,
    /// It was here before.
    Repeated,
}

/// What has arrived of 1, 2, 3 …
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// The next number, if it is known where the numbers begin.
    next: Option<u64>,
    gaps: Vec<Range<u64>>,
}

impl Arrivals {
    /// Which begin with any number.
    pub(crate) const fn anywhere() -> Self {
        Self {
            next: None,
            gaps: Vec::new(),
        }
    }

    /// Which begin after this number.
    pub(crate) const fn after(number: u64) -> Self {
        Self {
            next: Some(number + 1),
            gaps: Vec::new(),
        }
    }

    /// The highest number so far, if any is known.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.next.map(|next| next - 1)
    }

    #[inline]
    pub(crate) fn see(&mut self, number: u64) -> Arrival {
        let next = self.next.unwrap_or(number);
        if number < next {
            return self.see_again(number);
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
    fn see_again(&mut self, number: u64) -> Arrival {
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return Arrival::Repeated;
        };
        let gap = self.gaps.remove(at);
        let around = [gap.start..number, number + 1..gap.end];
        for (n, part) in around.into_iter().filter(|gap| !gap.is_empty()).enumerate() {
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
    fn late_and_repeated_ones_are_told_apart() {
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
            assert_eq!(arrivals.see(number), expected, "{number}");
        }
    }

    #[test]
    fn without_a_beginning_the_first_one_is_it() {
        let mut arrivals = Arrivals::anywhere();
        assert_eq!(arrivals.see(41), InOrder);
        assert_eq!(arrivals.see(40), Repeated);
        assert_eq!(arrivals.see(42), InOrder);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut arrivals = Arrivals::after(0);
        for number in 1..=2 * MAX_GAPS as u64 {
            assert_eq!(arrivals.see(2 * number), InOrder);
        }
        assert_eq!(arrivals.gaps.len(), MAX_GAPS);
        assert_eq!(arrivals.see(1), Repeated);
    }
}
