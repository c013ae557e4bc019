//! The demo page that `dev` serves at `/`, with a fresh token for each of its users.

use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::demo::{Demo, demo_users};

/// Where the page's script expects its users.
const USERS_PLACEHOLDER: &str = "/*TOKENS*/[]";
/// Allows the page's own script, and connections to this server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the page.
pub(super) fn response(demo: &Demo) -> impl IntoResponse + use<> {
    #[derive(Serialize)]
    struct DemoUser<'a> {
        id: &'a str,
        name: &'a str,
        token: String,
    }
    let users = demo_users();
    let users: Vec<DemoUser<'_>> = users
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
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("content-security-policy"),
            CONTENT_SECURITY_POLICY,
        ),
    ];
    let page = include_str!("demo.html").replacen(USERS_PLACEHOLDER, &users, 1);
    (headers, page)
}
