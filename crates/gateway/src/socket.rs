//! Socket.IO: the handshake, and one handler for every event.
//!
//! The library looks a handler up by the event's name, per socket. Here all
//! sockets share one, which reads the packet itself: only so is everything
//! answered that a client can send, and in the order in which it came.

pub(crate) mod connection;
pub(crate) mod flusher;
mod handshake;
mod inbox;
mod messages;
pub(crate) mod objects;
pub(crate) mod outbox;
pub(crate) mod packet;
pub(crate) mod protocol;
pub(crate) mod reply;
mod rooms;

use std::convert::Infallible;
use std::sync::Arc;

use socketioxide::SocketIo;
use socketioxide::adapter::{Adapter, LocalAdapter};
use socketioxide::extract::SocketRef;
use socketioxide::handler::{ConnectHandler as _, FromConnectParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide_core::Value;

use self::connection::Connection;
use self::handshake::{Auth, Refusal};
use self::reply::Request;
use crate::gateway::Gateway;
use crate::session::Session;

/// Serves the namespace `/`.
pub(crate) fn serve_namespace(io: &SocketIo, gateway: &Arc<Gateway>) {
    let at_the_door = gateway.clone();
    let admit = move |socket: SocketRef, auth: Auth| {
        let gateway = at_the_door.clone();
        async move { admit(&gateway, &socket, &auth).await }
    };
    let welcome = |Connected(socket)| {
        // Now the client has been told that it is connected.
        if let Some(session) = session_of(&socket) {
            session.outbox().open(&socket);
        }
        std::future::ready(())
    };
    // The namespace's name has no parameters that could be malformed.
    io.ns("/", welcome.with(admit));
}

/// A socket that is connected. The library's own extractor does not give it away.
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

/// Lets a client in, or says why not and closes its transport. The handlers are in
/// place before the client is told that it is connected.
async fn admit(gateway: &Arc<Gateway>, socket: &SocketRef, auth: &Auth) -> Result<(), Refusal> {
    let Some(session) = session_of(socket) else {
        return Err(Refusal::Unavailable);
    };
    let admitted = match session.is_first_connect() {
        true => handshake::authenticate(gateway, auth, socket.req_parts()).await,
        // A session that has left the namespace is about to end.
        false => Err(Refusal::Unavailable),
    };
    let identity = match admitted {
        Ok(identity) => identity,
        Err(refusal) => {
            let session = session.clone();
            gateway
                .tasks
                .spawn(async move { session.end_when_flushed().await });
            return Err(refusal);
        }
    };
    let connection = Connection::new(
        socket.id,
        identity,
        session.clone(),
        gateway.limits.max_in_flight,
    );
    gateway.connections.add(&connection);
    gateway.expiries.add(&connection);

    let events = Events {
        gateway: gateway.clone(),
        connection: connection.clone(),
    };
    socket.on_fallback(events);
    let leaving = (gateway.clone(), connection);
    socket.on_disconnect(move || {
        let (gateway, connection) = leaving;
        // Not in the caller's turn: it may hold the outbox.
        async move {
            connection.close(&gateway);
            let session = connection.session.clone();
            gateway
                .tasks
                .spawn(async move { session.end_when_flushed().await });
        }
    });
    Ok(())
}

/// Takes every event of a connection, in the reader's own turn. The library drops
/// it with the socket, also with one that never was connected: that is when the
/// connection ends at the latest.
struct Events {
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.close(&self.gateway);
        self.gateway.connections.remove(self.connection.id);
        self.gateway.expiries.remove(&self.connection);
    }
}

/// Tells the library which of its kinds of handler this is.
enum ReadsThePacketItself {}

impl<A: Adapter> MessageHandler<A, ReadsThePacketItself> for Events {
    fn call(&self, _: Arc<Socket<A>>, packet: Value, ack: Option<i64>) {
        let received = match &packet {
            Value::Str(packet, _) => protocol::read(packet),
            Value::Bytes(_) => protocol::read(""),
        };
        let request = Request {
            event: received.event,
            room_id: received.room_id,
            client_message_id: received.client_message_id,
            ack,
        };
        self.connection
            .receive(&self.gateway, request, received.outcome);
    }
}
