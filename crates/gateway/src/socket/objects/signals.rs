//! What clients are told about what users do at this moment.

use chat_delivery::{RoomPresence, UserPresence};
use chat_domain::{RoomId, User};
use serde::Serialize;

use super::WireUser;

/// The acknowledgement of `setTyping`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TypingAck {
    room_id: u64,
    typing: bool,
}

impl TypingAck {
    pub(crate) fn new(room_id: RoomId, typing: bool) -> Self {
        Self {
            room_id: room_id.get(),
            typing,
        }
    }
}

/// `typing`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typing<'a> {
    room_id: u64,
    user_id: &'a str,
    user: WireUser<'a>,
    typing: bool,
}

impl<'a> Typing<'a> {
    pub(crate) fn new(room_id: RoomId, user: &'a User, typing: bool) -> Self {
        Self {
            room_id: room_id.get(),
            user_id: user.id.as_str(),
            user: WireUser::of(user),
            typing,
        }
    }
}

/// The acknowledgement of `listPresent`.
#[derive(Serialize)]
pub(crate) struct PresentAck<'a> {
    users: Vec<WireUser<'a>>,
    count: usize,
    complete: bool,
}

impl<'a> PresentAck<'a> {
    pub(crate) fn new(present: &'a RoomPresence) -> Self {
        Self {
            users: present.users.iter().map(WireUser::of).collect(),
            count: present.count,
            complete: present.is_complete,
        }
    }
}

/// `userPresence`, and a user in the acknowledgement of `watchUsers`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireUserPresence<'a> {
    user_id: &'a str,
    online: bool,
    last_seen_at: Option<String>,
}

impl<'a> WireUserPresence<'a> {
    pub(crate) fn new(presence: &'a UserPresence) -> Self {
        Self {
            user_id: presence.user_id.as_str(),
            online: presence.is_online,
            last_seen_at: presence.last_seen.map(|at| at.to_string()),
        }
    }
}

/// The acknowledgement of `watchUsers`.
#[derive(Serialize)]
pub(crate) struct WatchedUsersAck<'a> {
    users: Vec<WireUserPresence<'a>>,
}

impl<'a> WatchedUsersAck<'a> {
    pub(crate) fn new(users: &'a [UserPresence]) -> Self {
        Self {
            users: users.iter().map(WireUserPresence::new).collect(),
        }
    }
}
