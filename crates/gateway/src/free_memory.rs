//! Returns free memory to the operating system after a peak.

use std::sync::Arc;

use tokio::time::Instant;

use crate::admission::Admission;
use crate::limits::{FREE_MEMORY_CHECK_INTERVAL, FREE_MEMORY_DELAY, KEPT_FREE_BYTES};

/// Returns memory once after each time that the process has grown, when it grows no more; and
/// when many sessions have ended. Runs until it is dropped.
pub(crate) async fn return_after_peaks(admission: Arc<Admission>) {
    let mut ticks = tokio::time::interval(FREE_MEMORY_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut largest = resident_bytes();
    let mut grown_at: Option<Instant> = None;
    let mut most_sessions = 0;
    loop {
        ticks.tick().await;
        let resident = resident_bytes();
        if resident > largest + KEPT_FREE_BYTES {
            (largest, grown_at) = (resident, Some(Instant::now()));
        }
        let sessions = admission.sessions();
        most_sessions = sessions.max(most_sessions);
        let has_grown = grown_at.is_some_and(|at| at.elapsed() >= FREE_MEMORY_DELAY);
        if has_grown || sessions < most_sessions / 2 {
            // It takes some milliseconds. If it cannot run, the process is about to end.
            tokio::task::spawn_blocking(chat_heap::trim).await.ok();
            (largest, grown_at) = (resident_bytes(), None);
            most_sessions = sessions;
        }
    }
}

/// Returns how much memory the process occupies; 0 where that is not known.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
