//! A value that requests replace, of which is known only when each request was sent and answered.

use std::time::Duration;

/// One request that replaces the value.
#[derive(Clone, Copy, Debug)]
struct Write<T> {
    value: T,
    /// When it was sent.
    begin: Duration,
    /// From then on it has no effect that it has not had before: when it was answered, or when an
    /// unanswered one cannot be carried out any more.
    end: Duration,
    /// Whether it had its effect.
    is_certain: bool,
}

/// A value at each time, as far as it is known.
#[derive(Debug)]
pub(super) struct Register<T> {
    /// Ascending by their beginnings.
    writes: Vec<Write<T>>,
    /// For each write, the latest end of it and those before it.
    latest_ends: Vec<Duration>,
    /// The ends of the certain writes, ascending, each with the latest beginning of those that
    /// had ended.
    certain: Vec<(Duration, Duration)>,
}

impl<T: Copy + PartialEq> Register<T> {
    pub(super) fn new(initial: T) -> Self {
        let mut register = Self {
            writes: Vec::new(),
            latest_ends: Vec::new(),
            certain: Vec::new(),
        };
        register.add(initial, [Duration::ZERO; 2], true);
        register.index();
        register
    }

    /// Adds a request that was sent and ended at these times. `index` must follow.
    pub(super) fn add(&mut self, value: T, [begin, end]: [Duration; 2], is_certain: bool) {
        self.writes.push(Write {
            value,
            begin,
            end,
            is_certain,
        });
    }

    pub(super) fn index(&mut self) {
        self.writes.sort_by_key(|write| write.begin);
        let mut latest = Duration::ZERO;
        let ends = self.writes.iter().map(|write| {
            latest = latest.max(write.end);
            latest
        });
        self.latest_ends = ends.collect();
        let certain = self.writes.iter().filter(|write| write.is_certain);
        self.certain = certain.map(|write| (write.end, write.begin)).collect();
        self.certain.sort_unstable();
        let mut latest = Duration::ZERO;
        for (_, begin) in &mut self.certain {
            latest = latest.max(*begin);
            *begin = latest;
        }
    }

    /// Returns the values that it may have had at some time between these, each with when its
    /// request began and ended. A request that had ended before another one began, which itself
    /// had ended by then, is replaced.
    pub(super) fn between(
        &self,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = (T, [Duration; 2])> {
        let ended = self.certain.partition_point(|(end, _)| *end < from);
        let replaced = ended
            .checked_sub(1)
            .map_or(Duration::ZERO, |last| self.certain[last].1);
        let begun = self.writes.partition_point(|write| write.begin <= to);
        let writes = self.writes[..begun].iter().zip(&self.latest_ends).rev();
        writes
            .take_while(move |(_, latest)| **latest >= replaced)
            .map(|(write, _)| write)
            .filter(move |write| write.end >= replaced)
            .map(|write| (write.value, [write.begin, write.end]))
    }

    /// Returns when the value may have changed.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = Duration> {
        self.writes.iter().map(|write| write.begin)
    }

    /// Takes into account that this value was read between these times. If only one unanswered
    /// request explains it, that one had its effect by then.
    pub(super) fn settle(&mut self, value: T, from: Duration, to: Duration) {
        let mut explaining = self.between(from, to).filter(|(other, _)| *other == value);
        let (Some((_, [begin, end])), None) = (explaining.next(), explaining.next()) else {
            return;
        };
        drop(explaining);
        let write = self.writes.iter_mut().find(|write| {
            !write.is_certain && write.value == value && [write.begin, write.end] == [begin, end]
        });
        if let Some(write) = write {
            write.is_certain = true;
            write.end = end.min(to);
            self.index();
        }
    }
}
