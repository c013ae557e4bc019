//! What is served beside Socket.IO: health, readiness, metrics, and the demo page.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use chat_domain::{DisplayName, RoomId, User, UserId};
use serde::Serialize;

use crate::app::Demo;
use crate::gateway::Gateway;

/// How long the database may take to answer.
const READY_DEADLINE: Duration = Duration::from_secs(3);
/// Where the page's script expects its users.
const DEMO_USERS: &str = "/*TOKENS*/[]";

pub(crate) fn pages(gateway: Arc<Gateway>, demo: Option<Demo>) -> Router {
    let mut pages = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(gateway);
    if let Some(demo) = demo {
        pages = pages.route("/", get(async move || demo_page(&demo)));
    }
    pages
}

/// Whether clients should be sent here: not while stopping, and not without the
/// database.
async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    if gateway.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    // Any room will do: the answer is one row or none.
    let rooms: Vec<RoomId> = RoomId::new(1).into_iter().collect();
    match tokio::time::timeout(READY_DEADLINE, gateway.log.newest(&rooms)).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n"),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer\n",
        ),
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
            "Rooms that somebody on this node has joined.",
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

/// The page with fresh tokens for two users.
fn demo_page(demo: &Demo) -> impl IntoResponse + use<> {
    #[derive(Serialize)]
    struct DemoUser<'a> {
        id: &'a str,
        name: &'a str,
        token: String,
    }
    let people = demo_people();
    let users: Vec<DemoUser<'_>> = people
        .iter()
        .filter_map(|user| {
            Some(DemoUser {
                id: user.id.as_str(),
                name: user.name.as_str(),
                token: (demo.mint)(user).ok()?,
            })
        })
        .collect();
    let users = serde_json::to_string(&users).unwrap_or_else(|_| "[]".to_owned());
    let page = include_str!("http/demo.html").replacen(DEMO_USERS, &users, 1);
    // Only this page's own script, and connections to this server.
    const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
         style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    (
        [
            (CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("content-security-policy"), POLICY),
        ],
        Html(page),
    )
}

/// The demo's users.
pub(crate) fn demo_people() -> Vec<User> {
    [("1", "Ada"), ("2", "Grace")]
        .into_iter()
        .filter_map(|(id, name)| {
            Some(User {
                id: UserId::new(id).ok()?,
                name: DisplayName::from_text(name),
            })
        })
        .collect()
}
