//! When the machine wakes a process late. On a busy machine, deadlines are judged with a margin
//! for it; on an idle one, there is none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::record::Lag;

const INTERVAL: Duration = Duration::from_millis(20);
/// A shorter lag is not worth a margin.
const NOTABLE: Duration = Duration::from_millis(10);

pub(crate) struct LagMeter {
    lags: Arc<Mutex<Vec<Lag>>>,
    _task: JoinSet<()>,
}

impl LagMeter {
    /// Starts measuring in a test that began at this time.
    pub(crate) fn start(began: Instant) -> Self {
        let lags: Arc<Mutex<Vec<Lag>>> = Arc::default();
        let noted = lags.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let due = Instant::now() + INTERVAL;
                sleep_until(due).await;
                if due.elapsed() > NOTABLE {
                    noted.lock().unwrap().push(Lag {
                        begin: due - began,
                        end: began.elapsed(),
                    });
                }
            }
        });
        Self { lags, _task: task }
    }

    /// Returns the lags so far, in their order.
    pub(crate) fn lags(&self) -> Vec<Lag> {
        self.lags.lock().unwrap().clone()
    }
}
