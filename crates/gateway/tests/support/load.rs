//! Tests that load the machine.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

static SHARES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(cores))
});

/// Waits until fewer tests load the machine than it has cores. Most tests wait more than they
/// compute, so more of them run at once.
pub(crate) async fn share_of_the_machine() -> OwnedSemaphorePermit {
    let share = SHARES.clone().acquire_owned();
    share.await.expect("the semaphore is never closed")
}
