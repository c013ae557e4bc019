//! Reports to the product's backend what happens: room by room, in order, at least once.
//!
//! What is to be reported is recorded by the database, in the transaction of the event (see
//! [`Outbox`]). Every node takes rooms from there for a limited time, builds the calls from the
//! newest state, and makes them one after the other. Rooms never wait for each other: a room whose
//! call fails is given back until its next attempt is due.
//!
//! - `body`: what is reported of an entry;
//! - `calls`: the thread that makes the calls;
//! - `room`: the calls of one room;
//! - `schedule`: when a failed call is repeated, and when it is given up.

mod body;
mod calls;
mod room;
mod schedule;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::one_line;
use chat_domain::ports::{
    ChangeRepository, Clock, LeaseHolder, MessageRepository, Outbox, RoomDirectory,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::calls::Calls;
use self::room::RoomDelivery;
use crate::limits::{
    WEBHOOK_BACKLOG_INTERVAL, WEBHOOK_PAUSE, WEBHOOK_POLL_INTERVAL, WEBHOOKS_IN_FLIGHT,
};
use crate::metrics::Metrics;

/// What the reports are made of.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) messages: Arc<dyn MessageRepository>,
    pub(crate) changes: Arc<dyn ChangeRepository>,
    pub(crate) directory: Arc<dyn RoomDirectory>,
}

/// Makes the calls of this node.
pub(crate) struct Webhooks {
    pub(crate) sources: Sources,
    pub(crate) calls: Calls,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long after a message was stored it is reported to be unread.
    pub(crate) notify_after: Duration,
    /// A random number, from which those of this process's leases count.
    pub(crate) first_holder: i64,
}

impl Webhooks {
    /// Makes calls until the gateway drains, and never returns. The calls in progress are then
    /// finished, and their rooms given back, if there is time; otherwise they are taken over when
    /// the leases have expired. `tasks` is what the drain waits for.
    pub(crate) async fn run(self, draining: CancellationToken, tasks: TaskTracker) {
        self.make_calls(draining, tasks).await;
        pending::<()>().await;
    }

    async fn make_calls(self, draining: CancellationToken, tasks: TaskTracker) {
        let outbox = self.sources.outbox.clone();
        // A restart ends a pause.
        while let Err(error) = outbox.resume().await {
            tracing::debug!(error = %one_line(&error), "webhooks cannot be resumed now");
            sleep(WEBHOOK_BACKLOG_INTERVAL).await;
        }
        let mut holder = LeaseHolder(self.first_holder);
        let delivery = Arc::new(RoomDelivery::new(self, draining.clone()));
        // Not ended with this future: the tracker owns them.
        let mut rooms = FuturesUnordered::new();
        let mut measured: Option<Instant> = None;
        while !draining.is_cancelled() {
            if measured.is_none_or(|at| at.elapsed() >= WEBHOOK_BACKLOG_INTERVAL) {
                measured = Some(Instant::now());
                delivery.measure_backlog().await;
            }
            let free = WEBHOOKS_IN_FLIGHT - rooms.len();
            let leased_at = Instant::now();
            // A new one for each request: an earlier delivery that could not end its lease in time
            // must not end a later one.
            holder = LeaseHolder(holder.0.wrapping_add(1));
            let leases = match free {
                0 => Vec::new(),
                most => delivery.lease(holder, most).await,
            };
            let is_more_due = free > 0 && leases.len() == free;
            for lease in leases {
                let delivery = delivery.clone();
                let delivering = async move { delivery.deliver(holder, lease, leased_at).await };
                rooms.push(tasks.spawn(delivering));
            }
            if is_more_due {
                continue;
            }
            tokio::select! {
                Some(ended) = rooms.next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a delivery of webhooks panicked");
                    }
                    // Others end soon, too: one request for all of them.
                    sleep(WEBHOOK_PAUSE).await;
                    while let Some(Some(_)) = rooms.next().now_or_never() {}
                }
                () = sleep(WEBHOOK_POLL_INTERVAL) => {}
                () = draining.cancelled() => {}
            }
        }
    }
}
