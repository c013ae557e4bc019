//! The demo page that `dev` serves at `/`, with a fresh token for each of its users.
//!
//! The files in `demo/` are built from `clients/demo`, which says how.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;

use crate::demo::{Demo, demo_users};

/// Where the page's script expects its users.
const USERS_PLACEHOLDER: &str = "<script type=\"application/json\" id=\"users\">[]";
/// Allows the page's own script and style, and connections to this server. The script cannot
/// turn text into HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = include_str!("demo/demo.js");
const STYLE: &str = include_str!("demo/demo.css");

/// Returns the routes of the page, its script and its style.
pub(super) fn routes(demo: Demo) -> Router {
    Router::new()
        .route(
            "/",
            get(async move || file("text/html; charset=utf-8", page(&demo))),
        )
        .route(
            "/demo.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/demo.css",
            get(async || file("text/css; charset=utf-8", STYLE)),
        )
}

fn file(content_type: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, content)
}

/// Returns the page with its users, and a token for each.
fn page(demo: &Demo) -> String {
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
    // Nothing in the JSON can end its element.
    let users = USERS_PLACEHOLDER.replace("[]", &users.replace('<', "\\u003c"));
    include_str!("demo/demo.html").replacen(USERS_PLACEHOLDER, &users, 1)
}
