//! Opening WebSockets: for a new session, and for one that upgrades.

use std::sync::Arc;

use axum::body::Body;
use chat_domain::one_line;
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tower::Service as _;
use tungstenite::handshake::derive_accept_key;

use super::{SocketIoxide, answer, call};
use crate::session::Session;
use crate::wire::{Stream, Wire};

/// The headers that are read when the client connects to the namespace.
const KEPT_HEADERS: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Opens a WebSocket for a new session. socketioxide receives the connection itself, and of
/// the request only what is needed later: it keeps what it receives, and hyper's buffer
/// with it.
pub(super) fn open(
    socketioxide: &SocketIoxide,
    wire: &Arc<Wire>,
    session: &Arc<Session>,
    mut request: Request<Incoming>,
    key: &str,
) -> Response<Body> {
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return answer(StatusCode::BAD_REQUEST, "malformed Sec-WebSocket-Key");
    };
    session.carried_by(wire);
    let upgraded = hyper::upgrade::on(&mut request);
    let kept = kept_of(&request, session);
    let mut socketioxide = socketioxide.clone();
    // It ends with the response: hyper drops the other half with the connection.
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
            return;
        };
        let mut stream = parts.io.into_inner();
        stream.unread(&parts.read_buf);
        if let Err(error) = socketioxide.call((stream, kept)).await {
            tracing::debug!(error = %one_line(&error), "a WebSocket cannot be served");
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Opens a WebSocket for a session that upgrades.
pub(super) async fn upgrade(
    socketioxide: &SocketIoxide,
    wire: &Arc<Wire>,
    session: &Arc<Session>,
    request: Request<Incoming>,
) -> Response<Body> {
    let response = call(socketioxide, request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        session.carried_by(wire);
    }
    response
}

/// Returns the key of a well-formed request for a WebSocket. hyper cannot upgrade others, and
/// socketioxide would wait for it.
pub(super) fn accept_key<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    let names = |header, name: &str| {
        let values = headers.get_all(header).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(name))
    };
    let is_well_formed = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && names(UPGRADE, "websocket")
        && names(CONNECTION, "upgrade");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_well_formed)?;
    key.to_str().ok().map(str::to_owned)
}

/// Copies what is needed after the request: its query and the `Authorization` header, where
/// a token may be, the trace to which it belongs, and the session. Slices would keep the connection's buffer alive.
fn kept_of<B>(request: &Request<B>, session: &Arc<Session>) -> Request<()> {
    let mut kept = Request::new(());
    if let Ok(uri) = request.uri().to_string().parse() {
        *kept.uri_mut() = uri;
    }
    for name in KEPT_HEADERS {
        if let Some(value) = request.headers().get(&name)
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            kept.headers_mut().insert(name, value);
        }
    }
    kept.extensions_mut().insert(session.clone());
    kept
}
