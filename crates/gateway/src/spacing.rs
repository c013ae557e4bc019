//! Spreads what many clients do at once over time.
//!
//! A proxy that restarts or a network that comes back ends and begins thousands of sessions in
//! the same instant. Each costs work, and the clients that stay connected share the processors
//! with it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock;

/// The least interval, on average, between events of one kind.
pub(crate) struct Spacing {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Spacing {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Mutex::default(),
        }
    }

    /// Waits until the next place is at most this far away. Takes none.
    pub(crate) async fn close_to(&self, longest: Duration) {
        while let Some(wait) = self.wait().checked_sub(longest)
            && !wait.is_zero()
        {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self) -> Duration {
        let next = *lock(&self.next);
        next.map_or(Duration::ZERO, |next| {
            next.saturating_duration_since(Instant::now())
        })
    }

    /// Takes the next place and returns how long it is until then.
    ///
    /// # Errors
    /// When it is longer than this: no place is taken.
    pub(crate) fn take(&self, longest: Duration) -> Result<Duration, Duration> {
        let now = Instant::now();
        let mut next = lock(&self.next);
        let place = next.map_or(now, |next| next.max(now));
        let wait = place - now;
        if wait > longest {
            return Err(wait);
        }
        *next = Some(place + self.interval);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_once_is_spread_over_time() {
        let millis = Duration::from_millis;
        let spacing = Spacing::new(millis(2));
        let longest = millis(5);
        assert_eq!(spacing.take(longest), Ok(millis(0)));
        assert_eq!(spacing.take(longest), Ok(millis(2)));
        assert_eq!(spacing.take(longest), Ok(millis(4)));
        assert_eq!(spacing.take(longest), Err(millis(6)));
        tokio::time::advance(millis(1)).await;
        assert_eq!(spacing.take(longest), Ok(millis(5)));
        let since = Instant::now();
        spacing.close_to(millis(3)).await;
        assert_eq!(since.elapsed(), millis(4));
        // Time that has passed is not saved up.
        tokio::time::advance(millis(100)).await;
        assert_eq!(spacing.take(longest), Ok(millis(0)));
        assert_eq!(spacing.take(longest), Ok(millis(2)));
    }
}
