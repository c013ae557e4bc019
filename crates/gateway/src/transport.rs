//! The HTTP requests of Engine.IO: what is checked before socketioxide sees them, and which
//! session they belong to.

mod polling;
pub(crate) mod query;
mod websocket;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, ORIGIN, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use self::query::{BadQuery, Query, TransportName};
use crate::admission::{Admission, Carrier};
use crate::client_address::TrustedProxies;
use crate::clients::{Clients, Draining};
use crate::gateway::Gateway;
use crate::limits::{
    BEGINNING_INTERVAL, BEGINNINGS_AHEAD, CONNECT_DEADLINE, FULL_RETRY_AFTER, MAX_BEGINNING_WAIT,
    SOCKETIOXIDE_QUEUE, WEBSOCKET_READ_BUFFER,
};
use crate::origin::AllowedOrigins;
use crate::rates::RetryAfter;
use crate::refusals::Limit;
use crate::session::{PacketLimit, Sessions};
use crate::socket::flusher::Flushers;
use crate::socket::namespace;
use crate::spacing::Spacing;
use crate::wire::Wire;

/// The path of Engine.IO.
pub(crate) const PATH: &str = "/socket.io";

/// The largest integer that every JSON parser reads: no limit.
const NO_LIMIT: u64 = chat_domain::MAX_NUMBER;

/// socketioxide, without a service behind it: other paths do not come here.
type SocketIoxide = SocketIoService<Router>;

/// Serves `/socket.io/`.
#[derive(Clone)]
pub(crate) struct Transport {
    socketioxide: SocketIoxide,
    sessions: Arc<Sessions>,
    gateway: Arc<Gateway>,
    admission: Arc<Admission>,
    origins: Arc<AllowedOrigins>,
    trusted_proxies: Arc<TrustedProxies>,
    /// When sessions begin.
    beginnings: Arc<Spacing>,
    cors: CorsLayer,
}

impl Transport {
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        clients: &Arc<Clients>,
        origins: AllowedOrigins,
        trusted_proxies: Arc<TrustedProxies>,
    ) -> Self {
        let max_packet = match gateway.limits.max_packet_bytes {
            0 => NO_LIMIT,
            bytes => bytes as u64,
        };
        let max_message = usize::try_from(max_packet).unwrap_or(usize::MAX);
        // Binary attachments are not accepted: no event has any, and they would be kept in
        // memory until the packet is whole. One passes, so that it is answered.
        let parser = ParserConfig::common().max_incoming_binaries(1);
        let (socketioxide, io) = SocketIo::builder()
            .with_parser(parser)
            .connect_timeout(CONNECT_DEADLINE)
            .max_buffer_size(SOCKETIOXIDE_QUEUE)
            .max_payload(max_packet)
            .ws_max_message_size(max_message)
            .ws_max_frame_size(max_message)
            .ws_read_buffer_size(WEBSOCKET_READ_BUFFER)
            .build_with_inner_svc(Router::new());
        namespace::serve(&io, gateway, clients);

        let packet_limit = PacketLimit {
            max_bytes: max_packet,
            refusals: gateway.refusals.clone(),
        };
        let sessions = Arc::new(Sessions::new(packet_limit, gateway.metrics.clone()));
        let ending = socketioxide.clone();
        sessions.end_polling_with(move |sid| polling::end(&ending, sid));

        let processors = std::thread::available_parallelism();
        let processors = processors.map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
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
            socketioxide,
            sessions,
            gateway: gateway.clone(),
            admission: Admission::new(gateway.limits.max_connections),
            origins,
            trusted_proxies,
            beginnings: Arc::new(Spacing::new(BEGINNING_INTERVAL / processors)),
            cors,
        }
    }

    /// Returns what writes to the clients.
    pub(crate) fn flushers(&self) -> &Flushers {
        self.sessions.flushers()
    }

    /// Returns the places of this node.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Waits while many handshakes wait for their turn.
    pub(crate) async fn may_accept(&self) {
        self.beginnings.close_to(BEGINNINGS_AHEAD).await;
    }

    /// Returns whether a path is served here.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request that arrived on this connection from this peer.
    pub(crate) async fn respond(
        &self,
        wire: &Arc<Wire>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(self.respond_within_cors(wire, peer, request).await)
        });
        let Ok(response) = self.cors.layer(service).oneshot(request).await;
        response
    }

    async fn respond_within_cors(
        &self,
        wire: &Arc<Wire>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let query = match Query::parse(request.uri().query().unwrap_or_default()) {
            Ok(query) => query,
            Err(bad) => return refuse(bad),
        };
        let (mut parts, body) = request.into_parts();
        // A browser does not check the origin before it opens a WebSocket or polls, only before
        // a page reads the response to a poll.
        if let Some(origin) = parts.headers.get(ORIGIN)
            && !self.origins.allow(origin, &parts)
        {
            return answer(StatusCode::FORBIDDEN, "origin not allowed");
        }
        let Some(uri) = query.canonical_uri() else {
            return answer(StatusCode::BAD_REQUEST, "malformed query");
        };
        parts.uri = uri;
        let request = Request::from_parts(parts, body);
        let Some(sid) = &query.sid else {
            let Gateway {
                draining, closing, ..
            } = &*self.gateway;
            if draining.is_cancelled() && *closing != Draining::AtOnce {
                self.gateway.metrics.sent_elsewhere();
                return send_elsewhere();
            }
            let client = self.trusted_proxies.client_of(peer, request.headers());
            return self.begin(wire, client, request, query.transport).await;
        };
        let Some(session) = self.sessions.find(sid) else {
            return refuse(BadQuery::UnknownSession);
        };
        if session.ended().is_cancelled() {
            return refuse(BadQuery::UnknownSession);
        }
        match query.transport {
            TransportName::WebSocket if session.has_websocket() => {
                answer(StatusCode::BAD_REQUEST, "the session has a WebSocket")
            }
            TransportName::WebSocket if websocket::accept_key(&request).is_none() => {
                answer(StatusCode::BAD_REQUEST, "malformed WebSocket handshake")
            }
            TransportName::WebSocket => {
                websocket::upgrade(&self.socketioxide, wire, &session, request).await
            }
            TransportName::Polling => tokio::select! {
                biased;
                () = session.ended().cancelled() => refuse(BadQuery::UnknownSession),
                response = polling::respond(&self.socketioxide, &session, request) => {
                    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
                        let refusals = &self.gateway.refusals;
                        refusals.count(Limit::PacketBytes, session.client_address());
                    }
                    response
                }
            },
        }
    }

    /// Begins a session for a request without `sid`, unless a limit refuses it.
    async fn begin(
        &self,
        wire: &Arc<Wire>,
        client: IpAddr,
        mut request: Request<Incoming>,
        transport: TransportName,
    ) -> Response<Body> {
        let Gateway {
            rates, refusals, ..
        } = &*self.gateway;
        if let Err(RetryAfter(wait)) = rates.check_handshake(client) {
            refusals.count(Limit::ConnectRate, client);
            let status = StatusCode::TOO_MANY_REQUESTS;
            return refuse_for_now(status, "too many handshakes from this address", wait);
        }
        match self.beginnings.take(MAX_BEGINNING_WAIT) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => {
                refusals.count(Limit::WaitingHandshakes, client);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return refuse_for_now(status, "too many handshakes", wait);
            }
        };
        let carrier = match transport {
            TransportName::Polling => Carrier::Polling,
            TransportName::WebSocket => Carrier::WebSocket,
        };
        let place = match self.admission.take(carrier) {
            Ok(place) => place,
            Err(limit) => {
                refusals.count(limit, client);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return refuse_for_now(status, "too many connections", FULL_RETRY_AFTER);
            }
        };
        let socketioxide = &self.socketioxide;
        let session = self.sessions.begin(client, place);
        request.extensions_mut().insert(session.clone());
        match transport {
            TransportName::Polling => {
                polling::begin(socketioxide, &self.sessions, &session, request).await
            }
            TransportName::WebSocket => match websocket::accept_key(&request) {
                Some(key) => websocket::open(socketioxide, wire, &session, request, &key),
                None => answer(StatusCode::BAD_REQUEST, "malformed WebSocket handshake"),
            },
        }
    }
}

async fn call<B>(socketioxide: &SocketIoxide, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + std::fmt::Debug + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let Ok(response) = socketioxide.clone().call(request).await;
    response.map(Body::new)
}

/// Answers a request that would begin a session while this node drains: a proxy tries the
/// next node, and the standard client retries by itself. After a CONNECT_ERROR it would not.
fn send_elsewhere() -> Response<Body> {
    refuse_for_now(StatusCode::SERVICE_UNAVAILABLE, "draining", Duration::ZERO)
}

/// Refuses to begin a session, and states after how long another attempt may succeed.
fn refuse_for_now(status: StatusCode, text: &'static str, wait: Duration) -> Response<Body> {
    let mut response = answer(status, text);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // The header counts whole seconds.
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    response
}

/// Answers a bad query as Engine.IO does.
fn refuse(bad: BadQuery) -> Response<Body> {
    let text = match bad {
        BadQuery::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
        BadQuery::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
        BadQuery::WrongTransport => r#"{"code":3,"message":"Bad request"}"#,
        BadQuery::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
    };
    let mut response = answer(StatusCode::BAD_REQUEST, text);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn answer(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
