//! The domain's ports, implemented: PostgreSQL and SQLite behind the
//! repositories, JSON Web Tokens behind the authenticator, and what needs no
//! technology at all (hints within one process, the system's clock).
//!
//! The modules [`postgres`] and [`sqlite`] mirror each other file for file. One
//! suite per port, in `tests/contract`, runs against every adapter of it.
//!
//! Features: `postgres`, `sqlite`, `jwt` (all on by default).

#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[doc(hidden)]
pub mod bench;
mod clock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod group_commit;
#[cfg(feature = "jwt")]
pub mod jwt;
mod local;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod page;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use clock::SystemClock;
pub use local::LocalRoomEvents;
