//! The HTTP endpoints beside Socket.IO: health, readiness, metrics and the demo page.

mod demo_page;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use chat_domain::ports::StorageHealth;

use crate::app::Nodes;
use crate::clients::Clients;
use crate::demo::Demo;
use crate::gateway::Gateway;
use crate::supervisor::Liveness;

/// How long the database may take to answer.
const READY_DEADLINE: Duration = Duration::from_secs(3);

const READY_WITHOUT_REDIS: &str = "ready\nRedis is not connected: messages of other nodes are \
    found in the log, which takes up to a second\n";

/// What the operator's pages report on.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) storage: Arc<dyn StorageHealth>,
    pub(crate) nodes: Option<Nodes>,
    pub(crate) liveness: Liveness,
}

/// Returns the routes.
pub(crate) fn pages(status: Status, demo: Option<Demo>) -> Router {
    let mut pages = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::respond))
        .with_state(status);
    if let Some(demo) = demo {
        pages = pages.merge(demo_page::routes(demo));
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
/// cannot be stored. Without Redis this node serves its clients nevertheless.
async fn ready(State(status): State<Status>) -> (StatusCode, &'static str) {
    if status.gateway.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match tokio::time::timeout(READY_DEADLINE, status.storage.check_writable()).await {
        Ok(Ok(())) => match &status.nodes {
            Some(nodes) if !nodes.health.status().is_connected => {
                (StatusCode::OK, READY_WITHOUT_REDIS)
            }
            _ => (StatusCode::OK, "ready\n"),
        },
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database cannot be written\n",
        ),
    }
}
