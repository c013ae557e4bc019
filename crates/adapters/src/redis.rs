//! The exchange between nodes through Redis: hints about rooms, commands for every node, and
//! what each node does.
//!
//! Every room has a channel, `{prefix}room:{id}`, to which a node subscribes while it serves
//! the room. Commands use the channel `{prefix}nodes`, what the nodes report about themselves
//! `{prefix}reports`, and who is online `{prefix}presence` and, for each node, `{prefix}presence:{node}`.
//! Nothing is stored in Redis.
//!
//! # Why the connection is managed here
//!
//! The driver's `ConnectionManager` reconnects and resubscribes by itself. It notices a
//! connection that is cut off without an error (a suspended server, a firewall that drops
//! packets) only when a command times out, retries with growing delays, and buffers what the
//! server pushes without a bound. Here, one task owns the connection and drives it. It pings
//! the server twice a second, retries at a constant pace, subscribes to what is served at that
//! moment, and processes what the server pushes while it reads it, so that a node that cannot
//! keep up slows its own connection down instead of filling its memory.
//!
//! What was announced while the server was not connected is dropped, not sent later: by then
//! every node has found it in the log.

mod channels;
mod connection;
mod counters;
mod exchange;
#[doc(hidden)]
pub mod fuzz;
mod payload;
mod presence;
mod queue;
mod roster;
mod served;
mod url;

use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use chat_domain::ports::{
    Hint, HintListener, HintsHealth, HintsStatus, NodeCommand, NodeCommandListener, NodeCommands,
    NodeRoster, NodeStats, NodeStatsSource, NodesUnreachable, RoomEvents,
};
use chat_domain::{BoxError, RoomId};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use self::channels::{Channel, Channels};
use self::connection::Server;
use self::counters::Counters;
use self::payload::{NodeId, encode_command};
use self::presence::PresenceLink;
use self::queue::{Pushed, Queue};
use self::roster::Roster;
use self::served::Served;
use crate::LocalRoomEvents;

pub use self::connection::ConnectError;
pub use self::url::{InvalidRedisUrl, RedisUrl};

/// Where nodes exchange hints and commands.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server.
    pub url: RedisUrl,
    /// The prefix of every channel. Deployments that share a server must differ in it.
    pub prefix: String,
}

/// Exchanges hints and commands with the other nodes. Dropping it ends the exchange.
///
/// Hints reach the listeners in this process as with [`LocalRoomEvents`], whether Redis is
/// connected or not.
pub struct RedisExchange {
    shared: Arc<Shared>,
    task: AbortHandle,
    /// Closed when the task has ended.
    running: watch::Receiver<()>,
}

/// What the task and the callers share.
struct Shared {
    server: Server,
    channels: Channels,
    node: NodeId,
    local: LocalRoomEvents,
    queue: Queue,
    served: Served,
    counters: Counters,
    roster: Roster,
    presence: PresenceLink,
    /// Wakes the task: a hint waits, or the served rooms have changed.
    work: Notify,
    listeners: RwLock<Vec<Weak<dyn NodeCommandListener>>>,
}

impl RedisExchange {
    /// Starts the exchange. It begins when the server can be connected. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// The certificates that the URL names cannot be read.
    pub fn start(options: &RedisOptions) -> Result<Self, BoxError> {
        let node = NodeId::random();
        let shared = Arc::new(Shared {
            server: Server::new(&options.url)?,
            channels: Channels::new(&options.prefix, node.number()),
            node,
            local: LocalRoomEvents::default(),
            queue: Queue::default(),
            served: Served::default(),
            counters: Counters::default(),
            roster: Roster::default(),
            presence: PresenceLink::default(),
            work: Notify::new(),
            listeners: RwLock::default(),
        });
        let (runs, running) = watch::channel(());
        let exchange = exchange::run(shared.clone());
        let task = tokio::spawn(async move {
            let _runs = runs;
            exchange.await;
        });
        Ok(Self {
            shared,
            task: task.abort_handle(),
            running,
        })
    }

    /// Connects to the server once, to find out whether it can be used.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn check(options: &RedisOptions) -> Result<(), ConnectError> {
        let server = Server::new(&options.url).map_err(ConnectError::Unreachable)?;
        server.connect(|_| {}).await.map(drop)
    }
}

impl Drop for RedisExchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn notify(&self, command: &NodeCommand) {
        let listeners = self.listeners.read();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.on_command(command.clone());
        }
    }
}

impl RoomEvents for RedisExchange {
    fn announce(&self, hint: Hint) {
        self.shared.local.announce(hint.clone());
        let counters = &self.shared.counters;
        match self.shared.queue.push(hint) {
            Pushed::Waits => self.shared.work.notify_one(),
            Pushed::Closed => counters.lost_disconnected.add(1),
            Pushed::Full => counters.lost_queue_full.add(1),
        }
    }

    fn serve(&self, room_id: RoomId) {
        self.shared.served.add(room_id);
        self.shared.work.notify_one();
    }

    fn release(&self, room_id: RoomId) {
        self.shared.served.remove(room_id);
        self.shared.work.notify_one();
    }

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        self.shared.local.subscribe(listener);
    }
}

#[async_trait]
impl HintsHealth for RedisExchange {
    fn status(&self) -> HintsStatus {
        self.shared.counters.status()
    }

    async fn stopped(&self) {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }
}

#[async_trait]
impl NodeCommands for RedisExchange {
    async fn send(&self, command: NodeCommand) -> Result<u64, NodesUnreachable> {
        send(&self.shared.server, &self.shared.channels, command).await
    }

    fn subscribe(&self, listener: Weak<dyn NodeCommandListener>) {
        let listeners = self.shared.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }
}

impl NodeRoster for RedisExchange {
    fn report(&self, source: Weak<dyn NodeStatsSource>) {
        self.shared.roster.set_source(source);
    }

    fn others(&self) -> Option<Vec<NodeStats>> {
        self.shared.roster.others()
    }
}

/// Sends a command from a process that is not a node itself. Returns how many nodes it has
/// reached.
///
/// # Errors
/// [`NodesUnreachable`].
pub async fn send_command(
    options: &RedisOptions,
    command: NodeCommand,
) -> Result<u64, NodesUnreachable> {
    let server = Server::new(&options.url).map_err(NodesUnreachable)?;
    send(&server, &Channels::new(&options.prefix, ""), command).await
}

/// Commands are rare, so each has a connection of its own, and none waits behind hints.
async fn send(
    server: &Server,
    channels: &Channels,
    command: NodeCommand,
) -> Result<u64, NodesUnreachable> {
    let connection = server.connect(|_| {}).await;
    let mut connection = connection.map_err(|error| NodesUnreachable(error.into()))?;
    let mut publish = redis::cmd("PUBLISH");
    publish
        .arg(channels.name(Channel::Nodes))
        .arg(encode_command(&command));
    let reached = connection.run(async |commands| Ok(publish.query_async(commands).await?));
    reached.await.map_err(NodesUnreachable)
}
