//! The calls of one room, one after the other, as long as its lease lasts.

use std::sync::Mutex;
use std::time::Duration;

use chat_adapters::webhooks::{Answer, DEADLINE};
use chat_domain::ports::{
    LeaseHolder, LeaseRequest, NextDelivery, OutboxLease, OutboxPlace, Settlement,
};
use chat_domain::{RoomId, StorageError, one_line};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::body::Webhook;
use super::{Webhooks, schedule};
use crate::limits::{
    WEBHOOK_LEASE, WEBHOOK_LOG_INTERVAL, WEBHOOK_READ_PAUSE, WEBHOOK_SETTLE_ATTEMPTS,
    WEBHOOK_SETTLE_PAUSE, WEBHOOK_TURN, WEBHOOK_TURN_TIME, WEBHOOKS_IN_FLIGHT, WEBHOOKS_IN_RETRY,
};
use crate::lock;
use crate::metrics::WebhookOutcome;

/// Delivers rooms.
pub(super) struct RoomDelivery {
    webhooks: Webhooks,
    /// Cancelled when no further call is to begin.
    draining: CancellationToken,
    failures: Mutex<Failures>,
}

/// The failures since the last line about them.
#[derive(Default)]
struct Failures {
    logged: Option<Instant>,
    count: u64,
}

/// How far a delivery has got.
struct Progress {
    lease: OutboxLease,
    /// No call begins after this.
    until: Instant,
    calls_left: usize,
    /// Where the delivery began.
    from: Option<OutboxPlace>,
    /// The last place that is delivered, or needs no delivery.
    to: Option<OutboxPlace>,
}

/// Why a delivery has ended.
enum End {
    /// Nothing is left, or it is the turn of another room.
    Turn,
    /// The next call has failed.
    Failed { place: OutboxPlace, reason: String },
    /// The receiver wants no more calls.
    Gone,
    /// What is to be reported cannot be read.
    Unreadable { reason: String },
}

impl Progress {
    fn delivered_up_to(&mut self, place: OutboxPlace) {
        self.to = Some(place);
    }

    fn is_over(&self) -> bool {
        self.calls_left == 0 || Instant::now() >= self.until
    }

    fn has_made_calls(&self) -> bool {
        self.calls_left < WEBHOOK_TURN
    }

    fn is_untouched(&self) -> bool {
        !self.has_made_calls() && self.to.is_none()
    }

    fn delivered(self) -> Option<(OutboxPlace, OutboxPlace)> {
        self.from.zip(self.to)
    }
}

impl RoomDelivery {
    pub(super) fn new(webhooks: Webhooks, draining: CancellationToken) -> Self {
        Self {
            webhooks,
            draining,
            failures: Mutex::default(),
        }
    }

    /// Takes rooms that are due. During an outage of the database there are none.
    pub(super) async fn lease(&self, holder: LeaseHolder, most: usize) -> Vec<OutboxLease> {
        let request = LeaseRequest {
            holder,
            most,
            in_flight: WEBHOOKS_IN_FLIGHT,
            in_retry: WEBHOOKS_IN_RETRY,
            time: WEBHOOK_LEASE,
            notify_after: self.webhooks.notify_after,
        };
        match self.webhooks.sources.outbox.lease(request).await {
            Ok(leases) => leases,
            Err(error) => {
                tracing::debug!(error = %one_line(&error), "webhooks cannot be read now");
                Vec::new()
            }
        }
    }

    pub(super) async fn measure_backlog(&self) {
        if let Ok(backlog) = self.webhooks.sources.outbox.backlog().await {
            self.webhooks.metrics.webhook_backlog(&backlog);
        }
    }

    /// Makes the calls of a room that was leased at this time, and ends the lease.
    pub(super) async fn deliver(
        &self,
        holder: LeaseHolder,
        lease: OutboxLease,
        leased_at: Instant,
    ) {
        let latest = leased_at + WEBHOOK_LEASE - DEADLINE - Duration::from_secs(1);
        let mut progress = Progress {
            lease,
            until: latest.min(Instant::now() + WEBHOOK_TURN_TIME),
            calls_left: WEBHOOK_TURN,
            from: None,
            to: None,
        };
        let end = match self.make_calls(&mut progress).await {
            Ok(end) => end,
            Err(error) => {
                let error = one_line(&error);
                tracing::debug!(%error, room = %lease.room_id, "webhooks cannot be read now");
                End::Unreadable { reason: error }
            }
        };
        let next = self.next(&progress, end).await;
        self.settle(Settlement {
            holder,
            room_id: lease.room_id,
            delivered: progress.delivered(),
            next,
        })
        .await;
    }

    async fn make_calls(&self, progress: &mut Progress) -> Result<End, StorageError> {
        let room_id = progress.lease.room_id;
        let sources = &self.webhooks.sources;
        for entry in sources.outbox.entries(room_id, WEBHOOK_TURN).await? {
            let mut from = entry.first.number;
            loop {
                if self.is_over(progress) {
                    return Ok(End::Turn);
                }
                let limit = progress.calls_left;
                let part = sources.report(room_id, &entry, from, limit).await?;
                progress.from.get_or_insert_with(|| entry.first.clone());
                for webhook in part.webhooks {
                    if self.is_over(progress) {
                        return Ok(End::Turn);
                    }
                    if let Some(end) = self.call(&webhook, room_id).await {
                        // What does not exist any more needs no delivery: the next entry is the
                        // one that failed.
                        if webhook.place.number > entry.first.number {
                            progress.delivered_up_to(OutboxPlace {
                                number: webhook.place.number - 1,
                                ..entry.first.clone()
                            });
                        }
                        return Ok(end);
                    }
                    progress.calls_left -= 1;
                    progress.delivered_up_to(webhook.place);
                }
                let end = OutboxPlace {
                    number: part.end,
                    ..entry.first.clone()
                };
                progress.delivered_up_to(end);
                if part.end >= entry.last {
                    break;
                }
                from = part.end + 1;
            }
        }
        Ok(End::Turn)
    }

    fn is_over(&self, progress: &Progress) -> bool {
        progress.is_over() || self.draining.is_cancelled()
    }

    /// Makes a call. Returns why it is the last one, if it is.
    async fn call(&self, webhook: &Webhook, room_id: RoomId) -> Option<End> {
        let now = self.webhooks.clock.now();
        let (id, body) = (webhook.id.clone(), webhook.body.clone());
        let answer = self.webhooks.calls.make(id, now, body).await;
        let metrics = &self.webhooks.metrics;
        match answer {
            Answer::Taken => {
                metrics.webhook(WebhookOutcome::Delivered);
                None
            }
            Answer::Gone => {
                metrics.webhook(WebhookOutcome::Gone);
                Some(End::Gone)
            }
            Answer::Failed(reason) => {
                metrics.webhook(WebhookOutcome::Failed);
                self.log_failure(room_id, &webhook.id, &reason);
                let place = webhook.place.clone();
                Some(End::Failed { place, reason })
            }
        }
    }

    /// Decides when the room is due again.
    async fn next(&self, progress: &Progress, end: End) -> NextDelivery {
        match end {
            // Without an attempt, the next one is still a repetition.
            End::Turn if progress.is_untouched() && progress.lease.attempts > 0 => {
                NextDelivery::Retry {
                    attempts: progress.lease.attempts,
                    after: Duration::ZERO,
                    reason: "no attempt was made".to_owned(),
                }
            }
            End::Turn => NextDelivery::Now,
            End::Unreadable { reason } => NextDelivery::Retry {
                attempts: progress.lease.attempts.max(1),
                after: WEBHOOK_READ_PAUSE,
                reason,
            },
            End::Gone => {
                tracing::warn!(
                    "WEBHOOKS ARE PAUSED: the receiver has answered 410 Gone; what happens is kept \
                     until chat-gateway webhooks retry, or a restart"
                );
                if let Err(error) = self.webhooks.sources.outbox.pause().await {
                    tracing::debug!(error = %one_line(&error), "webhooks cannot be paused now");
                }
                NextDelivery::Now
            }
            End::Failed { place, reason } => {
                // Without progress, it is the call that failed before.
                let (before, failing_for) = match progress.has_made_calls() {
                    true => (0, Duration::ZERO),
                    false => (progress.lease.attempts, progress.lease.failing_for),
                };
                let attempts = before + 1;
                match schedule::pause(attempts, failing_for) {
                    Some(after) => NextDelivery::Retry {
                        attempts,
                        after,
                        reason,
                    },
                    None => {
                        tracing::warn!(
                            room = %progress.lease.room_id,
                            reason,
                            "a webhook is parked: it has failed for three days"
                        );
                        NextDelivery::Park { place, reason }
                    }
                }
            }
        }
    }

    /// Ends a lease. If that fails, the lease expires, and the calls are made again.
    async fn settle(&self, settlement: Settlement) {
        for _ in 0..WEBHOOK_SETTLE_ATTEMPTS {
            match self
                .webhooks
                .sources
                .outbox
                .settle(settlement.clone())
                .await
            {
                Ok(_) => return,
                Err(error) => {
                    let error = one_line(&error);
                    tracing::debug!(%error, "a delivery of webhooks cannot be noted now");
                }
            }
            sleep(WEBHOOK_SETTLE_PAUSE).await;
        }
    }

    /// During an outage of the receiver, one line stands for many failures.
    fn log_failure(&self, room_id: RoomId, id: &str, reason: &str) {
        let mut failures = lock(&self.failures);
        failures.count += 1;
        let is_recent = |at: Instant| at.elapsed() < WEBHOOK_LOG_INTERVAL;
        if failures.logged.is_some_and(is_recent) {
            return;
        }
        let count = std::mem::take(&mut failures.count);
        failures.logged = Some(Instant::now());
        tracing::warn!(
            room = %room_id,
            id,
            reason,
            failures = count,
            "a webhook was not delivered and is repeated later"
        );
    }
}
