//! The labels and their values: few, and never a user or a room.

use std::borrow::Cow;

use http::StatusCode;

use crate::api::Operation;
use crate::socket::handshake::Refusal;
use crate::socket::reply::Code;
use crate::storage_watch::Kind;

/// A label whose values are known.
pub(super) trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;

    /// Returns all values, each at its index.
    fn all() -> Vec<Self>;

    /// Returns the value as it is written.
    fn value(self) -> Cow<'static, str>;

    /// Returns the value's place among all.
    fn index(self) -> usize;
}

/// The name of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventName {
    JoinRoom,
    LeaveRoom,
    SendMessage,
    ListMessages,
    MarkRead,
    RenewToken,
    SetMember,
    RemoveMember,
    BanMember,
    UnbanMember,
    MuteMember,
    UnmuteMember,
    SetRoom,
    GetRoom,
    ListMembers,
    ListRooms,
    WatchRooms,
    SetNotify,
    EditMessage,
    DeleteMessage,
    SetReaction,
    ListReactions,
    ListChanges,
    SetTyping,
    ListPresent,
    WatchUsers,
    /// None that is known.
    Unknown,
}

impl EventName {
    /// Returns the event with a name on the wire, if it can be read.
    pub(crate) fn of(name: Option<&str>) -> Self {
        match name {
            Some("joinRoom") => Self::JoinRoom,
            Some("leaveRoom") => Self::LeaveRoom,
            Some("sendMessage") => Self::SendMessage,
            Some("listMessages") => Self::ListMessages,
            Some("markRead") => Self::MarkRead,
            Some("renewToken") => Self::RenewToken,
            Some("setMember") => Self::SetMember,
            Some("removeMember") => Self::RemoveMember,
            Some("banMember") => Self::BanMember,
            Some("unbanMember") => Self::UnbanMember,
            Some("muteMember") => Self::MuteMember,
            Some("unmuteMember") => Self::UnmuteMember,
            Some("setRoom") => Self::SetRoom,
            Some("getRoom") => Self::GetRoom,
            Some("listMembers") => Self::ListMembers,
            Some("listRooms") => Self::ListRooms,
            Some("watchRooms") => Self::WatchRooms,
            Some("setNotify") => Self::SetNotify,
            Some("editMessage") => Self::EditMessage,
            Some("deleteMessage") => Self::DeleteMessage,
            Some("setReaction") => Self::SetReaction,
            Some("listReactions") => Self::ListReactions,
            Some("listChanges") => Self::ListChanges,
            Some("setTyping") => Self::SetTyping,
            Some("listPresent") => Self::ListPresent,
            Some("watchUsers") => Self::WatchUsers,
            _ => Self::Unknown,
        }
    }

    /// Returns the name on the wire, or `unknown`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JoinRoom => "joinRoom",
            Self::LeaveRoom => "leaveRoom",
            Self::SendMessage => "sendMessage",
            Self::ListMessages => "listMessages",
            Self::MarkRead => "markRead",
            Self::RenewToken => "renewToken",
            Self::SetMember => "setMember",
            Self::RemoveMember => "removeMember",
            Self::BanMember => "banMember",
            Self::UnbanMember => "unbanMember",
            Self::MuteMember => "muteMember",
            Self::UnmuteMember => "unmuteMember",
            Self::SetRoom => "setRoom",
            Self::GetRoom => "getRoom",
            Self::ListMembers => "listMembers",
            Self::ListRooms => "listRooms",
            Self::WatchRooms => "watchRooms",
            Self::SetNotify => "setNotify",
            Self::EditMessage => "editMessage",
            Self::DeleteMessage => "deleteMessage",
            Self::SetReaction => "setReaction",
            Self::ListReactions => "listReactions",
            Self::ListChanges => "listChanges",
            Self::SetTyping => "setTyping",
            Self::ListPresent => "listPresent",
            Self::WatchUsers => "watchUsers",
            Self::Unknown => "unknown",
        }
    }
}

impl Label for EventName {
    const NAME: &'static str = "event";

    fn all() -> Vec<Self> {
        vec![
            Self::JoinRoom,
            Self::LeaveRoom,
            Self::SendMessage,
            Self::ListMessages,
            Self::MarkRead,
            Self::RenewToken,
            Self::SetMember,
            Self::RemoveMember,
            Self::BanMember,
            Self::UnbanMember,
            Self::MuteMember,
            Self::UnmuteMember,
            Self::SetRoom,
            Self::GetRoom,
            Self::ListMembers,
            Self::ListRooms,
            Self::WatchRooms,
            Self::SetNotify,
            Self::EditMessage,
            Self::DeleteMessage,
            Self::SetReaction,
            Self::ListReactions,
            Self::ListChanges,
            Self::SetTyping,
            Self::ListPresent,
            Self::WatchUsers,
            Self::Unknown,
        ]
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(self.name())
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How an event was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Refused(Code),
}

impl Label for Outcome {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        let refused = Code::ALL.into_iter().map(Self::Refused);
        std::iter::once(Self::Ok).chain(refused).collect()
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Ok => "ok",
            Self::Refused(code) => code.name(),
        })
    }

    fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Refused(code) => 1 + code as usize,
        }
    }
}

/// What became of a client that asked to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Accepted,
    /// This node drains: the client is to try another one.
    SentElsewhere,
    Refused(Refusal),
}

impl Label for Handshake {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        let refused = Refusal::ALL.into_iter().map(Self::Refused);
        [Self::Accepted, Self::SentElsewhere]
            .into_iter()
            .chain(refused)
            .collect()
    }

    fn value(self) -> Cow<'static, str> {
        match self {
            Self::Accepted => "accepted".into(),
            Self::SentElsewhere => "sent_elsewhere".into(),
            Self::Refused(refusal) => refusal.to_string().into(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::SentElsewhere => 1,
            Self::Refused(refusal) => 2 + refusal as usize,
        }
    }
}

/// Why the gateway ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DisconnectReason {
    /// The client takes nothing although something waits for it.
    Stalled,
    /// A request of the client takes too long.
    SlowRequest,
    TokenExpired,
    TokenRevoked,
    /// At the operator's request.
    Kicked,
    /// The gateway drains.
    Draining,
}

impl Label for DisconnectReason {
    const NAME: &'static str = "reason";

    fn all() -> Vec<Self> {
        vec![
            Self::Stalled,
            Self::SlowRequest,
            Self::TokenExpired,
            Self::TokenRevoked,
            Self::Kicked,
            Self::Draining,
        ]
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Stalled => "stalled",
            Self::SlowRequest => "slow_request",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::Kicked => "kicked",
            Self::Draining => "draining",
        })
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How a message came to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Live,
    CatchUp,
    Replay,
}

impl Label for Delivery {
    const NAME: &'static str = "kind";

    fn all() -> Vec<Self> {
        vec![Self::Live, Self::CatchUp, Self::Replay]
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Live => "live",
            Self::CatchUp => "catch_up",
            Self::Replay => "replay",
        })
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Operation {
    const NAME: &'static str = "operation";

    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(self.name())
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The status with which a request of the server API was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiStatus(usize);

impl ApiStatus {
    /// All statuses that occur; the last one stands for any other.
    const ALL: [u16; 14] = [
        200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 415, 429, 503, 500,
    ];

    pub(crate) fn of(status: StatusCode) -> Self {
        let found = Self::ALL.iter().position(|known| *known == status.as_u16());
        Self(found.unwrap_or(Self::ALL.len() - 1))
    }
}

impl Label for ApiStatus {
    const NAME: &'static str = "status";

    fn all() -> Vec<Self> {
        (0..Self::ALL.len()).map(Self).collect()
    }

    fn value(self) -> Cow<'static, str> {
        Self::ALL[self.0].to_string().into()
    }

    fn index(self) -> usize {
        self.0
    }
}

impl Label for Kind {
    const NAME: &'static str = "kind";

    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    fn value(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::ReadUnavailable => "read_unavailable",
            Self::WriteUnavailable => "write_unavailable",
            Self::WriteOutcomeUnknown => "write_outcome_unknown",
            Self::Corrupt => "corrupt",
        })
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label + PartialEq + std::fmt::Debug>() {
        let all = L::all();
        for (index, label) in all.iter().enumerate() {
            assert_eq!(label.index(), index, "{label:?}");
        }
        let mut values: Vec<_> = all.iter().map(|label| label.value()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), all.len(), "two values have one name");
    }

    #[test]
    fn each_value_of_a_label_has_its_own_counter() {
        check::<EventName>();
        check::<Outcome>();
        check::<Handshake>();
        check::<DisconnectReason>();
        check::<Delivery>();
        check::<Kind>();
        check::<Operation>();
        check::<ApiStatus>();
    }
}
