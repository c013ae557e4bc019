//! The HTTP endpoints beside Socket.IO: health, readiness, metrics and the demo page.

pub(crate) mod demo;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chat_domain::RoomId;

use crate::app::Demo;
use crate::gateway::Gateway;
use crate::origin::is_addressed_to_loopback;

/// How long the database may take to answer.
const READY_DEADLINE: Duration = Duration::from_secs(3);

/// Returns the routes. With a demo page, whose tokens are meant for this machine alone,
/// all of them are served under loopback names only.
pub(crate) fn pages(gateway: Arc<Gateway>, demo: Option<Demo>) -> Router {
    let pages = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(gateway);
    match demo {
        None => pages,
        Some(demo) => pages
            .route("/", get(async move || demo::page(&demo)))
            .layer(from_fn(refuse_foreign_hosts)),
    }
}

/// Refuses a request whose `Host` is not a loopback name, so that a page whose own name
/// resolves to a loopback address (DNS rebinding) reads nothing.
async fn refuse_foreign_hosts(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !is_addressed_to_loopback(&parts) {
        let text = "Host must be a loopback name: use localhost or 127.0.0.1\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Reports whether clients should be sent here: not while draining, and not without the
/// database.
async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    if gateway.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    // Any room will do: the answer is one row or none.
    let rooms: Vec<RoomId> = RoomId::new(1).into_iter().collect();
    match tokio::time::timeout(READY_DEADLINE, gateway.log.newest(&rooms)).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "storage unavailable\n"),
    }
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> impl IntoResponse {
    let mut text = String::new();
    for (name, help, value) in [
        (
            "chat_connections",
            "Connected Socket.IO clients.",
            gateway.connections.count(),
        ),
        (
            "chat_active_rooms",
            "Rooms that a client of this node has joined.",
            gateway.rooms.count(),
        ),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        );
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
