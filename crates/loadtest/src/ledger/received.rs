//! The set of the messages that one view has received.

use std::collections::VecDeque;

/// The numbers in one word of the window.
const WORD: u64 = 64;

/// Which of the numbers 0, 1, 2 … have been received. They arrive almost in order, so
/// everything below `base` has been received, and a few words hold the rest: a number that
/// never arrives costs a bit for each one after it.
#[derive(Debug, Default)]
pub(super) struct Received {
    base: u64,
    /// The 64 numbers from `base`.
    head: u64,
    /// The numbers after those.
    rest: VecDeque<u64>,
}

impl Received {
    /// Adds a number and returns whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let Some(offset) = number.checked_sub(self.base) else {
            return false;
        };
        if offset >= WORD {
            return self.insert_ahead(offset - WORD);
        }
        let bit = 1 << offset;
        if self.head & bit != 0 {
            return false;
        }
        self.head |= bit;
        while self.head == u64::MAX {
            self.base += WORD;
            self.head = self.rest.pop_front().unwrap_or(0);
        }
        true
    }

    fn insert_ahead(&mut self, offset: u64) -> bool {
        let (word, bit) = ((offset / WORD) as usize, 1 << (offset % WORD));
        if self.rest.len() <= word {
            self.rest.resize(word + 1, 0);
        }
        let is_new = self.rest[word] & bit == 0;
        self.rest[word] |= bit;
        is_new
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let Some(offset) = number.checked_sub(self.base) else {
            return true;
        };
        let word = match offset / WORD {
            0 => Some(&self.head),
            n => self.rest.get(n as usize - 1),
        };
        word.is_some_and(|word| word & 1 << (offset % WORD) != 0)
    }

    /// Returns the numbers below `end` that have not been received.
    pub(super) fn missing(&self, end: u64) -> impl Iterator<Item = u64> {
        (self.base..end).filter(|number| !self.contains(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once_in_whatever_order_numbers_arrive() {
        let mut received = Received::default();
        let (mut odd, mut even): (Vec<u64>, Vec<u64>) = (0..1000).partition(|n| n % 2 == 1);
        odd.reverse();
        even.append(&mut odd);
        for number in &even {
            assert!(received.insert(*number), "{number}");
            assert!(!received.insert(*number), "{number}");
        }
        assert_eq!(received.missing(1002).collect::<Vec<_>>(), [1000, 1001]);
        assert_eq!((received.base, received.rest.len()), (960, 0));
    }

    #[test]
    fn numbers_that_never_arrive_are_missing() {
        let mut received = Received::default();
        for number in (0..300).filter(|n| ![3, 70, 200].contains(n)) {
            assert!(received.insert(number));
        }
        assert_eq!(received.missing(300).collect::<Vec<_>>(), [3, 70, 200]);
        assert!(received.insert(3));
        assert_eq!(received.missing(300).collect::<Vec<_>>(), [70, 200]);
    }
}
