//! Long-polling: beginning a session, and its requests in either direction.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tower::Service as _;

use super::query::BadQuery;
use super::{PATH, SocketIoxide, answer, call, refuse};
use crate::limits::BODY_DEADLINE;
use crate::metrics::DisconnectReason;
use crate::session::{Session, Sessions};
use crate::wire::Ending;

/// Engine.IO's record separator, between the packets of a response.
const SEPARATOR: u8 = 0x1e;
/// Engine.IO's packet "noop": it ends a request while the session moves to a WebSocket.
const NOOP: &str = "6";
/// The first byte of Engine.IO's packets "message", which carry Socket.IO's.
const MESSAGE: u8 = b'4';

/// Begins a session.
pub(super) async fn begin(
    socketioxide: &SocketIoxide,
    sessions: &Sessions,
    session: &Arc<Session>,
    request: Request<Incoming>,
) -> Response<Body> {
    let response = call(socketioxide, request).await;
    let (response, body) = read_whole(response).await;
    if response.status() == StatusCode::OK
        && let Some(sid) = sid_of_open(&body)
    {
        sessions.began_polling(session, &sid);
    }
    response
}

/// Answers a request of an existing session.
pub(super) async fn respond(
    socketioxide: &SocketIoxide,
    session: &Session,
    request: Request<Incoming>,
) -> Response<Body> {
    match *request.method() {
        Method::POST => receive(socketioxide, session, request).await,
        _ => send(socketioxide, session, request).await,
    }
}

/// Passes on what a client sends.
async fn receive(
    socketioxide: &SocketIoxide,
    session: &Session,
    request: Request<Incoming>,
) -> Response<Body> {
    // What the client sent before is answered first, as on a WebSocket.
    let received = async {
        poll_fn(|cx| session.poll_may_read(cx)).await;
        call(socketioxide, request).await
    };
    match tokio::time::timeout(BODY_DEADLINE, received).await {
        Ok(response) => response,
        Err(_) => {
            session.abort(DisconnectReason::SlowRequest);
            answer(StatusCode::REQUEST_TIMEOUT, "the request took too long")
        }
    }
}

/// Waits for what a client receives.
async fn send(
    socketioxide: &SocketIoxide,
    session: &Session,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut response = pin!(call(socketioxide, request));
    let mut is_first = true;
    let response = poll_fn(|cx| {
        if !std::mem::take(&mut is_first) {
            return response.as_mut().poll(cx);
        }
        let polled = session.poll_before_websocket(|| response.as_mut().poll(cx));
        polled.unwrap_or_else(|| Poll::Ready(no_longer_polled(session)))
    });
    let unanswered = Unanswered(session);
    let (response, body) = read_whole(response.await).await;
    std::mem::forget(unanswered);
    if response.status() == StatusCode::OK {
        session.outbox().left(count_packets(&body));
    }
    response
}

/// A request for packets that is not answered yet. If its client gives up, packets that were
/// taken out of socketioxide's queue for it are lost: the session ends, as with a WebSocket
/// that breaks.
struct Unanswered<'a>(&'a Session);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.0.has_websocket() {
            self.0.end(Ending::Abort);
        }
    }
}

/// Answers a request for packets that a WebSocket carries, or is about to carry.
fn no_longer_polled(session: &Session) -> Response<Body> {
    match session.outbox().is_on_websocket() {
        true => refuse(BadQuery::WrongTransport),
        false => answer(StatusCode::OK, NOOP),
    }
}

/// Ends a session as its client would: with a packet "close".
pub(super) fn end(socketioxide: &SocketIoxide, sid: &str) {
    let uri = format!("{PATH}/?EIO=4&transport=polling&sid={sid}");
    let Ok(request) = Request::post(uri).body(Full::new(Bytes::from_static(b"1"))) else {
        return;
    };
    let mut socketioxide = socketioxide.clone();
    // It ends by itself: the body is here, and nothing in it waits.
    tokio::spawn(async move {
        let Ok(_) = socketioxide.call(request).await;
    });
}

/// Reads a response, which socketioxide has made in one piece.
async fn read_whole(response: Response<Body>) -> (Response<Body>, Bytes) {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            let response = Response::from_parts(parts, Body::from(bytes.clone()));
            (response, bytes)
        }
        Err(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (answer(status, "the response broke"), Bytes::new())
        }
    }
}

/// Returns the id in Engine.IO's first packet, `0{"sid":"…",…}`.
fn sid_of_open(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Open {
        sid: String,
    }
    let open: Open = serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
    Some(open.sid)
}

/// Returns how many packets of Socket.IO are in a response.
fn count_packets(body: &[u8]) -> usize {
    body.split(|&byte| byte == SEPARATOR)
        .filter(|packet| packet.first() == Some(&MESSAGE))
        .count()
}
