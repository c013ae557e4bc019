//! The server API: what the product's backend asks for over HTTP, below `/api/v1`.
//!
//! A request is refused unless it presents one of the [keys]. Then its body is read, and a
//! task carries it out to the end, whatever becomes of its connection: what it changes is always
//! announced, and a shutdown waits for it. The handlers parse, call the use cases that sockets
//! call as well, and answer.

mod answer;
mod changes;
mod description;
mod erasure;
mod error;
mod export;
mod extract;
mod import;
pub(crate) mod keys;
mod members;
mod messages;
mod operation;
pub(crate) mod rereading;
mod rooms;
mod sanctions;
pub(crate) mod schemas;
mod stats;
mod users;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chat_domain::use_cases::{Actor, RulesChange, RulesRequest};
use chat_domain::{RoomId, UserId};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

#[cfg(test)]
pub(crate) use self::error::ApiCode;
use self::error::ApiError;
use self::keys::CurrentApiKeys;
pub(crate) use self::operation::Operation;
use crate::client_address::TrustedProxies;
use crate::clients::Clients;
use crate::gateway::Gateway;
use crate::limits::{API_BODY_BYTES, BODY_DEADLINE, MAX_IMPORTS, REQUEST_DEADLINE};
use crate::rates::RetryAfter;
use crate::refusals::Limit;
use crate::rules;
use crate::socket::reply::Failure;
use crate::statistics::Statistics;

/// What every path of the API begins with.
const PREFIX: &str = "/api/v1";
/// Paths that begin like this belong to the API.
const RESERVED: &str = "/api";

/// What the handlers work with.
#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    clients: Arc<Clients>,
    statistics: Arc<Statistics>,
    /// One permit for each further import.
    imports: Arc<Semaphore>,
}

/// Serves the API.
pub(crate) struct Api {
    router: Router,
    keys: CurrentApiKeys,
    gateway: Arc<Gateway>,
    trusted_proxies: Arc<TrustedProxies>,
    /// The requests in progress, and the connections on which they arrived.
    requests: TaskTracker,
}

/// Whether a connection has carried a request of the API. If so, a shutdown waits until it has
/// carried the answer, too.
#[derive(Default)]
pub(crate) struct ApiConnection(OnceLock<TaskTrackerToken>);

impl ApiConnection {
    pub(crate) fn is_used(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Api {
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        clients: &Arc<Clients>,
        statistics: Arc<Statistics>,
        trusted_proxies: Arc<TrustedProxies>,
        keys: CurrentApiKeys,
    ) -> Self {
        let shared = Shared {
            gateway: gateway.clone(),
            clients: clients.clone(),
            statistics,
            imports: Arc::new(Semaphore::new(MAX_IMPORTS)),
        };
        let (routes, description) = described_routes().split_for_parts();
        let description = Bytes::from(description::complete(description));
        let routes = routes.route(
            "/openapi.json",
            axum::routing::get(async move || answer::encoded(StatusCode::OK, description)),
        );
        let router = Router::new()
            .nest(PREFIX, routes)
            .fallback(async || ApiError::no_such_path())
            .method_not_allowed_fallback(other_method)
            .with_state(shared);
        Self {
            router,
            keys,
            gateway: gateway.clone(),
            trusted_proxies,
            requests: TaskTracker::new(),
        }
    }

    /// Returns whether a path belongs to the API.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(RESERVED)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Waits until no request is in progress, and all are answered. Further ones are refused: the
    /// gateway drains.
    pub(crate) async fn drain(&self) {
        self.requests.close();
        self.requests.wait().await;
    }

    /// Answers a request that arrived from this peer on this connection.
    pub(crate) async fn respond(
        &self,
        connection: &ApiConnection,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Response {
        let begun = Instant::now();
        connection.0.get_or_init(|| self.requests.token());
        let method = request.method().clone();
        let operation = Operation::of(&method, request.uri().path());
        let client = self.trusted_proxies.client_of(peer, request.headers());
        let outcome = match self.admit(client, &request) {
            Ok(()) => self.carry_out(operation, request).await,
            Err(refused) => Err(refused),
        };
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        if method == Method::HEAD {
            without_body(&mut response);
        }
        if self.gateway.draining.is_cancelled() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let metrics = &self.gateway.metrics;
        metrics.api_request(operation, response.status(), begun.elapsed());
        response
    }

    /// Checks that a request may be carried out.
    fn admit(&self, client: IpAddr, request: &Request<Incoming>) -> Result<(), ApiError> {
        let mut presented = request.headers().get_all(AUTHORIZATION).iter();
        let presented = match (presented.next(), presented.next()) {
            (Some(one), None) => Some(one.as_bytes()),
            _ => None,
        };
        let Some(key) = self.keys.find(presented) else {
            return Err(self.refuse(client));
        };
        tracing::debug!(key = &*key, %client, "a request of the server API");
        match self.gateway.draining.is_cancelled() {
            true => Err(ApiError::draining()),
            false => Ok(()),
        }
    }

    /// Refuses a request without a valid key. A valid key is never refused because of others:
    /// no number of attempts finds a key of 32 bytes, and behind a proxy that is not trusted all
    /// clients have one address. What is limited is what refusals cost.
    fn refuse(&self, client: IpAddr) -> ApiError {
        let Gateway {
            rates, refusals, ..
        } = &*self.gateway;
        match rates.check_refused_key(client) {
            Ok(()) => ApiError::unauthorized(),
            Err(RetryAfter(wait)) => {
                refusals.count(Limit::RefusedKeys, client);
                ApiError::too_many_refused(wait)
            }
        }
    }

    /// Reads the body, and lets a task carry the request out.
    async fn carry_out(
        &self,
        operation: Operation,
        request: Request<Incoming>,
    ) -> Result<Response, ApiError> {
        let writes = Operation::writes(request.method());
        let (parts, body) = request.into_parts();
        let body = match operation {
            // It reads its body itself, as fast as it stores it.
            Operation::ImportMessages => Body::new(body),
            _ if writes => Body::from(read(body).await?),
            // It has no meaning.
            _ => Body::empty(),
        };
        let deadline = match operation {
            Operation::ImportMessages => None,
            _ => Some(REQUEST_DEADLINE),
        };
        let request = Request::from_parts(parts, body);
        let router = self.router.clone();
        let carried_out = self.requests.spawn(async move {
            let Ok::<_, Infallible>(response) = router.oneshot(request).await;
            response
        });
        match within(deadline, carried_out).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(failed)) => Err(match failed.try_into_panic() {
                Ok(panic) => Failure::panicked(&*panic),
                Err(_) => Failure::internal("a request was not carried out to the end"),
            }
            .into()),
            Err(_) if writes => Err(ApiError::outcome_unknown()),
            Err(_) => Err(ApiError::unavailable("the request took too long")),
        }
    }
}

/// Awaits something for a time, if there is a limit.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, Elapsed> {
    match limit {
        Some(limit) => timeout(limit, future).await,
        None => Ok(future.await),
    }
}

/// Returns the routes below the prefix, with their description.
fn described_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(description::base())
        .merge(rooms::routes())
        .merge(members::routes())
        .merge(sanctions::routes())
        .merge(messages::routes())
        .merge(import::routes())
        .merge(changes::routes())
        .merge(users::routes())
        .merge(erasure::routes())
        .merge(export::routes())
        .merge(stats::routes())
}

/// Changes where a user stands with a room, at the product's request.
async fn change_user(
    shared: &Shared,
    room_id: RoomId,
    user_id: UserId,
    change: RulesChange,
) -> Result<Response, ApiError> {
    let Shared {
        gateway, clients, ..
    } = shared;
    let request = RulesRequest::User { user_id, change };
    let changing = gateway
        .change_rules
        .execute(Actor::Product, room_id, &request);
    let changed = changing.await?;
    rules::changed(
        gateway,
        clients,
        Actor::Product,
        room_id,
        &request,
        &changed,
    )
    .await;
    Ok(answer::done())
}

/// Reads a body.
async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    match timeout(BODY_DEADLINE, Limited::new(body, API_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(API_BODY_BYTES))
        }
        Ok(Err(_)) | Err(_) => Err(ApiError::body_incomplete()),
    }
}

/// Answers a method that a path does not have. The router adds `Allow`.
async fn other_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => answer::done(),
        _ => ApiError::no_such_method().into_response(),
    }
}

/// Leaves the head of an answer alone, with the length that its body would have.
fn without_body(response: &mut Response) {
    use http_body::Body as _;

    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0) {
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}
