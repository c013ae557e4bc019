//! What all connections share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_domain::ports::{Clock, RoomRepository};
use chat_domain::use_cases::{Connect, JoinRoom, ListMessages, MarkRead, SendMessage};
use socketioxide_core::Sid;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Ending;
use crate::expiry::Expiries;
use crate::lock;
use crate::rooms::Rooms;
use crate::socket::connection::Connection;

/// How often it is looked whether everything is done, when draining.
const LOOK: Duration = Duration::from_millis(5);

/// How often it is looked who takes nothing.
const STALL_CHECK: Duration = Duration::from_secs(1);

/// What one connection and one packet may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events of one connection in progress; 0 for no limit.
    pub max_in_flight: usize,
    /// Bytes of one incoming packet, on both transports; 0 for no limit.
    pub max_packet_bytes: usize,
}

/// The use cases, who is connected, and who is where.
pub(crate) struct Gateway {
    pub(crate) connect: Connect,
    pub(crate) join_room: JoinRoom,
    pub(crate) send_message: SendMessage,
    pub(crate) list_messages: ListMessages,
    pub(crate) mark_read: MarkRead,
    pub(crate) clock: Arc<dyn Clock>,
    /// Asked whether the database answers.
    pub(crate) log: Arc<dyn RoomRepository>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) connections: Connections,
    pub(crate) expiries: Expiries,
    pub(crate) limits: Limits,
    /// Cancelled when the gateway is about to stop.
    pub(crate) draining: CancellationToken,
    /// Everything that runs for a connection or a room.
    pub(crate) tasks: TaskTracker,
}

impl Gateway {
    /// Finishes what clients asked for, then closes their transports without
    /// saying so: the standard client reconnects, to another node or to the next
    /// process. Ends when all that is done; the caller has a deadline.
    pub(crate) async fn drain(&self) {
        self.draining.cancel();
        // Nothing tells when the last of many connections becomes idle; this
        // looks for a few seconds at the most, once in a process's life.
        while self.connections.all().iter().any(|c| !c.is_idle()) {
            tokio::time::sleep(LOOK).await;
        }
        let mut ending = tokio::task::JoinSet::new();
        for connection in self.connections.all() {
            ending.spawn(async move { connection.session.end_when_flushed().await });
        }
        ending.join_all().await;
    }

    /// Cuts off clients that take nothing though something waits for them, for
    /// ever.
    pub(crate) async fn cut_off_stalled(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(STALL_CHECK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for connection in self.connections.all() {
                if connection.session.outbox().is_stalled() {
                    tracing::debug!(user = %connection.identity.user.id, "a client that takes nothing is cut off");
                    connection.session.end(Ending::Abort);
                }
            }
        }
    }

    /// Closes every transport now.
    pub(crate) fn end_all(&self) {
        for connection in self.connections.all() {
            connection.session.end(Ending::Finish);
        }
    }
}

/// Everybody who is connected to this node.
#[derive(Default)]
pub(crate) struct Connections {
    by_id: Mutex<HashMap<Sid, Arc<Connection>>>,
}

impl Connections {
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        lock(&self.by_id).insert(connection.id, connection.clone());
    }

    pub(crate) fn remove(&self, id: Sid) {
        lock(&self.by_id).remove(&id);
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.by_id).len()
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        lock(&self.by_id).values().cloned().collect()
    }
}
