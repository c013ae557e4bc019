//! How a test differs from the others.

use std::time::Duration;

use crate::client::BACKOFF;
use crate::proxy::ProxyFault;

/// How a test differs from the others.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// The number of gateways.
    pub(crate) nodes: usize,
    /// A proxy between the clients and the first gateway.
    pub(crate) proxy: Option<ProxyFault>,
    /// Whether the gateways exchange hints through a Redis of their own.
    pub(crate) redis: bool,
    /// To which server a cable leads from each gateway.
    pub(crate) cabled: Option<Cabled>,
    /// The length of a message in characters.
    pub(crate) length: usize,
    /// Whether only clients take part that stay in their rooms.
    pub(crate) without_visitors: bool,
    /// Whether all clients use the same room.
    pub(crate) one_room: bool,
    /// How long a client waits for an answer before it connects to another node.
    pub(crate) patience: Option<Duration>,
    /// How long a client waits before it repeats a refused message.
    pub(crate) backoff: Duration,
    /// The bug to be found, in the gateway program that `PLANTED_GATEWAY` names; "none" for the
    /// program without a bug.
    pub(crate) planted: Option<&'static str>,
}

/// A server that the gateways use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cabled {
    Database,
    Redis,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 1,
            proxy: None,
            redis: false,
            cabled: None,
            length: 40,
            without_visitors: false,
            one_room: false,
            patience: None,
            backoff: BACKOFF,
            planted: None,
        }
    }
}
