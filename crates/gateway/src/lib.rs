//! The chat gateway: real-time rooms over plain Socket.IO, every message stored before any
//! client sees it.
//!
//! This crate is the outermost layer. It turns the events of Socket.IO into calls of the
//! domain's use cases ([`chat_domain::use_cases`]), and hands what [`chat_delivery`]
//! delivers to the clients:
//!
//! - `config`: flags and environment to a typed [`config::Config`]; `limits`: everything
//!   that is bounded; `admission` and `rates`: how many sessions, events and handshakes;
//!   `refusals`: what was refused; `open_files`: the limit of the operating system; `free_memory`: gives
//!   back what a peak has taken;
//! - `wiring`: the only file that names concrete adapters; `app`: what it puts together;
//!   `storage_watch`: logs storage outages;
//! - [`server::serve`]: a listener and an [`App`] until a shutdown; `supervisor`: the tasks
//!   that must keep running;
//! - `wire`: one TCP connection, its deadlines and its kill switch; `origin` and
//!   `client_address`: where a request comes from;
//! - `transport`: the HTTP requests of Engine.IO; `session`: the sessions they belong to;
//! - `socket`: the handshake, the events, and what waits for a client; `clients`: all
//!   connected clients;
//! - `api`: the server API of the product's backend, and its keys;
//! - `webhooks`: what is reported to that backend;
//! - `metrics`: what is counted; `http`: health, readiness, the scrape; `demo`: the users and
//!   rooms of the demo page;
//! - `traces`: spans, if they are exported;
//! - `commands`: the commands of the binary.

mod admission;
mod api;
mod app;
#[doc(hidden)]
pub mod bench;
mod client_address;
mod clients;
mod codes;
pub mod commands;
pub mod config;
mod deletion;
mod demo;
mod erasure;
mod free_memory;
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod http;
mod limits;
pub mod logging;
mod metrics;
mod open_files;
mod origin;
mod rates;
mod refusals;
mod rules;
mod sanctions;
pub mod server;
mod session;
mod socket;
mod spacing;
mod statistics;
mod storage_watch;
mod supervisor;
mod traces;
mod transport;
mod webhooks;
mod wire;
mod wiring;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use api::keys::{ApiKeys, CurrentApiKeys, InvalidApiKeys};
pub use app::{ApiOptions, App, AppOptions, Nodes, Task};
pub use client_address::{InvalidNetwork, TrustedProxies};
pub use clients::Draining;
pub use demo::{Demo, MintToken};
pub use limits::Limits;
pub use metrics::Metrics;
pub use origin::{AllowedOrigins, Origin};
pub use traces::{InvalidEndpoint, TraceEndpoint, Traces};

/// Locks a mutex. No code here leaves inconsistent state behind when it panics, so a panic
/// in one task must not spread to the others that share the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
