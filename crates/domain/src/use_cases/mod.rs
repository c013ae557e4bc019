//! What users do. Plain structs over ports; a port is mocked in a test, a use
//! case never.

mod connect;
mod join_room;
mod list_messages;
mod mark_read;
mod send_message;

pub use connect::{Connect, ConnectError};
pub use join_room::{JoinRoom, JoinRoomError};
pub use list_messages::{ListMessages, ListMessagesError, Page, PageLimit, PageStart};
pub use mark_read::{MarkRead, MarkReadError};
pub use send_message::{SendMessage, SendMessageError, SentMessage};
