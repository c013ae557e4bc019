//! Whether a room waits for a hint to close a gap, before it reads the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Hints of two commits may cross: a gap this young usually closes by itself.
const GAP_PATIENCE: Duration = Duration::from_millis(25);
/// After so many waits in vain in a row, hints do not seem to arrive.
const IN_VAIN: u32 = 2;
/// How often one room waits nevertheless, to find out whether hints arrive again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Learns from the gaps of all rooms whether hints arrive. While those of other nodes are lost,
/// no gap closes by itself, and waiting would only delay what members of this node have sent.
#[derive(Default)]
pub(crate) struct Patience(Mutex<State>);

#[derive(Default)]
struct State {
    /// The waits in vain since a gap has closed by itself.
    in_vain: u32,
    last_probe: Option<Instant>,
}

impl Patience {
    /// Gives a hint time to arrive, and returns whether it waited.
    pub(crate) async fn wait(&self) -> bool {
        let waits = self.is_worth_waiting();
        if waits {
            sleep(GAP_PATIENCE).await;
        }
        waits
    }

    /// Notes whether a gap was still open after a wait.
    pub(crate) fn waited(&self, is_still_open: bool) {
        self.change(|state| match is_still_open {
            true => state.in_vain = state.in_vain.saturating_add(1),
            false => *state = State::default(),
        });
    }

    fn is_worth_waiting(&self) -> bool {
        self.change(|state| {
            if state.in_vain < IN_VAIN {
                return true;
            }
            let now = Instant::now();
            let is_due = |last: Instant| now - last >= PROBE_INTERVAL;
            let is_due = state.last_probe.is_none_or(is_due);
            if is_due {
                state.last_probe = Some(now);
            }
            is_due
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_waits_in_vain_one_room_at_a_time_waits_until_a_hint_helps() {
        let patience = Patience::default();
        for _ in 0..IN_VAIN {
            assert!(patience.wait().await);
            patience.waited(true);
        }
        for _ in 0..3 {
            assert!(patience.wait().await, "the probe");
            assert!(!patience.wait().await);
            patience.waited(true);
            assert!(!patience.wait().await);
            sleep(PROBE_INTERVAL).await;
        }
        assert!(patience.wait().await);
        patience.waited(false);
        for _ in 0..IN_VAIN {
            assert!(patience.wait().await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_that_close_by_themselves_now_and_then_keep_every_room_waiting() {
        let patience = Patience::default();
        for _ in 0..3 {
            for _ in 1..IN_VAIN {
                patience.waited(true);
            }
            assert!(patience.wait().await);
            patience.waited(false);
        }
    }
}
