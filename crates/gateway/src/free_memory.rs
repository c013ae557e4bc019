//! Returns free memory to the operating system after a peak.

use std::sync::Arc;

use tokio::time::Instant;

use crate::admission::Admission;
use crate::limits::{FREE_MEMORY_CHECK_INTERVAL, FREE_MEMORY_DELAY, KEPT_FREE_BYTES};

/// Returns memory once after each time that the process has grown or many sessions have ended,
/// when that has stopped: meanwhile others allocate, and would wait. Runs until it is dropped.
pub(crate) async fn return_after_peaks(admission: Arc<Admission>) {
    let mut ticks = tokio::time::interval(FREE_MEMORY_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut largest = resident_bytes();
    let mut most_sessions = 0;
    let mut last_sessions = 0;
    let mut changed_at: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let resident = resident_bytes();
        let sessions = admission.sessions();
        most_sessions = sessions.max(most_sessions);
        let have_ended = sessions < most_sessions / 2 && sessions < last_sessions;
        last_sessions = sessions;
        if resident > largest + KEPT_FREE_BYTES || have_ended {
            largest = resident.max(largest);
            changed_at = Some(Instant::now());
        }
        if changed_at.is_some_and(|at| at.elapsed() >= FREE_MEMORY_DELAY) {
            // It takes some milliseconds. If it cannot run, the process is about to end.
            tokio::task::spawn_blocking(chat_heap::trim).await.ok();
            (largest, changed_at) = (resident_bytes(), None);
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
