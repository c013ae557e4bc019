//! Accepting connections, and draining.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use chat_domain::one_line;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::app::App;
use crate::clients::Draining;
use crate::free_memory;
use crate::limits::{ACCEPT_PAUSE, CLOSE_DEADLINE, DRAIN_DEADLINE, HEADER_DEADLINE};
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
    let address = listener.local_addr()?;
    let app = Arc::new(app);
    // Ends what is left when this returns: connections without a client.
    let mut connections = JoinSet::new();
    let mut supervisor = supervise(&app);
    tracing::info!(%address, "listening");

    let outcome = tokio::select! {
        () = accept(&listener, &app, &mut connections) => Ok(()),
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
        () = accept(&listener, &app, &mut connections) => Ok(()),
        drained = tokio::time::timeout(DRAIN_DEADLINE, app.clients.drain(draining)) => drained,
    };
    drop(listener);
    if drained.is_err() {
        tracing::warn!("some events were not finished in time");
        app.clients.end_all();
    }
    app.gateway.tasks.close();
    let closed = app.gateway.tasks.wait();
    tokio::time::timeout(CLOSE_DEADLINE, closed).await.ok();
    tracing::info!("stopped");
    outcome
}

/// Starts the tasks that must keep running.
fn supervise(app: &App) -> Supervisor {
    let mut supervisor = Supervisor::new(app.liveness.clone());
    let (gateway, clients) = (&app.gateway, &app.clients);
    supervisor.spawn(
        "compares rooms with the log",
        gateway.rooms.clone().reconcile(gateway.watchers.clone()),
    );
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
        "applies changed rules",
        rules::apply_changes(gateway.clone(), clients.clone()),
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

/// Accepts connections. Runs until it is dropped.
async fn accept(listener: &TcpListener, app: &Arc<App>, connections: &mut JoinSet<()>) {
    // Those that carry a WebSocket are not among them: admission limits those.
    let max_connections = app.transport.admission().max_http_connections();
    loop {
        // Forget the connections that have ended.
        while connections.try_join_next().is_some() {}
        app.transport.may_accept().await;
        match listener.accept().await {
            Ok((tcp, peer)) if connections.len() >= max_connections => {
                app.gateway
                    .refusals
                    .count(Limit::HttpConnections, peer.ip());
                // The kernel takes so little at once, or the peer has gone.
                tcp.try_write(TOO_MANY_CONNECTIONS).ok();
            }
            Ok((tcp, peer)) => {
                connections.spawn(serve_connection(app.clone(), tcp, peer.ip()));
            }
            Err(error) => {
                tracing::warn!(error = %one_line(&error), "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(app: Arc<App>, tcp: TcpStream, peer: IpAddr) {
    // It may have ended already.
    let Ok(stream) = Stream::new(tcp) else { return };
    let wire = Arc::downgrade(stream.wire());
    let service = service_fn(move |request| {
        let (app, wire) = (app.clone(), wire.upgrade());
        async move {
            match wire {
                Some(wire) => Ok(respond(&app, &wire, peer, request).await),
                None => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            }
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %one_line(&error), "a connection ended");
    }
}

async fn respond(
    app: &App,
    wire: &Arc<Wire>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    if !app.served_hosts.allow(request.headers()) {
        let mut response = Response::new(Body::from(FOREIGN_HOST));
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    if Transport::serves(request.uri().path()) {
        return app.transport.respond(wire, peer, request).await;
    }
    let Ok::<_, Infallible>(response) = app.pages.clone().oneshot(request.map(Body::new)).await;
    response
}

#[cfg(test)]
mod tests;
