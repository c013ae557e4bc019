//! What all connections share.

use std::sync::Arc;

use chat_delivery::Rooms;
use chat_domain::ports::Clock;
use chat_domain::use_cases::{Connect, JoinRoom, LeaveRoom, ListMessages, MarkRead, SendMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::Draining;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::socket::outbox::Outbox;
use crate::traces::Traces;

/// The use cases, the delivery of rooms, and what the connections' tasks run in.
pub(crate) struct Gateway {
    pub(crate) connect: Connect,
    pub(crate) join_room: JoinRoom,
    pub(crate) leave_room: LeaveRoom,
    pub(crate) send_message: SendMessage,
    pub(crate) list_messages: ListMessages,
    pub(crate) mark_read: MarkRead,
    pub(crate) rooms: Arc<Rooms<Outbox>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
    /// Cancelled when the gateway starts to drain.
    pub(crate) draining: CancellationToken,
    /// How it then closes its clients.
    pub(crate) closing: Draining,
    /// Everything that runs for a connection or a room.
    pub(crate) tasks: TaskTracker,
}
