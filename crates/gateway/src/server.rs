//! Accepting connections, and stopping.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::app::App;
use crate::connection::{Stream, Wire};
use crate::expiry::Expiries;
use crate::transport::Transport;

/// How long a client may take to send a request's head, also the first one, and
/// the next one on a connection that is kept alive.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a shutdown may take to finish what clients asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);
/// How long it waits, after that, for the connections to be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// The pause after an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections from the listener until `shutdown` is done. Then no client is
/// let in any more, what clients asked for is finished and acknowledged, and their
/// transports are closed: within ten seconds in all.
///
/// # Errors
/// When the listener's address cannot be read; a listener that fails to accept
/// is tried again.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let app = Arc::new(app);
    // Ends what is left when this returns: connections that serve no client.
    let mut connections = JoinSet::new();
    let reconciliation = tokio::spawn(app.gateway.rooms.clone().reconcile());
    let stall_check = tokio::spawn(app.gateway.clone().cut_off_stalled());
    let expiry_check = tokio::spawn(Expiries::end_expired(app.gateway.clone()));
    // Ends when this returns, after the last packet.
    let _flushers = app.transport.flushers().start();
    tracing::info!(%address, "listening");

    tokio::select! {
        () = accept(&listener, &app, &mut connections) => {}
        () = shutdown => {}
    }
    tracing::info!(connections = app.gateway.connections.count(), "draining");
    // Requests are still answered, so that whoever asks is told: `/readyz` that this
    // one is not ready, and who wants to connect that it is unavailable.
    let drained = tokio::select! {
        () = accept(&listener, &app, &mut connections) => Ok(()),
        drained = tokio::time::timeout(DRAIN_DEADLINE, app.gateway.drain()) => drained,
    };
    drop(listener);
    if drained.is_err() {
        tracing::warn!("some events are not finished in time");
        app.gateway.end_all();
    }
    reconciliation.abort();
    stall_check.abort();
    expiry_check.abort();
    app.gateway.tasks.close();
    let closed = async { app.gateway.tasks.wait().await };
    tokio::time::timeout(CLOSE_DEADLINE, closed).await.ok();
    tracing::info!("stopped");
    Ok(())
}

/// Accepts connections, for ever.
async fn accept(listener: &TcpListener, app: &Arc<App>, connections: &mut JoinSet<()>) {
    loop {
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((tcp, _)) => {
                connections.spawn(serve_connection(app.clone(), tcp));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(app: Arc<App>, tcp: TcpStream) {
    // A connection that has ended already is nothing to serve.
    let Ok(stream) = Stream::new(tcp) else { return };
    let wire = Arc::downgrade(stream.wire());
    let service = service_fn(move |request| {
        let (app, wire) = (app.clone(), wire.upgrade());
        async move {
            match wire {
                Some(wire) => Ok(respond(&app, &wire, request).await),
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
        tracing::debug!(%error, "a connection ended");
    }
}

async fn respond(app: &App, wire: &Arc<Wire>, request: Request<Incoming>) -> Response<Body> {
    if Transport::serves(request.uri().path()) {
        return app.transport.respond(wire, request).await;
    }
    let Ok::<_, Infallible>(response) = app.pages.clone().oneshot(request.map(Body::new)).await;
    response
}
