//! The time during which this process ran.

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How long the process is taken to have run at most since it was seen to run.
const TICK: Duration = Duration::from_millis(250);

/// A clock that stands still while the process is suspended, or its machine is. What such a
/// process has not heard from the database in the meantime says nothing about the database.
///
/// The clock is right while someone waits for its [`tick`](Self::tick)s.
pub(super) struct RunningTime {
    passed: Duration,
    seen: Instant,
    ticks: Interval,
}

impl RunningTime {
    pub(super) fn start() -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            passed: Duration::ZERO,
            seen: Instant::now(),
            ticks,
        }
    }

    pub(super) fn now(&mut self) -> Duration {
        let now = Instant::now();
        self.passed += (now - self.seen).min(TICK);
        self.seen = now;
        self.passed
    }

    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
        self.now();
    }
}
