//! Changes of rules, and what rooms with rules are like.

use std::time::Duration;

use chat_domain::{Role, RoomKind};

/// A change of a room's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    SetMember {
        user: &'static str,
        role: Role,
    },
    Remove {
        user: &'static str,
    },
    /// For this many seconds, or until the ban is lifted.
    Ban {
        user: &'static str,
        seconds: Option<u64>,
    },
    Unban {
        user: &'static str,
    },
    /// For this many seconds, or until the mute is lifted.
    Mute {
        user: &'static str,
        seconds: Option<u64>,
    },
    Unmute {
        user: &'static str,
    },
    SetFrozen(bool),
    SetKind(RoomKind),
}

impl Change {
    /// Returns the name of the change's event.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::SetMember { .. } => "setMember",
            Self::Remove { .. } => "removeMember",
            Self::Ban { .. } => "banMember",
            Self::Unban { .. } => "unbanMember",
            Self::Mute { .. } => "muteMember",
            Self::Unmute { .. } => "unmuteMember",
            Self::SetFrozen(_) | Self::SetKind(_) => "setRoom",
        }
    }
}

/// The answer to `getRoom` or `listMembers`.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Room {
        kind: RoomKind,
        frozen: bool,
    },
    /// Every member of the room.
    Members(Vec<Member>),
}

/// A member of a room.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) user: String,
    pub(crate) role: Role,
    pub(crate) is_muted: bool,
}

/// The tables of rules: every room that has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// Each room, its kind, and whether it is frozen.
    pub(crate) rooms: Vec<(u64, RoomKind, bool)>,
    pub(crate) members: Vec<(u64, String, Role)>,
    /// The bans and mutes that have not ended.
    pub(crate) banned: Vec<(u64, String)>,
    pub(crate) muted: Vec<(u64, String)>,
}

/// The tables of rules before and after a test. Between them, only clients changed rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) before: Tables,
    pub(crate) after: Tables,
    /// When the tables were read at the end: the beginning and the end of the read.
    pub(crate) read: [Duration; 2],
}
