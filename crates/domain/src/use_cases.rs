//! The actions of users: plain structs over ports. Tests mock ports, never use cases.

mod connect;
mod join_room;
mod leave_room;
mod list_messages;
mod mark_read;
mod renew_token;
mod send_message;

pub use connect::{Connect, ConnectError};
pub use join_room::{CatchUp, JoinRoom, JoinRoomError, Joining};
pub use leave_room::LeaveRoom;
pub use list_messages::{ListMessages, ListMessagesError, Page, PageLimit, PageStart};
pub use mark_read::{MarkRead, MarkReadError};
pub use renew_token::{RenewToken, RenewTokenError};
pub use send_message::{SendMessage, SendMessageError, SentMessage};
