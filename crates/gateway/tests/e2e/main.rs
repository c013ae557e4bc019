//! End-to-end tests: the gateway's binary with real sockets and real databases, as clients
//! and operators see it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admission;
mod api;
mod backpressure;
mod canaries;
mod changes;
mod client_addresses;
mod contract;
mod deleted_rows;
mod deletion;
mod dev;
mod documentation;
mod draining;
mod engine_io_protocol;
mod events;
mod expiry;
mod extras;
mod freshness;
mod handshake;
mod hidden_rooms;
mod history;
mod inbox;
mod internal_error;
mod issuer;
mod kill_switch;
mod loadtest;
mod metrics;
mod names;
mod nodes;
mod operations;
mod origins;
mod outage;
mod overload;
mod packet_size;
mod payloads;
mod presence;
mod rates;
mod read_pace;
mod read_pointers;
mod rejoins;
mod renewal;
mod repeats;
mod revocation;
mod rolling_restarts;
mod rooms;
mod rules;
mod socket_io_protocol;
mod spread_closing;
mod storage;
mod traces;
mod transport;
mod typing;
mod watching;
mod webhooks;

/// Declares a test on each database for each `async fn(&Database)`.
#[macro_export]
macro_rules! on_each_database {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&$crate::support::Database::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&$crate::support::Database::postgres()).await;
            })*
        }
    };
}
