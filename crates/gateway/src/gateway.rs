//! What all connections share.

use std::sync::Arc;

use chat_delivery::{Presence, Rooms, Watchers};
use chat_domain::ports::{Clock, RoomEvents};
use chat_domain::use_cases::{
    ChangeMessage, ChangeRules, Connect, DeleteRoom, DisconnectUser, EraseUser, ExportUser,
    GetRoom, ImportMessages, JoinRoom, LeaveRoom, ListChanges, ListMembers, ListMessages,
    ListReactions, ListRooms, MarkRead, Permits, ProductView, RenewToken, RevokeTokens,
    SendMessage, SetNotify, SetTyping, WatchRooms,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::Draining;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::rates::Rates;
use crate::refusals::Refusals;
use crate::rules::ChangedRules;
use crate::sanctions::KnownSanctions;
use crate::socket::outbox::Outbox;
use crate::traces::Traces;

/// The use cases, the delivery of rooms, and what the connections' tasks run in.
pub(crate) struct Gateway {
    pub(crate) connect: Connect,
    pub(crate) renew_token: RenewToken,
    pub(crate) join_room: JoinRoom,
    pub(crate) leave_room: LeaveRoom,
    pub(crate) send_message: SendMessage,
    pub(crate) list_messages: ListMessages,
    pub(crate) change_message: ChangeMessage,
    pub(crate) list_changes: ListChanges,
    pub(crate) list_reactions: ListReactions,
    pub(crate) mark_read: MarkRead,
    pub(crate) set_typing: SetTyping,
    pub(crate) change_rules: ChangeRules,
    pub(crate) delete_room: DeleteRoom,
    pub(crate) get_room: GetRoom,
    pub(crate) list_members: ListMembers,
    pub(crate) product_view: ProductView,
    pub(crate) list_rooms: ListRooms,
    pub(crate) set_notify: SetNotify,
    pub(crate) watch_rooms: WatchRooms,
    pub(crate) permits: Permits,
    pub(crate) disconnect_user: DisconnectUser,
    pub(crate) revoke_tokens: RevokeTokens,
    pub(crate) erase_user: EraseUser,
    pub(crate) export_user: ExportUser,
    pub(crate) import_messages: ImportMessages,
    pub(crate) sanctions: Arc<KnownSanctions>,
    pub(crate) changed_rules: Arc<ChangedRules>,
    pub(crate) events: Arc<dyn RoomEvents>,
    pub(crate) rooms: Arc<Rooms<Outbox>>,
    pub(crate) watchers: Arc<Watchers<Outbox>>,
    pub(crate) presence: Arc<Presence<Outbox>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) rates: Rates,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
    /// Cancelled when the gateway starts to drain.
    pub(crate) draining: CancellationToken,
    /// How it then closes its clients.
    pub(crate) closing: Draining,
    /// Everything that runs for a connection or a room.
    pub(crate) tasks: TaskTracker,
}
