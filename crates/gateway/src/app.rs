//! Everything that serves requests, put together.

use std::sync::Arc;

use chat_domain::ports::{
    Authenticator, Clock, MessageRepository, RoomEventListener, RoomEvents, RoomRepository,
};
use chat_domain::use_cases::{Connect, JoinRoom, ListMessages, MarkRead, SendMessage};
use chat_domain::{BoxError, User};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::expiry::Expiries;
use crate::gateway::{Connections, Gateway, Limits};
use crate::http;
use crate::origin::AllowedOrigins;
use crate::rooms::Rooms;
use crate::transport::Transport;

/// The ports that a gateway stands on, and its limits.
pub struct AppOptions {
    /// The log.
    pub messages: Arc<dyn MessageRepository>,
    /// How far rooms have come.
    pub rooms: Arc<dyn RoomRepository>,
    /// Hints about what is stored.
    pub events: Arc<dyn RoomEvents>,
    /// Who is behind a token.
    pub authenticator: Arc<dyn Authenticator>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which web pages may connect.
    pub origins: AllowedOrigins,
    /// What one connection and one packet may be.
    pub limits: Limits,
    /// The demo page at `/`, if there is to be one.
    pub demo: Option<Demo>,
}

/// The demo page. Whoever can load it can write as its users.
#[derive(Clone)]
pub struct Demo {
    /// Mints a token for one of the page's users.
    pub mint: Arc<MintToken>,
}

/// Makes a token that the gateway accepts, for this user.
pub type MintToken = dyn Fn(&User) -> Result<String, BoxError> + Send + Sync;

/// A gateway, ready to serve.
pub struct App {
    pub(crate) gateway: Arc<Gateway>,
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
            tasks.clone(),
        );
        let listener: Arc<dyn RoomEventListener> = rooms.clone();
        options.events.subscribe(Arc::downgrade(&listener));
        let gateway = Arc::new(Gateway {
            connect: Connect::new(options.authenticator),
            join_room: JoinRoom::new(options.rooms.clone()),
            list_messages: ListMessages::new(options.messages.clone()),
            mark_read: MarkRead::new(options.rooms.clone(), options.events.clone()),
            send_message: SendMessage::new(options.messages, options.events, options.clock.clone()),
            clock: options.clock,
            log: options.rooms,
            rooms,
            connections: Connections::default(),
            expiries: Expiries::default(),
            limits: options.limits,
            draining: CancellationToken::new(),
            tasks,
        });
        Self {
            transport: Transport::new(&gateway, options.origins),
            pages: http::pages(gateway.clone(), options.demo),
            gateway,
        }
    }
}
