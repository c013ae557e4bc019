//! The namespace `/`: admitting clients, and passing their packets on.
//!
//! socketioxide looks handlers up by event name, per socket. Here all sockets share one,
//! which reads the packet itself: only so is everything answered that a client can send,
//! in the order in which it arrived.

use std::convert::Infallible;
use std::sync::Arc;

use socketioxide::SocketIo;
use socketioxide::adapter::{Adapter, LocalAdapter};
use socketioxide::extract::SocketRef;
use socketioxide::handler::{ConnectHandler as _, FromConnectParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide_core::Value;

use super::client::Client;
use super::handshake::{self, Auth, Refusal};
use super::serving;
use crate::clients::{Clients, Draining, NotAdded};
use crate::gateway::Gateway;
use crate::refusals::Limit;
use crate::sanctions::IsRevoked;
use crate::session::Session;
use crate::wire::Ending;

/// Serves the namespace `/`.
pub(crate) fn serve(io: &SocketIo, gateway: &Arc<Gateway>, clients: &Arc<Clients>) {
    let shared = (gateway.clone(), clients.clone());
    let admit = move |socket: SocketRef, auth: Auth| {
        let (gateway, clients) = shared.clone();
        async move { admit(&gateway, &clients, &socket, &auth).await }
    };
    let welcome = |Connected(socket)| {
        // Now the client has received the answer to CONNECT.
        if let Some(session) = session_of(&socket) {
            session.outbox().open(&socket);
        }
        std::future::ready(())
    };
    // The namespace's name has no parameters that could be malformed.
    io.ns("/", welcome.with(admit));
}

/// A connected socket. socketioxide's own extractor does not give it away.
struct Connected(Arc<Socket>);

impl FromConnectParts<LocalAdapter> for Connected {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(socket.clone()))
    }
}

fn session_of(socket: &Socket) -> Option<&Arc<Session>> {
    socket.req_parts().extensions.get::<Arc<Session>>()
}

/// Admits a client, or refuses it with a reason and closes its transport. The handlers are
/// in place before the client receives the answer to CONNECT.
async fn admit(
    gateway: &Arc<Gateway>,
    clients: &Arc<Clients>,
    socket: &SocketRef,
    auth: &Auth,
) -> Result<(), Refusal> {
    let Some(session) = session_of(socket) else {
        return Err(Refusal::Unavailable);
    };
    let authenticated = match session.is_first_connect() {
        true => handshake::authenticate(gateway, auth, socket.req_parts()).await,
        // A session that has left the namespace is about to end.
        false => Err(Refusal::Unavailable),
    };
    let admitted = authenticated.and_then(|identity| {
        let trace = gateway.traces.parent(&socket.req_parts().headers);
        let client = Client::new(
            identity,
            session.clone(),
            gateway.clone(),
            clients.clone(),
            trace,
        );
        let identity = client.identity();
        let sanctions = &gateway.sanctions;
        match sanctions.register(&identity, || clients.add(&client)) {
            Ok(Ok(())) => Ok(client),
            // It was revoked after it was checked.
            Err(IsRevoked(_)) => {
                clients.remove(&client);
                Err(Refusal::TokenRevoked)
            }
            Ok(Err(NotAdded::TooManyOfUser)) => {
                let client = session.client_address();
                gateway.refusals.count(Limit::ConnectionsPerUser, client);
                Err(Refusal::TooManyConnections)
            }
            Ok(Err(NotAdded::IsDraining)) => {
                if gateway.closing != Draining::AtOnce {
                    // The client gets no answer, because after a CONNECT_ERROR the standard
                    // client would not try another node.
                    session.end(Ending::Finish);
                }
                Err(Refusal::Unavailable)
            }
        }
    });
    gateway.metrics.handshake(&admitted);
    let client = match admitted {
        Ok(client) => client,
        Err(refusal) => {
            tracing::debug!(%refusal, client = %session.client_address(), "a client is refused");
            let session = session.clone();
            let tasks = &gateway.tasks;
            tasks.spawn(async move { session.end_when_flushed().await });
            return Err(refusal);
        }
    };
    session.place().connected();
    client.appear();
    tracing::debug!(
        user = %client.identity().user.id,
        client = %session.client_address(),
        "a client has connected"
    );
    socket.on_fallback(Packets {
        client: client.clone(),
        clients: clients.clone(),
    });
    let tasks = gateway.tasks.clone();
    socket.on_disconnect(move || {
        // Not in the caller's turn, because it may hold the outbox.
        async move {
            serving::close(&client);
            let session = client.session.clone();
            tasks.spawn(async move { session.end_when_flushed().await });
        }
    });
    Ok(())
}

/// Takes every packet of a client in, in the reader's own turn. socketioxide drops it with
/// the socket, also if that never was connected: then at the latest the connection ends.
struct Packets {
    client: Arc<Client>,
    clients: Arc<Clients>,
}

impl Drop for Packets {
    fn drop(&mut self) {
        serving::close(&self.client);
        self.clients.remove(&self.client);
    }
}

/// Names this handler among socketioxide's kinds of handlers.
enum ReadsThePacketItself {}

impl<A: Adapter> MessageHandler<A, ReadsThePacketItself> for Packets {
    fn call(&self, _: Arc<Socket<A>>, packet: Value, ack: Option<i64>) {
        match &packet {
            Value::Str(packet, _) => serving::receive(&self.client, packet, ack),
            // Binary packets are not accepted, but answered.
            Value::Bytes(_) => serving::receive(&self.client, "", ack),
        }
    }
}
