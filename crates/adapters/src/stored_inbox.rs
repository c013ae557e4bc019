//! Converts what is stored about inboxes. Both databases store it alike, except for times and
//! messages.

use std::sync::Arc;

use chat_domain::ports::{InboxPage, InboxPosition, ListedRoom};
use chat_domain::{
    MemberView, Message, Metadata, Notify, RoomAccess, RoomId, RoomKind, RoomName, RoomOverview,
    Seq, StorageError, Summary,
};

use crate::{stored_changes, stored_rules};

/// The columns of a room, and its newest message.
pub(crate) struct OverviewColumns {
    pub(crate) room_id: RoomId,
    pub(crate) newest: Seq,
    pub(crate) rev: i64,
    /// Empty if the room's settings are missing.
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) metadata: String,
    pub(crate) last_message: Option<Message>,
}

/// The columns of a member.
pub(crate) struct ViewColumns {
    pub(crate) role: String,
    pub(crate) notify: String,
    pub(crate) read: Seq,
    pub(crate) mentions: i64,
}

pub(crate) fn overview(columns: OverviewColumns) -> Result<RoomOverview, StorageError> {
    let kind = columns.kind;
    Ok(RoomOverview {
        room_id: columns.room_id,
        kind: RoomKind::from_name(&kind)
            .ok_or_else(|| StorageError::corrupt(format!("{kind:?} is not a valid kind")))?,
        name: columns
            .name
            .map(RoomName::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
        metadata: Metadata::new(columns.metadata).map_err(StorageError::corrupt)?,
        newest: columns.newest,
        rev: stored_changes::rev(columns.rev)?,
        last_message: columns.last_message,
    })
}

pub(crate) fn view(columns: &ViewColumns) -> Result<MemberView, StorageError> {
    let notify = &columns.notify;
    Ok(MemberView {
        role: stored_rules::role(&columns.role)?,
        notify: Notify::from_name(notify)
            .ok_or_else(|| StorageError::corrupt(format!("{notify:?} is not a valid notify")))?,
        read: columns.read,
        mentions: stored_rules::count(columns.mentions)?,
    })
}

pub(crate) fn listed(
    activity: u64,
    room: OverviewColumns,
    member: &ViewColumns,
) -> Result<ListedRoom, StorageError> {
    Ok(ListedRoom {
        position: InboxPosition {
            activity,
            room_id: room.room_id,
        },
        summary: Summary {
            room: Arc::new(overview(room)?),
            member: view(member)?,
        },
    })
}

/// Assembles a page from the rooms that were read, one more than its limit if there are more.
pub(crate) fn page(
    mut rooms: Vec<ListedRoom>,
    limit: usize,
    unread_total: i64,
) -> Result<InboxPage, StorageError> {
    let has_more = rooms.len() > limit;
    rooms.truncate(limit);
    Ok(InboxPage {
        rooms,
        has_more,
        unread_total: stored_rules::count(unread_total)?,
    })
}

/// Returns the rooms to which an inbox is limited, if it is.
pub(crate) fn allowed(access: &RoomAccess) -> Option<Vec<i64>> {
    match access {
        RoomAccess::All => None,
        RoomAccess::Only(rooms) => Some(rooms.iter().map(|id| id.get().cast_signed()).collect()),
    }
}
