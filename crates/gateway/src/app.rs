//! Everything that serves requests, put together.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use chat_delivery::{Rooms, Watchers};
use chat_domain::RoomKind;
use chat_domain::ports::{
    Authenticator, Clock, HintsHealth, Inbox, MessageRepository, NodeCommandListener, NodeCommands,
    Revocations, RoomDirectory, RoomEvents, RoomRepository, StorageHealth,
};
use chat_domain::use_cases::{
    ChangeRules, Connect, GetRoom, JoinRoom, LeaveRoom, ListMembers, ListMessages, ListRooms,
    MarkRead, Permits, RenewToken, SendMessage, SetNotify, WatchRooms,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client_address::TrustedProxies;
use crate::clients::{Clients, Draining};
use crate::demo::Demo;
use crate::gateway::Gateway;
use crate::http::{self, Status};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::origin::{AllowedOrigins, ServedHosts};
use crate::rates::Rates;
use crate::rules::ChangedRules;
use crate::socket::encoder::SocketIoEncoder;
use crate::socket::objects::{message_json, summary_json};
use crate::supervisor::Liveness;
use crate::traces::Traces;
use crate::transport::Transport;

/// The ports on which a gateway stands, and its limits.
pub struct AppOptions {
    /// The log.
    pub messages: Arc<dyn MessageRepository>,
    /// The state of rooms and readers.
    pub rooms: Arc<dyn RoomRepository>,
    /// The rules of rooms.
    pub directory: Arc<dyn RoomDirectory>,
    /// The rooms of users.
    pub inbox: Arc<dyn Inbox>,
    /// The kind of rooms without rules.
    pub room_default: RoomKind,
    /// The state of the storage behind them.
    pub storage: Arc<dyn StorageHealth>,
    /// Hints about changes in rooms.
    pub events: Arc<dyn RoomEvents>,
    /// The other nodes, if there may be any.
    pub nodes: Option<Nodes>,
    /// Verifies tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// Knows which tokens are revoked.
    pub revocations: Arc<dyn Revocations>,
    /// What the adapters do in the background.
    pub tasks: Vec<Task>,
    /// The current time.
    pub clock: Arc<dyn Clock>,
    /// The web pages that may connect.
    pub origins: AllowedOrigins,
    /// The reverse proxies that name their client's address.
    pub trusted_proxies: TrustedProxies,
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

/// A task that must run as long as the gateway.
pub struct Task {
    pub(crate) name: &'static str,
    pub(crate) future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Task {
    /// Names a task, which must never end, by what it does.
    pub fn new(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            name,
            future: Box::pin(future),
        }
    }
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
    pub(crate) tasks: Mutex<Vec<Task>>,
    pub(crate) liveness: Liveness,
    pub(crate) served_hosts: ServedHosts,
    pub(crate) transport: Transport,
    pub(crate) pages: axum::Router,
}

impl App {
    /// Puts a gateway together. Must be called within a tokio runtime.
    pub fn new(options: AppOptions) -> Self {
        let tasks = TaskTracker::new();
        let changed_rules: Arc<ChangedRules> = Arc::default();
        let permits = Permits::new(options.directory.clone(), options.room_default);
        let rooms = Rooms::new(
            options.messages.clone(),
            options.rooms.clone(),
            options.events.clone(),
            Arc::new(SocketIoEncoder),
            options.metrics.clone(),
            changed_rules.clone(),
            tasks.clone(),
        );
        let watchers = Watchers::new(
            options.inbox.clone(),
            options.directory.clone(),
            Arc::new(SocketIoEncoder),
            tasks.clone(),
        );
        let connect = Connect::new(options.authenticator, options.revocations);
        let gateway = Arc::new(Gateway {
            renew_token: RenewToken::new(connect.clone()),
            connect,
            join_room: JoinRoom::new(options.rooms.clone(), permits.clone()),
            leave_room: LeaveRoom::new(rooms.clone()),
            list_messages: ListMessages::new(options.messages.clone(), message_json),
            mark_read: MarkRead::new(options.rooms, options.events.clone()),
            change_rules: ChangeRules::new(permits.clone()),
            get_room: GetRoom::new(permits.clone()),
            list_members: ListMembers::new(permits.clone()),
            list_rooms: ListRooms::new(options.inbox.clone(), summary_json),
            set_notify: SetNotify::new(options.inbox.clone(), permits.clone()),
            watch_rooms: WatchRooms::new(options.inbox),
            permits,
            changed_rules,
            events: options.events.clone(),
            send_message: SendMessage::new(
                options.messages,
                options.directory,
                options.events,
                options.clock.clone(),
                message_json,
            ),
            rooms,
            watchers,
            clock: options.clock,
            rates: Rates::new(&options.limits),
            refusals: Arc::default(),
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
        let clients = Arc::new(Clients::new(options.limits.max_connections_per_user));
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
            transport: Transport::new(&gateway, &clients, origins, options.trusted_proxies),
            pages: http::pages(status, options.demo),
            storage: options.storage,
            nodes: options.nodes,
            tasks: Mutex::new(options.tasks),
            served_hosts,
            clients,
            liveness,
            gateway,
        }
    }
}
