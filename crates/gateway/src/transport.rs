//! The HTTP requests of Engine.IO: what is checked before the library sees them,
//! and which session they belong to.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tungstenite::handshake::derive_accept_key;

use crate::connection::{Ending, Stream, Wire};
use crate::gateway::Gateway;
use crate::origin::AllowedOrigins;
use crate::session::{Session, Sessions};
use crate::socket::{self, flusher::Flushers};

/// Where Engine.IO is.
pub(crate) const PATH: &str = "/socket.io";

/// How long a request's body may take to come in and to be taken.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take from its first request to CONNECT.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How many packets the library keeps for a client: those that are handed over to
/// it at a time, and its own (heartbeats, CONNECT).
const LIBRARY_QUEUE: usize = 128;
/// The largest integer that every JSON parser reads: no limit.
const NO_LIMIT: u64 = chat_domain::MAX_NUMBER;
/// What the library keeps for each connection to read a WebSocket; what was read from
/// the machine waits in the connection.
const READ_BUFFER: usize = 128;
/// Engine.IO's record separator, between the packets of a response.
const SEPARATOR: u8 = 0x1e;
/// Engine.IO's packet that says nothing: it ends a request while the session moves
/// to a WebSocket.
const NOOP: &str = "6";
/// The first byte of Engine.IO's packets «message», which carry Socket.IO's.
const MESSAGE: u8 = b'4';

/// The library, with nothing beside it: other paths do not come here.
type Library = SocketIoService<Router>;

/// Serves `/socket.io/`.
#[derive(Clone)]
pub(crate) struct Transport {
    library: Library,
    sessions: Arc<Sessions>,
    origins: Arc<AllowedOrigins>,
    cors: CorsLayer,
}

impl Transport {
    pub(crate) fn new(gateway: &Arc<Gateway>, origins: AllowedOrigins) -> Self {
        let max_packet = match gateway.limits.max_packet_bytes {
            0 => NO_LIMIT,
            bytes => bytes as u64,
        };
        let max_message = usize::try_from(max_packet).unwrap_or(usize::MAX);
        // No binary attachments: no event has any, and they would be kept in memory
        // until the packet is whole. One is let through, so that it is answered.
        let parser = ParserConfig::common().max_incoming_binaries(1);
        let (library, io) = SocketIo::builder()
            .with_parser(parser)
            .connect_timeout(CONNECT_DEADLINE)
            .max_buffer_size(LIBRARY_QUEUE)
            .max_payload(max_packet)
            .ws_max_message_size(max_message)
            .ws_max_frame_size(max_message)
            .ws_read_buffer_size(READ_BUFFER)
            .build_with_inner_svc(Router::new());
        socket::serve_namespace(&io, gateway);

        let sessions = Arc::new(Sessions::default());
        let ending = library.clone();
        sessions.end_polling_with(move |sid| end_polling(&ending, sid));

        let origins = Arc::new(origins);
        let allowed = origins.clone();
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, request| {
                allowed.allow(origin, request)
            }))
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .max_age(Duration::from_secs(600));
        Self {
            library,
            sessions,
            origins,
            cors,
        }
    }

    /// Who writes what waits for the clients.
    pub(crate) fn flushers(&self) -> &Flushers {
        self.sessions.flushers()
    }

    /// Whether a request is for here.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request that came in on this connection.
    pub(crate) async fn respond(
        &self,
        wire: &Arc<Wire>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(self.respond_within(wire, request).await)
        });
        let Ok(response) = self.cors.layer(service).oneshot(request).await;
        response
    }

    async fn respond_within(&self, wire: &Arc<Wire>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let is_websocket = parameter(query, "transport") == Some("websocket");
        let sid = parameter(query, "sid").map(str::to_owned);
        // A browser asks before it uses a response, but not before it opens a
        // WebSocket.
        if is_websocket
            && let Some(origin) = parts.headers.get(ORIGIN)
            && !self.origins.allow(origin, &parts)
        {
            return answer(StatusCode::FORBIDDEN, "origin not allowed");
        }
        let method = parts.method.clone();
        let request = Request::from_parts(parts, body);
        let Some(sid) = sid else {
            return self.begin(wire, request, is_websocket).await;
        };
        let Some(session) = self.sessions.find(&sid) else {
            return self.library(request).await;
        };
        if session.ended().is_cancelled() {
            return unknown_session();
        }
        if is_websocket {
            if session.has_websocket() {
                return answer(StatusCode::BAD_REQUEST, "the session has a WebSocket");
            }
            return self.upgrade(wire, &session, request).await;
        }
        tokio::select! {
            biased;
            () = session.ended().cancelled() => unknown_session(),
            response = self.poll(&session, request, method) => response,
        }
    }

    /// A request without `sid` begins a session.
    async fn begin(
        &self,
        wire: &Arc<Wire>,
        mut request: Request<Incoming>,
        is_websocket: bool,
    ) -> Response<Body> {
        let session = self.sessions.begin();
        request.extensions_mut().insert(session.clone());
        if is_websocket {
            return match accept_key(&request) {
                Some(key) => self.open_websocket(wire, &session, request, &key),
                None => self.upgrade(wire, &session, request).await,
            };
        }
        let response = self.library(request).await;
        let (response, body) = read_whole(response).await;
        if response.status() == StatusCode::OK
            && let Some(sid) = sid_of_open(&body)
        {
            self.sessions.began_polling(&session, &sid);
        }
        response
    }

    /// A WebSocket for a new session. The library gets the connection itself, and of
    /// the request only what is looked at later: what it gets it keeps, and hyper's
    /// buffer with it.
    fn open_websocket(
        &self,
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
        let mut library = self.library.clone();
        // Ends with the response: hyper drops the other half with the connection.
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
                return;
            };
            let mut stream = parts.io.into_inner();
            stream.unread(&parts.read_buf);
            if let Err(error) = library.call((stream, kept)).await {
                tracing::debug!(%error, "a WebSocket cannot be served");
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

    /// A WebSocket for a session that upgrades, or a request for one that is answered
    /// with what is wrong.
    async fn upgrade(
        &self,
        wire: &Arc<Wire>,
        session: &Arc<Session>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let response = self.library(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            session.carried_by(wire);
        }
        response
    }

    /// A request of long-polling, in either direction.
    async fn poll(
        &self,
        session: &Session,
        request: Request<Incoming>,
        method: Method,
    ) -> Response<Body> {
        if method == Method::POST {
            // What the client sent before is answered first, as on a WebSocket.
            let taken = async {
                session.outbox().uncongested().await;
                self.library(request).await
            };
            return match tokio::time::timeout(BODY_DEADLINE, taken).await {
                Ok(response) => response,
                Err(_) => {
                    session.end(Ending::Abort);
                    answer(StatusCode::REQUEST_TIMEOUT, "the request took too long")
                }
            };
        }
        let mut response = pin!(self.library(request));
        let mut is_first = true;
        let response = poll_fn(|cx| {
            if !std::mem::take(&mut is_first) {
                return response.as_mut().poll(cx);
            }
            let polled = session.poll_before_websocket(|| response.as_mut().poll(cx));
            polled.unwrap_or_else(|| Poll::Ready(answer(StatusCode::OK, NOOP)))
        });
        let (response, body) = read_whole(response.await).await;
        if response.status() == StatusCode::OK {
            session.outbox().left(count_packets(&body));
        }
        response
    }

    async fn library<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + std::fmt::Debug + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Ok(response) = self.library.clone().call(request).await;
        response.map(Body::new)
    }
}

/// The key of a request for a WebSocket in which nothing is wrong; the library answers
/// others.
fn accept_key<B>(request: &Request<B>) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let headers = request.headers();
    let names = |header, name: &str| {
        let values = headers.get_all(header).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(name))
    };
    let is_well = request.method() == Method::GET
        && parameter(query, "EIO") == Some("4")
        && names(UPGRADE, "websocket")
        && names(CONNECTION, "upgrade");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_well)?;
    key.to_str().ok().map(str::to_owned)
}

/// What is looked at after the request: its query, where a token may be, the header for
/// one, and the session. Copies: slices would keep the connection's buffer.
fn kept_of<B>(request: &Request<B>, session: &Arc<Session>) -> Request<()> {
    let mut kept = Request::new(());
    if let Ok(uri) = request.uri().to_string().parse() {
        *kept.uri_mut() = uri;
    }
    if let Some(token) = request.headers().get(AUTHORIZATION)
        && let Ok(token) = HeaderValue::from_bytes(token.as_bytes())
    {
        kept.headers_mut().insert(AUTHORIZATION, token);
    }
    kept.extensions_mut().insert(session.clone());
    kept
}

/// Ends a long-polling session as its client would: with a packet «close».
fn end_polling(library: &Library, sid: &str) {
    let uri = format!("{PATH}/?EIO=4&transport=polling&sid={sid}");
    let Ok(request) = Request::post(uri).body(Full::new(Bytes::from_static(b"1"))) else {
        return;
    };
    let mut library = library.clone();
    // It ends by itself: the body is here, and nothing in it waits.
    tokio::spawn(async move {
        let Ok(_) = library.call(request).await;
    });
}

/// A parameter of the query, as the library reads it: the first, undecoded.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Reads a response of long-polling, which the library has made in one piece.
async fn read_whole(response: Response<Body>) -> (Response<Body>, Bytes) {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            (
                Response::from_parts(parts, Body::from(bytes.clone())),
                bytes,
            )
        }
        Err(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (answer(status, "the response broke"), Bytes::new())
        }
    }
}

/// The id in Engine.IO's first packet: `0{"sid":"…",…}`.
fn sid_of_open(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Open {
        sid: String,
    }
    let open: Open = serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
    Some(open.sid)
}

/// How many packets of Socket.IO are in a response of long-polling.
fn count_packets(body: &[u8]) -> usize {
    body.split(|&byte| byte == SEPARATOR)
        .filter(|packet| packet.first() == Some(&MESSAGE))
        .count()
}

/// What Engine.IO says of a session that is not there.
fn unknown_session() -> Response<Body> {
    let mut response = answer(
        StatusCode::BAD_REQUEST,
        r#"{"code":"1","message":"Session ID unknown"}"#,
    );
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn answer(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
