//! What is counted and measured while it happens. What is looked up at each scrape instead is
//! in `http/metrics.rs`.
//!
//! Counting is an atomic addition: every counter is created at the start, with all values of
//! its labels, and is found by an index.

mod access;
mod counters;
mod labels;
mod webhooks;

use std::time::{Duration, Instant};

use chat_delivery::{HandedOut, Observer, Why};
use chat_domain::ports::Backlog;
use http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use self::access::AccessMetrics;
use self::counters::Counters;
use self::labels::ApiStatus;
use self::webhooks::WebhookMetrics;
use crate::api::Operation;
use crate::socket::handshake::Refusal;
use crate::socket::reply::Code;

pub(crate) use self::labels::{Delivery, DisconnectReason, EventName, Handshake, Outcome};
pub(crate) use self::webhooks::WebhookOutcome;
pub(crate) use crate::storage_watch::Kind as StorageFailure;

/// The ratio between two bounds of a histogram of times. A quantile is interpolated between
/// two bounds, so it is off by less than this.
const BUCKET_RATIO: f64 = 1.2;
/// The first bound of the times in which messages are committed, in seconds, and the number
/// of bounds: up to 10 seconds, because what waits for longer is refused.
const COMMIT_BUCKETS: (f64, usize) = (100e-6, 65);
/// The same for the times in which messages are handed over. In a small room they take a few
/// microseconds.
const HANDOFF_BUCKETS: (f64, usize) = (10e-6, 77);
/// The largest batch is twice as large.
const BATCH_BUCKETS: [f64; 15] = [
    1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 256.0,
];

/// The metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    events: Box<[Counters<Outcome>]>,
    handshakes: Counters<Handshake>,
    disconnects: Counters<DisconnectReason>,
    deliveries: Counters<Delivery>,
    storage_failures: Counters<StorageFailure>,
    stored: IntCounter,
    batches: Histogram,
    arrival_to_commit: Histogram,
    commit_to_handoff: Histogram,
    differences: IntCounter,
    api_requests: Box<[Counters<ApiStatus>]>,
    api_request: Histogram,
    closed_rooms: IntGauge,
    deleted_rows: IntCounter,
    access: AccessMetrics,
    webhooks: WebhookMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let arrival_to_commit = HistogramOpts::new(
            "chat_arrival_to_commit_seconds",
            "From the arrival of a message until its sender's task knows that it is stored.",
        );
        let commit_to_handoff = HistogramOpts::new(
            "chat_commit_to_handoff_seconds",
            "From then until it waits in the outboxes of all members of this node that keep up.",
        );
        let api_request = HistogramOpts::new(
            "chat_api_request_seconds",
            "From the arrival of a request of the server API until it is answered.",
        );
        let batches = HistogramOpts::new(
            "chat_batch_messages",
            "Messages that were stored in one transaction.",
        );
        Self {
            events: counters::of_events(&registry),
            handshakes: Counters::new(
                &registry,
                "chat_handshakes_total",
                "Clients that asked to connect, by outcome.",
            ),
            disconnects: Counters::new(
                &registry,
                "chat_forced_disconnects_total",
                "Connections that the gateway ended.",
            ),
            deliveries: Counters::new(
                &registry,
                "chat_deliveries_total",
                "Messages handed over to members: live, to those that had fallen behind, and \
                 replayed after a join.",
            ),
            storage_failures: Counters::new(
                &registry,
                "chat_storage_failures_total",
                "Operations of the database that failed.",
            ),
            stored: counters::counter(
                &registry,
                "chat_messages_stored_total",
                "Messages that this node has stored.",
            ),
            batches: histogram(&registry, batches.buckets(BATCH_BUCKETS.to_vec())),
            arrival_to_commit: histogram(&registry, times(arrival_to_commit, COMMIT_BUCKETS)),
            commit_to_handoff: histogram(&registry, times(commit_to_handoff, HANDOFF_BUCKETS)),
            differences: counters::counter(
                &registry,
                "chat_reconciliation_differences_total",
                "Comparisons with the log that found messages of which no hint had arrived.",
            ),
            api_requests: counters::of_api_requests(&registry),
            api_request: histogram(&registry, times(api_request, COMMIT_BUCKETS)),
            closed_rooms: register(
                &registry,
                IntGauge::new("chat_closed_rooms", "Rooms that are being deleted."),
            ),
            deleted_rows: counters::counter(
                &registry,
                "chat_deleted_rows_total",
                "Rows of closed rooms that this node has deleted.",
            ),
            access: AccessMetrics::new(&registry),
            webhooks: WebhookMetrics::new(&registry),
            registry,
        }
    }
}

impl Metrics {
    /// Counts an event that was answered.
    pub(crate) fn event(&self, event: EventName, outcome: Result<(), Code>) {
        if let Some(outcomes) = self.events.get(event as usize) {
            outcomes.count(match outcome {
                Ok(()) => Outcome::Ok,
                Err(code) => Outcome::Refused(code),
            });
        }
    }

    /// Counts a client that asked to connect.
    pub(crate) fn handshake<T>(&self, outcome: &Result<T, Refusal>) {
        self.handshakes.count(match outcome {
            Ok(_) => Handshake::Accepted,
            Err(refusal) => Handshake::Refused(*refusal),
        });
    }

    /// Counts a client that asked for a session and was sent to another node.
    pub(crate) fn sent_elsewhere(&self) {
        self.handshakes.count(Handshake::SentElsewhere);
    }

    /// Counts a connection that the gateway ends.
    pub(crate) fn forced_disconnect(&self, reason: DisconnectReason) {
        self.disconnects.count(reason);
    }

    /// Counts an operation of the database that failed.
    pub(crate) fn storage_failure(&self, kind: StorageFailure) {
        self.storage_failures.count(kind);
    }

    /// Notes the number of messages that a batch has stored.
    pub(crate) fn batch(&self, messages: usize) {
        if messages > 0 {
            self.stored.inc_by(messages as u64);
            self.batches.observe(messages as f64);
        }
    }

    /// Notes how many rooms are being deleted, on whichever node.
    pub(crate) fn closed_rooms(&self, rooms: u64) {
        self.closed_rooms
            .set(i64::try_from(rooms).unwrap_or(i64::MAX));
    }

    /// Counts rows of closed rooms that were deleted.
    pub(crate) fn deleted_rows(&self, rows: u64) {
        self.deleted_rows.inc_by(rows);
    }

    /// Counts a call to the product's backend.
    pub(crate) fn webhook(&self, outcome: WebhookOutcome) {
        self.webhooks.delivery(outcome);
    }

    /// Notes how many webhooks wait, on whichever node.
    pub(crate) fn webhook_backlog(&self, backlog: &Backlog) {
        self.webhooks.backlog(backlog);
    }

    /// Notes that a message that arrived at this time is stored.
    pub(crate) fn committed(&self, arrived: Instant) {
        self.arrival_to_commit.observe(seconds(arrived.elapsed()));
    }

    /// Counts a request of the server API that is answered, after this time.
    pub(crate) fn api_request(&self, operation: Operation, status: StatusCode, took: Duration) {
        if let Some(statuses) = self.api_requests.get(operation as usize) {
            statuses.count(ApiStatus::of(status));
        }
        self.api_request.observe(seconds(took));
    }

    /// Returns all metrics of which this keeps count.
    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

impl Observer for Metrics {
    fn handed_out(&self, batch: HandedOut) {
        self.deliveries.add(Delivery::Live, batch.deliveries as u64);
        if let Some(announced) = batch.announced {
            let seconds = seconds(announced.elapsed());
            for _ in 0..batch.messages {
                self.commit_to_handoff.observe(seconds);
            }
        }
    }

    fn caught_up(&self, why: Why, messages: usize) {
        let delivery = match why {
            Why::Behind => Delivery::CatchUp,
            Why::Replay => Delivery::Replay,
        };
        self.deliveries.add(delivery, messages as u64);
    }

    fn found_difference(&self) {
        self.differences.inc();
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn times(options: HistogramOpts, (first, count): (f64, usize)) -> HistogramOpts {
    let mut bounds = Vec::with_capacity(count);
    let mut bound = first;
    for _ in 0..count {
        bounds.push(round(bound));
        bound *= BUCKET_RATIO;
    }
    options.buckets(bounds)
}

/// Rounds a bound to three digits, which is how it is written in each scrape.
fn round(bound: f64) -> f64 {
    format!("{bound:.2e}").parse().unwrap_or(bound)
}

fn histogram(registry: &Registry, options: HistogramOpts) -> Histogram {
    register(registry, Histogram::with_opts(options))
}

/// Adds a metric to the registry.
fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    created: prometheus::Result<C>,
) -> C {
    let collector = created.expect("the names and bounds are valid");
    let registered = registry.register(Box::new(collector.clone()));
    registered.expect("each name is used once");
    collector
}

#[cfg(test)]
mod tests;
