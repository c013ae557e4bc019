//! The messages and the runtime that the pieces share.

use chat_domain::{
    ClientMessageId, Content, DisplayName, Message, MessageId, NewMessage, RoomId, Seq, Timestamp,
    User, UserId,
};
use tokio::runtime::{Builder, Runtime};

/// The number of characters in a typical message.
pub(crate) const TYPICAL: usize = 100;

/// Returns prose of this many characters.
pub(crate) fn text(length: usize) -> String {
    let prose = "the quick brown fox jumps over the lazy dog, ";
    prose.chars().cycle().take(length).collect()
}

pub(crate) fn room(id: u64) -> RoomId {
    RoomId::new(id).expect("a valid room id")
}

pub(crate) fn seq(position: u64) -> Seq {
    Seq::new(position).expect("a valid position")
}

pub(crate) fn user() -> User {
    User {
        id: UserId::new("42").expect("a valid user id"),
        name: DisplayName::from_text("Ada"),
    }
}

/// Returns the time at which every message arrives.
pub(crate) fn arrival() -> Timestamp {
    Timestamp::from_unix_millis(1_769_860_800_000)
}

pub(crate) fn new_message(room_id: RoomId, length: usize) -> NewMessage {
    NewMessage {
        extras: None,
        room_id,
        author: user(),
        content: Content::new(text(length)).expect("valid content"),
        client_message_id: ClientMessageId::new("c0ffee-1").ok(),
        created_at: arrival(),
        rules: chat_domain::RulesNumber::NONE,
    }
}

/// Returns a typical message at this position of a room.
pub(crate) fn message(room_id: RoomId, position: u64) -> Message {
    new_message(room_id, TYPICAL).stored(MessageId::new(812), seq(position))
}

/// Creates a runtime with one thread, whose clock only advances when nothing can run.
pub(crate) fn paused_runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts")
}
