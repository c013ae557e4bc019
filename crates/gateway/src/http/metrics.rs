//! `/metrics`, in Prometheus' text format: what [`Metrics`](crate::Metrics) keeps count of,
//! and what is looked up at each scrape.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use chat_domain::ports::{HintsStatus, PoolStatus};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, TEXT_FORMAT, TextEncoder,
};

use super::Status;
use crate::clients::Census;

/// How long the database may take to answer. A scrape is expected within a few seconds.
const WRITABLE_DEADLINE: Duration = Duration::from_secs(1);

pub(super) async fn respond(State(status): State<Status>) -> Response {
    match scrape(&status).await {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        // The names of metrics are constant, so this is a defect.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn scrape(status: &Status) -> prometheus::Result<String> {
    let gateway = &status.gateway;
    let writable = tokio::time::timeout(WRITABLE_DEADLINE, status.storage.check_writable()).await;
    let mut found = Found(gateway.metrics.gather());
    found.clients(&status.clients.census())?;
    found.gauge(
        "chat_active_rooms",
        "Rooms that a client of this node has joined.",
        gateway.rooms.count(),
    )?;
    found.gauge(
        "chat_lagging_members",
        "Members that have fallen behind and are served from the log.",
        gateway.rooms.lagging_members(),
    )?;
    let (connections, rooms) = gateway.watchers.counts();
    found.gauge(
        "chat_watching_connections",
        "Connections that watch their users' rooms.",
        connections,
    )?;
    found.gauge(
        "chat_watched_rooms",
        "Different rooms that they watch.",
        rooms,
    )?;
    let presence = gateway.presence.counts();
    found.gauges(
        "chat_online_users",
        "Users that are online on this node and on the others, as it knows.",
        "node",
        [("this", presence.local), ("others", presence.others)],
    )?;
    found.gauge(
        "chat_watched_users",
        "Different users that connections watch.",
        presence.watched,
    )?;
    found.counters(
        "chat_refusals_total",
        "What was refused because of a limit.",
        "limit",
        gateway.refusals.counts(),
    )?;
    found.gauge(
        "chat_database_writable",
        "Whether a message could be stored now: 1 or 0.",
        usize::from(matches!(writable, Ok(Ok(())))),
    )?;
    found.pool(&status.storage.pool())?;
    if let Some(nodes) = &status.nodes {
        found.hints(&nodes.health.status())?;
    }
    found.gauges(
        "chat_build_info",
        "The version of the gateway; always 1.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    )?;
    found.0.sort_by(|one, other| one.name().cmp(other.name()));
    TextEncoder::new().encode_to_string(&found.0)
}

/// The metrics of one scrape.
struct Found(Vec<MetricFamily>);

impl Found {
    fn add(&mut self, collector: &impl Collector) {
        self.0.extend(collector.collect());
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(signed(value));
        self.add(&gauge);
        Ok(())
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> prometheus::Result<()> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        for (labelled, value) in values {
            gauges.with_label_values(&[labelled]).set(signed(value));
        }
        self.add(&gauges);
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.add(&counter);
        Ok(())
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (labelled, value) in values {
            counters.with_label_values(&[labelled]).inc_by(value);
        }
        self.add(&counters);
        Ok(())
    }

    fn clients(&mut self, census: &Census) -> prometheus::Result<()> {
        self.gauges(
            "chat_connections",
            "Connected Socket.IO clients.",
            "transport",
            [("websocket", census.websocket), ("polling", census.polling)],
        )?;
        self.gauge(
            "chat_queued_bytes",
            "Bytes that wait in this process to be taken by clients.",
            census.queued_bytes,
        )
    }

    fn pool(&mut self, pool: &PoolStatus) -> prometheus::Result<()> {
        self.gauge(
            "chat_database_pool_max_connections",
            "The maximum number of database connections that read.",
            pool.max,
        )?;
        self.gauges(
            "chat_database_pool_connections",
            "Open database connections that read.",
            "state",
            [
                ("in_use", pool.in_use),
                ("idle", pool.open.saturating_sub(pool.in_use)),
            ],
        )
    }

    fn hints(&mut self, status: &HintsStatus) -> prometheus::Result<()> {
        self.gauge(
            "chat_redis_connected",
            "Whether Redis is connected: 1 or 0.",
            usize::from(status.is_connected),
        )?;
        self.counter(
            "chat_redis_connections_total",
            "How often Redis was connected.",
            status.connections,
        )?;
        self.counter(
            "chat_hints_published_total",
            "Hints for other nodes that Redis has taken.",
            status.published,
        )?;
        self.counter(
            "chat_hints_received_total",
            "Hints of other nodes that have arrived.",
            status.received,
        )?;
        self.counters(
            "chat_hints_lost_total",
            "Hints for other nodes that were lost, or may have been.",
            "reason",
            [
                ("disconnected", status.lost.disconnected),
                ("queue_full", status.lost.queue_full),
                ("unconfirmed", status.lost.unconfirmed),
            ],
        )?;
        self.counter(
            "chat_hints_invalid_total",
            "Hints and commands that this node does not understand.",
            status.invalid,
        )
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
