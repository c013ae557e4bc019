//! The figures of `/metrics`, in Prometheus' text format.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use chat_domain::ports::HintsStatus;

use super::Status;

pub(super) async fn respond(State(status): State<Status>) -> impl IntoResponse {
    let mut text = Text::default();
    let connections = status.clients.count() as u64;
    text.gauge(
        "chat_connections",
        "Connected Socket.IO clients.",
        connections,
    );
    text.gauge(
        "chat_active_rooms",
        "Rooms that a client of this node has joined.",
        status.gateway.rooms.count() as u64,
    );
    text.refusals(status.gateway.refusals.counts());
    if let Some(nodes) = &status.nodes {
        text.hints(&nodes.health.status());
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text.0)
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, help, "gauge");
        self.sample(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, help, "counter");
        self.sample(name, value);
    }

    fn describe(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, value: u64) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn refusals(&mut self, counts: impl Iterator<Item = (&'static str, u64)>) {
        let name = "chat_refusals_total";
        self.describe(name, "What was refused because of a limit.", "counter");
        for (limit, count) in counts {
            self.sample(&format!("{name}{{limit=\"{limit}\"}}"), count);
        }
    }

    fn hints(&mut self, status: &HintsStatus) {
        self.gauge(
            "chat_redis_connected",
            "Whether Redis is connected: 1 or 0.",
            status.is_connected.into(),
        );
        self.counter(
            "chat_redis_connections_total",
            "How often Redis was connected.",
            status.connections,
        );
        self.counter(
            "chat_hints_published_total",
            "Hints for other nodes that Redis has taken.",
            status.published,
        );
        self.counter(
            "chat_hints_received_total",
            "Hints of other nodes that have arrived.",
            status.received,
        );
        let lost = "chat_hints_lost_total";
        self.describe(
            lost,
            "Hints for other nodes that were lost, or may have been.",
            "counter",
        );
        for (reason, value) in [
            ("disconnected", status.lost.disconnected),
            ("queue_full", status.lost.queue_full),
            ("unconfirmed", status.lost.unconfirmed),
        ] {
            self.sample(&format!("{lost}{{reason=\"{reason}\"}}"), value);
        }
        self.counter(
            "chat_hints_invalid_total",
            "Hints and commands that this node does not understand.",
            status.invalid,
        );
    }
}
