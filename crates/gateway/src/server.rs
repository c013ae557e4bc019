//! Accepting connections, and draining.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};

use axum::body::Body;
use chat_delivery::ChangesListener;
use chat_domain::one_line;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::api::{Api, ApiConnection};
use crate::app::App;
use crate::clients::Draining;
use crate::erasure;
use crate::free_memory;
use crate::limits::{
    ACCEPT_PAUSE, CLOSE_DEADLINE, DRAIN_DEADLINE, HEADER_DEADLINE, MAX_API_CONNECTIONS,
};
use crate::lock;
use crate::refusals::Limit;
use crate::rules;
use crate::supervisor::Supervisor;
use crate::transport::Transport;
use crate::wire::{Stream, Wire};

/// The answer to a request under a name that is not served.
const FOREIGN_HOST: &str = "Host must be a loopback name: use localhost or 127.0.0.1\n";

/// The answer to a connection that is one too many.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Serves connections from the listener until `shutdown` completes. Then no session begins
/// any more, what clients asked for is finished and acknowledged, and their transports are
/// closed as the app's [`Draining`] says: within ten seconds in all.
///
/// # Errors
/// When the listener's address cannot be read, and when a task that must keep running has
/// ended: the gateway then drains as well. A failed accept is retried.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (app, mut ports) = ports(listener, app)?;
    let mut supervisor = supervise(&app);

    let outcome = tokio::select! {
        () = ports.accept(&app) => Ok(()),
        () = shutdown => Ok(()),
        task = supervisor.failed() => {
            Err(io::Error::other(format!("the task that {task} has ended")))
        }
    };
    tracing::info!(connections = app.clients.count(), "draining");
    app.gateway.draining.cancel();
    // A gateway of which a part has ended serves no client any longer than it must.
    let draining = match outcome {
        Ok(()) => app.gateway.closing,
        Err(_) => Draining::AtOnce,
    };
    // Requests are still answered: those of the clients, `/readyz` with 503, and what would
    // begin a session with a refusal.
    let drained = tokio::select! {
        () = ports.accept(&app) => Ok(()),
        drained = tokio::time::timeout(DRAIN_DEADLINE, drain(&app, draining)) => drained,
    };
    ports.close();
    if drained.is_err() {
        tracing::warn!("some events were not finished in time");
        app.clients.end_all();
    }
    app.gateway.tasks.close();
    let closed = app.gateway.tasks.wait();
    tokio::time::timeout(CLOSE_DEADLINE, closed).await.ok();
    let stored = tokio::time::timeout(CLOSE_DEADLINE, app.gateway.presence.stop());
    if let Ok(Err(error)) = stored.await {
        tracing::warn!(error = %one_line(&error), "last visits were not stored");
    }
    tracing::info!("stopped");
    outcome
}

/// Starts the tasks that must keep running.
fn supervise(app: &App) -> Supervisor {
    let mut supervisor = Supervisor::new(app.liveness.clone());
    let (gateway, clients) = (&app.gateway, &app.clients);
    let listeners: Vec<Arc<dyn ChangesListener>> =
        vec![gateway.watchers.clone(), gateway.presence.clone()];
    supervisor.spawn(
        "compares rooms with the log",
        gateway.rooms.clone().reconcile(Arc::new(listeners)),
    );
    supervisor.spawn("keeps presence current", gateway.presence.clone().run());
    supervisor.spawn("updates watched rooms", gateway.watchers.clone().run());
    supervisor.spawn(
        "finds the rooms to be watched",
        gateway.watchers.clone().keep_windows(),
    );
    supervisor.spawn(
        "disconnects stalled clients",
        clients.clone().disconnect_stalled(),
    );
    supervisor.spawn(
        "ends expired connections",
        clients.clone().end_expired(gateway.clock.clone()),
    );
    supervisor.spawn(
        "applies revocations and disconnections",
        gateway.sanctions.clone().follow(),
    );
    supervisor.spawn(
        "applies changed rules",
        rules::apply_changes(gateway.clone(), clients.clone()),
    );
    supervisor.spawn(
        "erases users",
        erasure::erase_users(gateway.clone(), clients.clone()),
    );
    for task in lock(&app.tasks).drain(..) {
        supervisor.spawn(task.name, task.future);
    }
    supervisor.spawn("forgets idle users and addresses", {
        let gateway = gateway.clone();
        async move { gateway.rates.forget_idle().await }
    });
    let admission = app.transport.admission().clone();
    supervisor.spawn(
        "returns free memory",
        free_memory::return_after_peaks(admission),
    );
    for flusher in app.transport.flushers().all() {
        supervisor.spawn("writes to clients", flusher.run());
    }
    if let Some(nodes) = app.nodes.clone() {
        supervisor.spawn("exchanges hints with other nodes", async move {
            nodes.health.stopped().await;
        });
    }
    let storage = app.storage.clone();
    supervisor.spawn("stores messages", async move {
        let task = storage.stopped().await;
        tracing::error!(task, "a task of the storage has ended");
    });
    supervisor
}

/// Finishes what clients and the product's backend asked for.
async fn drain(app: &App, draining: Draining) {
    let requests = async {
        if let Some(api) = &app.api {
            api.drain().await;
        }
    };
    tokio::join!(app.clients.drain(draining), requests);
}

/// What is served at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// Everything.
    All,
    /// Everything except for the server API, which has a port of its own.
    AllButApi,
    /// The server API alone.
    ApiAlone,
}

/// The ports that are open.
struct Ports(Vec<Port>);

struct Port {
    /// `None` once it is closed.
    listener: Option<TcpListener>,
    served: Served,
    /// Ends what is left when it is dropped: connections without a client.
    connections: JoinSet<()>,
}

/// Opens the ports.
fn ports(listener: TcpListener, mut app: App) -> io::Result<(Arc<App>, Ports)> {
    let api_listener = app.api_listener.take();
    let address = listener.local_addr()?;
    let served = match api_listener {
        Some(_) => Served::AllButApi,
        None => Served::All,
    };
    let mut ports = vec![Port::new(listener, served)];
    if let Some(listener) = api_listener {
        let address = listener.local_addr()?;
        tracing::info!(%address, "listening for the server API");
        ports.push(Port::new(listener, Served::ApiAlone));
    }
    tracing::info!(%address, "listening");
    Ok((Arc::new(app), Ports(ports)))
}

impl Ports {
    /// Accepts connections. Runs until it is dropped.
    async fn accept(&mut self, app: &Arc<App>) {
        join_all(self.0.iter_mut().map(|port| port.accept(app))).await;
    }

    /// Accepts none any more. Those that are open stay open.
    fn close(&mut self) {
        for port in &mut self.0 {
            port.listener = None;
        }
    }
}

impl Port {
    fn new(listener: TcpListener, served: Served) -> Self {
        Self {
            listener: Some(listener),
            served,
            connections: JoinSet::new(),
        }
    }

    /// Accepts connections. Runs until it is dropped, unless the port is closed.
    async fn accept(&mut self, app: &Arc<App>) {
        let Some(listener) = &self.listener else {
            return;
        };
        let (max_connections, limit) = match self.served {
            // Those that carry a WebSocket are not among them: admission limits those.
            Served::All | Served::AllButApi => (
                app.transport.admission().max_http_connections(),
                Limit::HttpConnections,
            ),
            Served::ApiAlone => (MAX_API_CONNECTIONS, Limit::ApiConnections),
        };
        loop {
            // Forget the connections that have ended.
            while self.connections.try_join_next().is_some() {}
            if self.served != Served::ApiAlone {
                app.transport.may_accept().await;
            }
            match listener.accept().await {
                Ok((tcp, peer)) if self.connections.len() >= max_connections => {
                    app.gateway.refusals.count(limit, peer.ip());
                    // The kernel takes so little at once, or the peer has gone.
                    tcp.try_write(TOO_MANY_CONNECTIONS).ok();
                }
                Ok((tcp, peer)) => {
                    let served = serve_connection(app.clone(), self.served, tcp, peer.ip());
                    self.connections.spawn(served);
                }
                Err(error) => {
                    tracing::warn!(error = %one_line(&error), "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(app: Arc<App>, served: Served, tcp: TcpStream, peer: IpAddr) {
    // It may have ended already.
    let Ok(stream) = Stream::new(tcp) else { return };
    let api_connection = Arc::new(ApiConnection::default());
    let connection = Connection {
        wire: Arc::downgrade(stream.wire()),
        peer,
        served,
        api: api_connection.clone(),
    };
    let draining = app.gateway.draining.clone();
    let service = service_fn(move |request| {
        let (app, connection) = (app.clone(), connection.clone());
        async move { respond(&app, &connection, request).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let drains = async {
        draining.cancelled().await;
        // The clients close theirs, each in its turn.
        if !api_connection.is_used() {
            std::future::pending().await
        }
    };
    let served = tokio::select! {
        biased;
        served = &mut serving => served,
        () = drains => {
            // The answer to a request in progress still leaves.
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %one_line(&error), "a connection ended");
    }
}

/// A connection, as its requests know it.
#[derive(Clone)]
struct Connection {
    wire: Weak<Wire>,
    peer: IpAddr,
    served: Served,
    api: Arc<ApiConnection>,
}

/// Answers a request.
///
/// # Errors
/// Its connection has ended.
async fn respond(
    app: &App,
    connection: &Connection,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let wire = connection.wire.upgrade();
    let wire = wire.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok(respond_on(app, connection, &wire, request).await)
}

async fn respond_on(
    app: &App,
    connection: &Connection,
    wire: &Arc<Wire>,
    request: Request<Incoming>,
) -> Response<Body> {
    let Connection { peer, served, .. } = *connection;
    if !app.served_hosts.allow(request.headers()) {
        let mut response = Response::new(Body::from(FOREIGN_HOST));
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    let path = request.uri().path();
    if let Some(api) = &app.api
        && (served == Served::ApiAlone || served == Served::All && Api::serves(path))
    {
        return api.respond(&connection.api, peer, request).await;
    }
    if Transport::serves(path) {
        return app.transport.respond(wire, peer, request).await;
    }
    let Ok::<_, Infallible>(response) = app.pages.clone().oneshot(request.map(Body::new)).await;
    response
}

#[cfg(test)]
mod tests;
