//! The chat gateway: real-time rooms over plain Socket.IO, every message stored
//! before anybody sees it.
//!
//! This crate is the thin outermost layer: it turns Socket.IO's events into calls
//! of the domain's use cases ([`chat_domain::use_cases`]), and what they produce
//! into packets. Where things are:
//!
//! - `config`: flags and environment to a typed [`config::Config`];
//! - `wiring`: the only place that names concrete adapters;
//! - [`server::serve`]: a listener and an [`App`] until a shutdown;
//! - `connection`: one TCP connection, its deadlines and its kill switch;
//! - `transport`: the HTTP requests of Engine.IO, `session`: what they belong to;
//! - `socket`: the handshake, the events, and what waits for a client;
//! - `expiry`: whose token ends when;
//! - `rooms`: who is in which room, and the order in which they see its messages;
//! - `http`: health, readiness, metrics, and the demo page;
//! - `commands`: what the binary can do.

mod app;
#[doc(hidden)]
pub mod bench;
pub mod commands;
pub mod config;
mod connection;
mod error_line;
mod expiry;
mod gateway;
mod http;
pub mod logging;
mod origin;
mod rooms;
pub mod server;
mod session;
mod socket;
mod transport;
mod wiring;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use app::{App, AppOptions, Demo, MintToken};
pub use error_line::one_line;
pub use gateway::Limits;
pub use origin::{AllowedOrigins, Origin};

/// Locks. No code here leaves half-done state behind when it panics, so a panic
/// elsewhere must not spread to everybody who shares the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
