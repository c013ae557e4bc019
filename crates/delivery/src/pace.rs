//! How much a room may tell its members about what others do there: reading, typing.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum time between two updates of one user.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of packets of one kind that one room produces per interval.
pub(crate) const PACKETS_PER_INTERVAL: usize = 10_000;
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// The packets of one kind that a room has produced in the present interval.
#[derive(Default)]
pub(crate) struct Budget(Option<Interval>);

struct Interval {
    began: Instant,
    packets: usize,
}

impl Budget {
    /// Returns whether an update may go to this many members now: at least one per interval,
    /// however large the room is.
    pub(crate) fn allows(&mut self, now: Instant, members: usize) -> bool {
        match &self.0 {
            Some(interval) if now < interval.began + INTERVAL => {
                interval.packets == 0 || interval.packets + members <= PACKETS_PER_INTERVAL
            }
            _ => {
                self.0 = None;
                true
            }
        }
    }

    /// Notes that an update goes to this many members.
    pub(crate) fn spend(&mut self, now: Instant, members: usize) {
        let began = now;
        let interval = self.0.get_or_insert(Interval { began, packets: 0 });
        interval.packets += members;
    }

    /// Returns when the next interval begins.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let next = self.0.as_ref().map(|interval| interval.began + INTERVAL);
        next.filter(|next| *next > now).unwrap_or(now + INTERVAL)
    }
}

/// When a room looks which of its users it may forget: to look at all of them for every signal of a
/// crowd would take longer than to hand the signals out.
#[derive(Default)]
pub(crate) struct Forgetting(Option<Instant>);

impl Forgetting {
    /// The minimum time between two looks.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

    /// Returns whether it is time to look, which is then done.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|looked| now >= looked + Self::INTERVAL);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
