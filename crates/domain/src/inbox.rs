//! The inbox: the rooms in which a user has membership, and what is new there.

use std::sync::Arc;

use crate::{Message, Metadata, ReadState, Rev, Role, RoomId, RoomKind, RoomName, Seq};

/// About which messages of a room a member wants to be notified. The gateway keeps it for the
/// product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Notify {
    /// Every message.
    #[default]
    All,
    /// Messages that mention the member.
    Mentions,
    /// None.
    None,
}

impl Notify {
    /// All values.
    pub const ALL: [Self; 3] = [Self::All, Self::Mentions, Self::None];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mentions => "mentions",
            Self::None => "none",
        }
    }

    /// Returns the value with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notify| notify.as_str() == name)
    }
}

/// The part of a room's summary that is the same for every member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomOverview {
    /// The room.
    pub room_id: RoomId,
    /// Which users may join it.
    pub kind: RoomKind,
    /// Its name, if it has one.
    pub name: Option<RoomName>,
    /// What the product keeps with it.
    pub metadata: Metadata,
    /// Its newest stored position.
    pub newest: Seq,
    /// The number of its newest change to a message.
    pub rev: Rev,
    /// Its newest message, with its author's latest stored name.
    pub last_message: Option<Message>,
}

/// What a summary states about one member alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberView {
    /// The member's role.
    pub role: Role,
    /// About which messages it wants to be notified.
    pub notify: Notify,
    /// Its read pointer.
    pub read: Seq,
    /// The number of unread messages that mention it, counted up to [`Self::MAX_MENTIONS`].
    pub mentions: u64,
}

impl MemberView {
    /// How many unread mentions are counted in one room. More are as many.
    pub const MAX_MENTIONS: u64 = 1000;
}

/// One room in a user's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The room, as every member sees it.
    pub room: Arc<RoomOverview>,
    /// The user's own part.
    pub member: MemberView,
}

impl Summary {
    /// Returns how far the room has come, and how far the user has read it.
    pub fn read_state(&self) -> ReadState {
        ReadState {
            newest: self.room.newest,
            read: self.member.read,
        }
    }
}
