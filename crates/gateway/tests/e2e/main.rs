//! The gateway as its clients and operators meet it: the binary, real sockets, real
//! databases.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod backpressure;
mod delivery;
mod dev;
mod draining;
mod events;
mod handshake;
mod loadtest;
mod operations;
mod origins;
mod outage;
mod rooms;
mod storage;
mod transport;

/// A test on each database: `async fn(Database)`.
#[macro_export]
macro_rules! on_each_database {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&$crate::support::Database::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&$crate::support::Database::postgres()).await;
            })*
        }
    };
}
