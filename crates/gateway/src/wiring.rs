//! Puts a gateway together from a configuration. The only file that names concrete
//! adapters, with its parts in `wiring/`.

mod webhooks;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chat_adapters::access_hook::{AccessHookOptions, HttpAccessHook};
use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeySource, MintedClaims, Secret};
use chat_adapters::postgres::Durability;
use chat_adapters::redis::{self, ConnectError, RedisExchange, RedisOptions};
use chat_adapters::{BatchObserver, LocalRoomEvents, SystemClock, postgres, sqlite};
use chat_domain::ports::{
    AccessHook, Acquaintances, ChangeRepository, Clock, Inbox, MessageImport, MessageRepository,
    NodeCommand, NodeCommandListener, NodeCommands, NodesUnreachable, Outbox, OutboxKinds,
    RoomDeletion, RoomDirectory, RoomEvents, RoomRepository, Sanctions, StorageHealth, UserErasure,
    UserRecords,
};
use chat_domain::use_cases::DeleteRoom;
use chat_domain::{BoxError, User, one_line};
use tokio::net::TcpListener;

pub(crate) use self::webhooks::webhook_receiver;
use crate::api::keys::CurrentApiKeys;
use crate::api::rereading::reread_on_hangup;
use crate::app::{ApiOptions, App, AppOptions, Nodes, Task};
use crate::clients::Draining;
use crate::config::{Config, DatabaseUrl, StorageConfig};
use crate::deletion;
use crate::demo::Demo;
use crate::lock;
use crate::metrics::Metrics;
use crate::storage_watch::{self, Repositories};
use crate::traces::Traces;

/// The configured database.
pub(crate) enum Database {
    Sqlite(sqlite::Database),
    Postgres(Box<postgres::Database>),
}

impl Database {
    pub(crate) fn open(config: &StorageConfig) -> Result<Self, BoxError> {
        Ok(match &config.database {
            DatabaseUrl::Sqlite(path) => {
                Self::Sqlite(sqlite::Database::open(path.clone(), config.pool_size)?)
            }
            DatabaseUrl::Postgres(url) => {
                let database = postgres::Database::open(url, config.pool_size)?;
                Self::Postgres(Box::new(database))
            }
        })
    }

    /// Refuses a server that loses what it said it had stored.
    pub(crate) async fn check_durability(&self) -> Result<(), BoxError> {
        let Self::Postgres(database) = self else {
            // Each SQLite connection sets its own durability.
            return Ok(());
        };
        let durability = database.durability().await.map_err(|error| {
            format!(
                "the database of DATABASE_URL cannot be used: {}: check that it runs, and its \
                 address, user, password and encoding",
                one_line(&*error)
            )
        })?;
        match durability {
            Durability::Durable => {}
            Durability::DelayedCommit => tracing::warn!(
                "PostgreSQL has synchronous_commit=off: if it crashes, it may lose messages \
                 that members have seen"
            ),
            Durability::NoFsync => {
                return Err("PostgreSQL has fsync=off and can lose everything: turn it on".into());
            }
        }
        Ok(())
    }

    pub(crate) async fn pending_migrations(&self) -> Result<Vec<String>, BoxError> {
        match self {
            Self::Sqlite(database) => database.pending_migrations().await,
            Self::Postgres(database) => database.pending_migrations().await,
        }
    }

    pub(crate) async fn check_migratable(&self) -> Result<(), BoxError> {
        match self {
            Self::Sqlite(database) => database.check_migratable().await,
            Self::Postgres(database) => database.check_migratable().await,
        }
    }

    pub(crate) async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        match self {
            Self::Sqlite(database) => database.migrate().await,
            Self::Postgres(database) => database.migrate().await,
        }
    }

    /// Sets what is recorded for the product's backend. Must be called before the database is
    /// used.
    pub(crate) fn record(&self, kinds: OutboxKinds) {
        match self {
            Self::Sqlite(database) => database.record(kinds),
            Self::Postgres(database) => database.record(kinds),
        }
    }

    /// Returns what is to be reported to the product's backend.
    pub(crate) fn outbox(self) -> Arc<dyn Outbox> {
        self.ports().outbox
    }

    /// Returns the rules of rooms.
    pub(crate) fn directory(self) -> Arc<dyn RoomDirectory> {
        self.ports().directory
    }

    /// Returns where revocations and disconnections are stored.
    pub(crate) fn sanctions(self) -> Arc<dyn Sanctions> {
        self.ports().sanctions
    }

    /// Returns what deletes rooms without a node: the nodes find the closure in the database.
    pub(crate) fn delete_room(self) -> DeleteRoom {
        DeleteRoom::new(self.ports().deletion, Arc::new(LocalRoomEvents::default()))
    }

    /// Sets what observes the batches of messages.
    fn observe_batches(&self, observer: Arc<dyn BatchObserver>) {
        match self {
            Self::Sqlite(database) => database.observe_batches(observer),
            Self::Postgres(database) => database.observe_batches(observer),
        }
    }

    fn ports(self) -> Ports {
        fn shared<D>(database: D) -> Ports
        where
            D: MessageRepository
                + ChangeRepository
                + RoomRepository
                + RoomDirectory
                + Inbox
                + Sanctions
                + Acquaintances
                + RoomDeletion
                + Outbox
                + UserErasure
                + UserRecords
                + MessageImport
                + StorageHealth
                + 'static,
        {
            let database = Arc::new(database);
            Ports {
                messages: database.clone(),
                changes: database.clone(),
                rooms: database.clone(),
                directory: database.clone(),
                inbox: database.clone(),
                sanctions: database.clone(),
                acquaintances: database.clone(),
                deletion: database.clone(),
                outbox: database.clone(),
                erasure: database.clone(),
                records: database.clone(),
                import: database.clone(),
                storage: database,
            }
        }
        match self {
            Self::Sqlite(database) => shared(database),
            Self::Postgres(database) => shared(*database),
        }
    }
}

/// Observes batches.
struct Batches {
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl BatchObserver for Batches {
    fn stored(&self, messages: usize) {
        self.metrics.batch(messages);
    }

    fn has_spans(&self) -> bool {
        self.traces == Traces::On
    }
}

/// The ports of a database.
struct Ports {
    messages: Arc<dyn MessageRepository>,
    changes: Arc<dyn ChangeRepository>,
    rooms: Arc<dyn RoomRepository>,
    directory: Arc<dyn RoomDirectory>,
    inbox: Arc<dyn Inbox>,
    sanctions: Arc<dyn Sanctions>,
    acquaintances: Arc<dyn Acquaintances>,
    deletion: Arc<dyn RoomDeletion>,
    outbox: Arc<dyn Outbox>,
    erasure: Arc<dyn UserErasure>,
    records: Arc<dyn UserRecords>,
    import: Arc<dyn MessageImport>,
    storage: Arc<dyn StorageHealth>,
}

/// Refuses a Redis that can never be used. One that cannot be reached is not waited for: the
/// gateway serves without it, and connects to it when it is there.
pub(crate) async fn check_redis(options: &RedisOptions) -> Result<(), BoxError> {
    match RedisExchange::check(options).await {
        Err(error @ ConnectError::ClusterMode) => Err(format!("REDIS_URL: {error}").into()),
        Ok(()) | Err(ConnectError::Unreachable(_)) => Ok(()),
    }
}

/// Sends commands to all nodes from a process that is not a node.
pub(crate) fn node_commands(options: RedisOptions) -> Arc<dyn NodeCommands> {
    Arc::new(Sender(options))
}

/// Returns the system's clock.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

struct Sender(RedisOptions);

#[async_trait]
impl NodeCommands for Sender {
    async fn send(&self, command: NodeCommand) -> Result<u64, NodesUnreachable> {
        redis::send_command(&self.0, command).await
    }

    /// Nothing reaches this process.
    fn subscribe(&self, _: Weak<dyn NodeCommandListener>) {}
}

/// Returns what carries hints within this process and, with Redis, to other nodes.
fn events(
    options: Option<&RedisOptions>,
) -> Result<(Arc<dyn RoomEvents>, Option<Nodes>), BoxError> {
    let Some(options) = options else {
        return Ok((Arc::new(LocalRoomEvents::default()), None));
    };
    let exchange = RedisExchange::start(options)
        .map_err(|error| format!("REDIS_URL: {}", one_line(&*error)))?;
    let exchange = Arc::new(exchange);
    let nodes = Nodes {
        health: exchange.clone(),
        commands: exchange.clone(),
        roster: exchange.clone(),
        presence: exchange.clone(),
    };
    Ok((exchange, Some(nodes)))
}

/// Returns what verifies tokens.
fn authenticator(options: &JwtOptions) -> Result<JwtAuthenticator, BoxError> {
    // Only the keys of an issuer can fail here.
    JwtAuthenticator::new(options)
        .map_err(|error| format!("JWKS_URL: {}", one_line(&*error)).into())
}

/// Returns what asks the product about users without membership.
///
/// # Errors
/// It can never be asked.
pub(crate) fn access_hook(
    options: AccessHookOptions,
    metrics: Arc<Metrics>,
) -> Result<Arc<dyn AccessHook>, BoxError> {
    let url = options.url.clone();
    let hook = HttpAccessHook::new(options, metrics)
        .map_err(|error| format!("ACCESS_URL: {}", one_line(&*error)))?;
    if url.is_exposed() {
        tracing::warn!(
            %url,
            "the access hook is called without TLS: others on the network can read the claims of \
             tokens and change the answers"
        );
    }
    Ok(Arc::new(hook))
}

/// Returns why an issuer's keys cannot be fetched now, which does not prevent a start.
///
/// # Errors
/// They can never be fetched.
pub(crate) async fn check_keys(options: &JwtOptions) -> Result<Option<String>, BoxError> {
    let checked = authenticator(options)?.check_keys().await;
    Ok(checked.err().map(|error| one_line(&*error)))
}

/// A gateway on this database. Must be called within a tokio runtime.
///
/// `api_listener` is where the server API alone is served, if it has a port of its own.
pub(crate) fn app(
    config: Config,
    database: Database,
    demo: Option<Demo>,
    api_listener: Option<TcpListener>,
) -> Result<App, BoxError> {
    let metrics = Arc::new(Metrics::default());
    let traces = match config.traces {
        Some(_) => Traces::On,
        None => Traces::Off,
    };
    database.observe_batches(Arc::new(Batches {
        metrics: metrics.clone(),
        traces,
    }));
    let ports = database.ports();
    let mut authenticator = authenticator(&config.jwt)?;
    let access_hook = match config.access_hook {
        None => None,
        Some(options) => {
            authenticator = authenticator.with_grants();
            Some(access_hook(options, metrics.clone())?)
        }
    };
    let authenticator = Arc::new(authenticator);
    let keys = authenticator.clone();
    let (events, nodes) = events(config.redis.as_ref())?;
    let draining = match nodes {
        Some(_) => Draining::SPREAD,
        None => Draining::AtOnce,
    };
    let mut tasks = vec![
        Task::new("keeps the keys current", async move {
            keys.keep_keys_current().await;
        }),
        Task::new(
            "deletes closed rooms",
            deletion::delete_closed_rooms(ports.deletion.clone(), metrics.clone()),
        ),
    ];
    let webhooks = match &config.webhooks {
        Some(config) => Some(webhooks::sender(config, &ports, metrics.clone())?),
        None => None,
    };
    let api = match config.api {
        Some(api) => {
            let keys = CurrentApiKeys::new(api.keys);
            let rereading = reread_on_hangup(keys.clone(), api.file)?;
            tasks.push(Task::new("rereads the keys of the server API", rereading));
            Some(ApiOptions {
                keys,
                listener: api_listener,
            })
        }
        None => None,
    };
    let Repositories {
        messages,
        changes,
        rooms,
    } = storage_watch::watch(
        Repositories {
            messages: ports.messages,
            changes: ports.changes,
            rooms: ports.rooms,
        },
        metrics.clone(),
    );
    let app = App::new(AppOptions {
        messages,
        changes,
        rooms,
        directory: ports.directory,
        deletion: ports.deletion,
        erasure: ports.erasure,
        records: ports.records,
        import: ports.import,
        inbox: ports.inbox,
        acquaintances: ports.acquaintances,
        room_default: config.room_default,
        storage: ports.storage,
        events,
        nodes,
        authenticator,
        access_hook,
        sanctions: ports.sanctions,
        tasks,
        clock: Arc::new(SystemClock),
        origins: config.origins,
        trusted_proxies: config.trusted_proxies,
        limits: config.limits,
        metrics,
        traces,
        draining,
        api,
        demo,
    });
    if let Some(webhooks) = webhooks {
        let (draining, drained) = (app.gateway.draining.clone(), app.gateway.tasks.clone());
        let sending = Task::new("sends webhooks", webhooks.run(draining, drained));
        lock(&app.tasks).push(sending);
    }
    Ok(app)
}

/// Returns the secret with which tokens are signed.
///
/// # Errors
/// There is none: the issuer signs them.
pub(crate) fn signing_secret(options: &JwtOptions) -> Result<&Secret, BoxError> {
    match &options.keys {
        KeySource::Secrets { current, .. } => Ok(current),
        KeySource::PublicKeys(_) | KeySource::Jwks(_) => Err(
            "a token is signed with JWT_SECRET, but the public keys of JWKS_URL or \
             JWT_PUBLIC_KEY_FILE only verify: get a token from the issuer that has the private key"
                .into(),
        ),
    }
}

/// Mints a token that this configuration accepts.
///
/// # Errors
/// When no secret is configured, or signing fails.
pub(crate) fn mint_token(
    options: &JwtOptions,
    user: &User,
    ttl: Duration,
) -> Result<String, BoxError> {
    let claims = MintedClaims {
        ttl,
        issuer: options.issuer.as_deref(),
        audience: options.audience.as_deref(),
    };
    Ok(signing_secret(options)?.mint(user, claims, SystemClock.now())?)
}
