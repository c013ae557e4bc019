//! How a test differs from the others.

use std::time::Duration;

use crate::client::{BACKOFF, Profile, Role};
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
    /// Whether all clients use the same room, which has no rules.
    pub(crate) one_room: bool,
    /// How long a client waits for an answer before it connects to another node.
    pub(crate) patience: Option<Duration>,
    /// How long a client waits before it repeats a refused message.
    pub(crate) backoff: Duration,
    /// The bug to be found, in the gateway program that `PLANTED_GATEWAY` names; "none" for the
    /// program without a bug.
    pub(crate) planted: Option<&'static str>,
}

impl Setup {
    /// Returns whether some clients use rooms with rules. They need more of the machine than
    /// short runs beside other tests leave them, so that only `cargo xtask chaos` asks for them.
    pub(super) fn has_rules(self) -> bool {
        let is_asked_for = std::env::var_os("CHAOS_RULES").is_some();
        is_asked_for && !self.without_visitors && !self.one_room
    }

    /// Returns the client with this profile as it takes part, if it does.
    pub(super) fn profile(self, mut profile: Profile) -> Option<Profile> {
        let takes_part = match profile.role {
            Role::Sender | Role::Reader => true,
            Role::Editor => !self.one_room,
            Role::Visitor => !self.without_visitors,
            Role::Owner | Role::Moderator | Role::Guest => self.has_rules(),
        };
        if self.one_room {
            profile.rooms = &[1];
        }
        takes_part.then_some(profile)
    }
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
