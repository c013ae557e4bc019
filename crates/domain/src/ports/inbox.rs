//! Inboxes: the rooms in which users have membership.

use async_trait::async_trait;

use crate::{MemberView, Notify, RoomAccess, RoomId, RoomOverview, StorageError, Summary, UserId};

/// Reads the rooms in which users have membership. Storing a message writes nothing for each
/// member, so a summary is computed when it is read.
///
/// A room's activity is the time at which its newest message was stored. In a room without
/// messages, it is the time at which the user joined.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Returns a part of the user's rooms, those with the newest activity first, and the
    /// number of unread messages in all of them. Rooms outside of `access`, and those that are
    /// being deleted, are left out of both. Every append, pointer and change of rules that
    /// returned before this call is included.
    ///
    /// Of the rooms without activity since the first of several pages was read, each is in
    /// exactly one of them.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn page(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        after: Option<InboxPosition>,
        limit: usize,
    ) -> Result<InboxPage, StorageError>;

    /// Returns the number of unread messages in all rooms of [`page`](Self::page).
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn unread_total(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
    ) -> Result<u64, StorageError>;

    /// Returns what the summaries of these rooms have in common, in any order; rooms without
    /// rules, which have no members, and rooms that are being deleted are omitted.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn overviews(&self, rooms: &[RoomId]) -> Result<Vec<RoomOverview>, StorageError>;

    /// Returns how each of these users sees the room that stands beside it, in the order of
    /// `pairs`; `None` without membership. One call, however many pairs.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn views(
        &self,
        pairs: &[(RoomId, UserId)],
    ) -> Result<Vec<Option<MemberView>>, StorageError>;

    /// Sets about which messages of the room the member wants to be notified. Returns whether
    /// it has membership; without it, nothing is set. A call that changes nothing writes
    /// nothing.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn set_notify(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        notify: Notify,
    ) -> Result<bool, StorageError>;
}

/// A place in a user's inbox: that of a room with this activity. It stays valid when rooms
/// move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxPosition {
    /// The room's activity when its page was read, as the adapter orders rooms by it.
    pub activity: u64,
    /// The room.
    pub room_id: RoomId,
}

/// A part of a user's inbox.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct InboxPage {
    /// The rooms, those with the newest activity first.
    pub rooms: Vec<ListedRoom>,
    /// Whether there are more rooms after them.
    pub has_more: bool,
    /// The number of unread messages in all rooms of the user.
    pub unread_total: u64,
}

/// A room in a page of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoom {
    /// Its place: a page after it begins with the next room.
    pub position: InboxPosition,
    /// What the user sees of it.
    pub summary: Summary,
}
