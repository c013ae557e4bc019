//! Adapters of the domain's ports: repositories on PostgreSQL and SQLite, an authenticator
//! for JSON Web Tokens, hints within one process and through Redis, and the system's clock.
//!
//! The modules [`postgres`] and [`sqlite`] mirror each other file for file. One suite per
//! port, in `tests/contract`, runs against each of its adapters.
//!
//! Features: `postgres`, `sqlite`, `redis`, `jwt`, `jwks` (which fetches keys) and `hooks`
//! (which calls the product's backend), all enabled by default.

#[cfg(feature = "hooks")]
pub mod access_hook;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[doc(hidden)]
pub mod bench;
mod clock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod group_commit;
#[cfg(feature = "hooks")]
mod hook_url;
#[cfg(any(feature = "hooks", feature = "jwks"))]
mod http_client;
#[cfg(any(feature = "hooks", feature = "jwks"))]
mod http_url;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod import;
#[cfg(feature = "jwks")]
pub mod jwks;
#[cfg(feature = "jwt")]
pub mod jwt;
mod local;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod page;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "hooks")]
pub mod standard_webhooks;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_changes;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_extras;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_inbox;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_outbox;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_rules;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_users;
#[cfg(any(
    feature = "hooks",
    feature = "jwks",
    feature = "postgres",
    feature = "redis"
))]
mod tls;
#[cfg(feature = "hooks")]
pub mod webhooks;

pub use clock::SystemClock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use group_commit::BatchObserver;
#[cfg(feature = "hooks")]
pub use hook_url::{HookUrl, InvalidHookUrl};
pub use local::LocalRoomEvents;
