//! Everything that serves requests, put together.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use chat_delivery::{Presence, Rooms, Watchers};
use chat_domain::RoomKind;
use chat_domain::ports::{
    AccessHook, Acquaintances, Authenticator, ChangeRepository, Clock, HintsHealth, Inbox,
    MessageImport, MessageRepository, NodeCommandListener, NodeCommands, NodeRoster,
    PresenceExchange, RoomDeletion, RoomDirectory, RoomEvents, RoomRepository, Sanctions,
    StorageHealth, UserErasure, UserRecords,
};
use chat_domain::use_cases::{
    ChangeMessage, ChangeRules, Connect, DeleteRoom, DisconnectUser, EraseUser, EveryNode,
    ExportUser, GetRoom, ImportMessages, JoinRoom, LeaveRoom, ListChanges, ListMembers,
    ListMessages, ListReactions, ListRooms, MarkRead, Permits, ProductView, RenewToken,
    RevokeTokens, SendMessage, SetNotify, SetTyping, WatchRooms,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::api::keys::CurrentApiKeys;
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
use crate::sanctions::KnownSanctions;
use crate::socket::encoder::SocketIoEncoder;
use crate::socket::objects::{message_json, message_json_for, summary_json};
use crate::statistics::Statistics;
use crate::supervisor::Liveness;
use crate::traces::Traces;
use crate::transport::Transport;

/// The ports on which a gateway stands, and its limits.
pub struct AppOptions {
    /// The log.
    pub messages: Arc<dyn MessageRepository>,
    /// Changes to messages.
    pub changes: Arc<dyn ChangeRepository>,
    /// The state of rooms and readers.
    pub rooms: Arc<dyn RoomRepository>,
    /// The rules of rooms.
    pub directory: Arc<dyn RoomDirectory>,
    /// Closes rooms, and deletes what they contain.
    pub deletion: Arc<dyn RoomDeletion>,
    /// Erases users.
    pub erasure: Arc<dyn UserErasure>,
    /// What is stored about users.
    pub records: Arc<dyn UserRecords>,
    /// Stores messages that were written elsewhere.
    pub import: Arc<dyn MessageImport>,
    /// The rooms of users.
    pub inbox: Arc<dyn Inbox>,
    /// Which users share rooms, and when they were last seen.
    pub acquaintances: Arc<dyn Acquaintances>,
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
    /// Decides about joins without membership, if the authenticator's identities have
    /// [grants](chat_domain::Identity::grants).
    pub access_hook: Option<Arc<dyn AccessHook>>,
    /// Which tokens are revoked, and which users are disconnected.
    pub sanctions: Arc<dyn Sanctions>,
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
    /// The server API, if it exists.
    pub api: Option<ApiOptions>,
    /// The demo page at `/`, if it is served.
    pub demo: Option<Demo>,
}

/// The server API.
pub struct ApiOptions {
    /// Its keys.
    pub keys: CurrentApiKeys,
    /// Where it alone is served; `None`: where the clients are.
    pub listener: Option<TcpListener>,
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
    /// What the nodes do.
    pub roster: Arc<dyn NodeRoster>,
    /// Who is online.
    pub presence: Arc<dyn PresenceExchange>,
}

/// A gateway, ready to serve.
pub struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) storage: Arc<dyn StorageHealth>,
    pub(crate) nodes: Option<Nodes>,
    /// Reported to the other nodes for as long as it lives.
    _statistics: Arc<Statistics>,
    pub(crate) tasks: Mutex<Vec<Task>>,
    pub(crate) liveness: Liveness,
    pub(crate) served_hosts: ServedHosts,
    pub(crate) transport: Transport,
    pub(crate) pages: axum::Router,
    pub(crate) api: Option<Api>,
    /// Where the API alone is served, until serving begins.
    pub(crate) api_listener: Option<TcpListener>,
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
            options.changes.clone(),
            options.events.clone(),
            Arc::new(SocketIoEncoder),
            options.metrics.clone(),
            changed_rules.clone(),
            tasks.clone(),
        );
        let clients = Arc::new(Clients::new(options.limits.max_connections_per_user));
        let sanctions = Arc::new(KnownSanctions::new(
            options.sanctions.clone(),
            clients.clone(),
        ));
        let listener: Arc<dyn NodeCommandListener> = sanctions.clone();
        let commands = options.nodes.as_ref().map(|nodes| nodes.commands.clone());
        if let Some(commands) = &commands {
            commands.subscribe(Arc::downgrade(&listener));
        }
        let every_node = EveryNode::new(Some(listener), commands);
        let connect = Connect::new(options.authenticator, sanctions.clone());
        let disconnect_user = DisconnectUser::new(options.sanctions.clone(), every_node.clone());
        let revoke_tokens = RevokeTokens::new(options.sanctions, every_node, options.clock.clone());
        let list_messages = ListMessages::new(
            options.messages.clone(),
            options.changes.clone(),
            message_json_for,
        );
        let list_changes = ListChanges::new(options.changes.clone(), message_json_for);
        let watchers = Watchers::new(
            options.inbox.clone(),
            options.directory.clone(),
            Arc::new(SocketIoEncoder),
            tasks.clone(),
        );
        let erase_user = EraseUser::new(
            options.erasure,
            options.directory.clone(),
            options.events.clone(),
            disconnect_user.clone(),
            revoke_tokens.clone(),
        );
        let export_user = ExportUser::new(options.records, options.messages.clone());
        let import_messages = ImportMessages::new(
            options.import,
            options.messages.clone(),
            options.directory.clone(),
            options.events.clone(),
            message_json,
        );
        let mut join_room = JoinRoom::new(options.rooms.clone(), permits.clone());
        if let Some(hook) = options.access_hook {
            join_room = join_room.with_hook(hook);
        }
        let presence = Presence::new(
            rooms.clone(),
            options.acquaintances,
            options.clock.clone(),
            Arc::new(SocketIoEncoder),
            options.nodes.as_ref().map(|nodes| nodes.presence.clone()),
        );
        let gateway = Arc::new(Gateway {
            renew_token: RenewToken::new(connect.clone()),
            connect,
            join_room,
            leave_room: LeaveRoom::new(rooms.clone()),
            list_messages: list_messages.clone(),
            list_changes: list_changes.clone(),
            list_reactions: ListReactions::new(options.changes.clone()),
            change_message: ChangeMessage::new(
                options.changes,
                permits.clone(),
                options.events.clone(),
                message_json,
            ),
            mark_read: MarkRead::new(options.rooms.clone(), options.events.clone()),
            set_typing: SetTyping::new(rooms.clone()),
            change_rules: ChangeRules::new(permits.clone()),
            delete_room: DeleteRoom::new(options.deletion, options.events.clone()),
            get_room: GetRoom::new(permits.clone()),
            list_members: ListMembers::new(permits.clone()),
            product_view: ProductView::new(
                permits.clone(),
                options.rooms.clone(),
                list_messages,
                list_changes,
            ),
            list_rooms: ListRooms::new(options.inbox.clone(), summary_json),
            set_notify: SetNotify::new(options.inbox.clone(), permits.clone()),
            watch_rooms: WatchRooms::new(options.inbox),
            permits,
            disconnect_user,
            revoke_tokens,
            erase_user,
            export_user,
            import_messages,
            sanctions,
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
            presence,
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
        let liveness = Liveness::default();
        let status = Status {
            gateway: gateway.clone(),
            clients: clients.clone(),
            storage: options.storage.clone(),
            nodes: options.nodes.clone(),
            liveness: liveness.clone(),
        };
        let trusted_proxies = Arc::new(options.trusted_proxies);
        let (keys, api_listener) = match options.api {
            Some(api) => (Some(api.keys), api.listener),
            None => (None, None),
        };
        let roster = options.nodes.as_ref().map(|nodes| nodes.roster.clone());
        let statistics = Statistics::new(&gateway, &clients, roster);
        let api = keys.map(|keys| {
            let statistics = statistics.clone();
            Api::new(
                &gateway,
                &clients,
                statistics,
                trusted_proxies.clone(),
                keys,
            )
        });
        Self {
            api,
            api_listener,
            transport: Transport::new(&gateway, &clients, origins, trusted_proxies),
            pages: http::pages(status, options.demo),
            storage: options.storage,
            nodes: options.nodes,
            _statistics: statistics,
            tasks: Mutex::new(options.tasks),
            served_hosts,
            clients,
            liveness,
            gateway,
        }
    }

    /// Returns what closes a user's connections on all nodes.
    pub fn disconnect_user(&self) -> &DisconnectUser {
        &self.gateway.disconnect_user
    }

    /// Returns what revokes a user's tokens on all nodes.
    pub fn revoke_tokens(&self) -> &RevokeTokens {
        &self.gateway.revoke_tokens
    }
}
