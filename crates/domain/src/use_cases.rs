//! The actions of users and of the product: plain structs over ports. Tests mock ports, never use cases.

mod change_message;
mod change_rules;
mod connect;
mod delete_room;
mod disconnect_user;
mod erase_user;
mod every_node;
mod export_user;
mod get_room;
mod import_messages;
mod join_room;
mod known_rules;
mod leave_room;
mod list_changes;
mod list_members;
mod list_messages;
mod list_reactions;
mod list_rooms;
mod mark_read;
mod own_reactions;
mod page;
mod permits;
mod product_view;
mod renew_token;
mod revoke_tokens;
mod send_message;
mod set_notify;
mod set_typing;
mod watch_rooms;

pub use change_message::{ChangeMessage, ChangeMessageError, UserEdit};
pub use change_rules::{Actor, ChangeRules, ChangeRulesError, Put, RulesChange, RulesRequest};
pub use connect::{Connect, ConnectError};
pub use delete_room::{DeleteRoom, DeleteRoomError, RoomDeleted};
pub use disconnect_user::DisconnectUser;
pub use erase_user::{EndedStanding, EraseUser, EraseUserError, ErasureStep};
pub use every_node::{EveryNode, Imposed};
pub use export_user::{ExportUser, Exported, UserExport};
pub use get_room::{GetRoom, GetRoomError, RoomView};
pub use import_messages::{ImportError, ImportMessages, ImportedMessage, RoomImport};
pub use join_room::{CatchUp, Changed, JoinRoom, JoinRoomError, Joining};
pub use leave_room::LeaveRoom;
pub use list_changes::{ChangesRead, ListChanges};
pub use list_members::{ListMembers, ListMembersError};
pub use list_messages::{ListMessages, ListMessagesError, PageStart};
pub use list_reactions::{ListReactions, ListReactionsError};
pub use list_rooms::{
    EncodeSummary, EncodedSummary, InboxLimit, ListRooms, ListRoomsError, RoomsPage,
};
pub use mark_read::{MarkRead, MarkReadError};
pub use own_reactions::OwnReactions;
pub use page::{Page, PageLimit};
pub use permits::Permits;
pub use product_view::{ProductView, ProductViewError};
pub use renew_token::{RenewToken, RenewTokenError};
pub use revoke_tokens::{RevokeTokens, RevokeTokensError};
pub use send_message::{
    Attempt, Posted, ProductMessage, SendMessage, SendMessageError, SentMessage,
};
pub use set_notify::{SetNotify, SetNotifyError};
pub use set_typing::{SetTyping, SetTypingError};
pub use watch_rooms::{WatchRooms, WatchRoomsError};
