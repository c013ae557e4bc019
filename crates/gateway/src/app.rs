//! Everything that serves requests, put together.

use std::sync::Arc;

use chat_delivery::Rooms;
use chat_domain::ports::{
    Authenticator, Clock, HintsHealth, MessageRepository, NodeCommandListener, NodeCommands,
    RoomEvents, RoomRepository, StorageHealth,
};
use chat_domain::use_cases::{Connect, JoinRoom, LeaveRoom, ListMessages, MarkRead, SendMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::{Clients, Draining};
use crate::demo::Demo;
use crate::gateway::Gateway;
use crate::http::{self, Status};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::origin::{AllowedOrigins, ServedHosts};
use crate::socket::encoder::SocketIoEncoder;
use crate::socket::objects::message_json;
use crate::supervisor::Liveness;
use crate::traces::Traces;
use crate::transport::Transport;

/// The ports on which a gateway stands, and its limits.
pub struct AppOptions {
    /// The log.
    pub messages: Arc<dyn MessageRepository>,
    /// The state of rooms and readers.
    pub rooms: Arc<dyn RoomRepository>,
    /// The state of the storage behind both.
    pub storage: Arc<dyn StorageHealth>,
    /// Hints about changes in rooms.
    pub events: Arc<dyn RoomEvents>,
    /// The other nodes, if there may be any.
    pub nodes: Option<Nodes>,
    /// Verifies tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// The current time.
    pub clock: Arc<dyn Clock>,
    /// The web pages that may connect.
    pub origins: AllowedOrigins,
    /// The operator's limits.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether events have spans.
    pub traces: Traces,
    /// How a shutdown closes the clients.
    pub draining: Draining,
    /// The demo page at `/`, if it is served.
    pub demo: Option<Demo>,
}

/// How this node exchanges hints and commands with the others.
#[derive(Clone)]
pub struct Nodes {
    /// The state of the exchange.
    pub health: Arc<dyn HintsHealth>,
    /// Commands for every node.
    pub commands: Arc<dyn NodeCommands>,
}

/// A gateway, ready to serve.
pub struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) storage: Arc<dyn StorageHealth>,
    pub(crate) nodes: Option<Nodes>,
    pub(crate) liveness: Liveness,
    pub(crate) served_hosts: ServedHosts,
    pub(crate) transport: Transport,
    pub(crate) pages: axum::Router,
}

impl App {
    /// Puts a gateway together. Must be called within a tokio runtime.
    pub fn new(options: AppOptions) -> Self {
        let tasks = TaskTracker::new();
        let rooms = Rooms::new(
            options.messages.clone(),
            options.rooms.clone(),
            options.events.clone(),
            Arc::new(SocketIoEncoder),
            options.metrics.clone(),
            tasks.clone(),
        );
        let gateway = Arc::new(Gateway {
            connect: Connect::new(options.authenticator),
            join_room: JoinRoom::new(options.rooms.clone()),
            leave_room: LeaveRoom::new(rooms.clone()),
            list_messages: ListMessages::new(options.messages.clone(), message_json),
            mark_read: MarkRead::new(options.rooms, options.events.clone()),
            send_message: SendMessage::new(
                options.messages,
                options.events,
                options.clock.clone(),
                message_json,
            ),
            rooms,
            clock: options.clock,
            limits: options.limits,
            metrics: options.metrics,
            traces: options.traces,
            draining: CancellationToken::new(),
            closing: options.draining,
            tasks,
        });
        // The tokens of the demo page are for this machine alone.
        let served_hosts = match options.demo {
            Some(_) => ServedHosts::LoopbackOnly,
            None => ServedHosts::Any,
        };
        let origins = options.origins.with_served_hosts(served_hosts);
        let clients = Arc::new(Clients::default());
        if let Some(nodes) = &options.nodes {
            let listener: Arc<dyn NodeCommandListener> = clients.clone();
            nodes.commands.subscribe(Arc::downgrade(&listener));
        }
        let liveness = Liveness::default();
        let status = Status {
            gateway: gateway.clone(),
            clients: clients.clone(),
            storage: options.storage.clone(),
            nodes: options.nodes.clone(),
            liveness: liveness.clone(),
        };
        Self {
            transport: Transport::new(&gateway, &clients, origins),
            pages: http::pages(status, options.demo),
            storage: options.storage,
            nodes: options.nodes,
            served_hosts,
            clients,
            liveness,
            gateway,
        }
    }
}
