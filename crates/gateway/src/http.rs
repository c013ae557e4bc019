//! The HTTP endpoints beside Socket.IO: health, readiness, metrics and the demo page.

mod demo_page;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use chat_domain::ports::StorageHealth;

use crate::clients::Clients;
use crate::demo::Demo;
use crate::gateway::Gateway;
use crate::supervisor::Liveness;

/// How long the database may take to answer.
const READY_DEADLINE: Duration = Duration::from_secs(3);

/// What the operator's pages report on.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) storage: Arc<dyn StorageHealth>,
    pub(crate) liveness: Liveness,
}

/// Returns the routes.
pub(crate) fn pages(status: Status, demo: Option<Demo>) -> Router {
    let mut pages = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(status);
    if let Some(demo) = demo {
        pages = pages.route("/", get(async move || demo_page::response(&demo)));
    }
    pages
}

/// Reports whether every task that must run is running.
async fn alive(State(status): State<Status>) -> (StatusCode, String) {
    match status.liveness.failure() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(task) => {
            let text = format!("the task that {task} has ended\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Reports whether clients should be sent here: not while draining, and not while messages
/// cannot be stored.
async fn ready(State(status): State<Status>) -> (StatusCode, &'static str) {
    if status.gateway.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match tokio::time::timeout(READY_DEADLINE, status.storage.check_writable()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database cannot be written\n",
        ),
    }
}

async fn metrics(State(status): State<Status>) -> impl IntoResponse {
    let mut text = String::new();
    for (name, help, value) in [
        (
            "chat_connections",
            "Connected Socket.IO clients.",
            status.clients.count(),
        ),
        (
            "chat_active_rooms",
            "Rooms that a client of this node has joined.",
            status.gateway.rooms.count(),
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
