//! Reads everything that is stored about a user.

use async_trait::async_trait;

use super::AuthoredMessages;
use crate::{
    ChangeKind, DisplayName, Notify, ReactionKey, Reason, Rev, Role, RoomId, Seq, StorageError,
    Timestamp, UserId,
};

/// Reads what is stored about a user, besides the messages themselves.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait UserRecords: Send + Sync {
    /// Reads the user's records of one kind after another one, in the order of their rooms and
    /// positions, at most `limit`. A shorter page is the last one.
    ///
    /// Of the kinds of which a user has at most one record, the page after it is empty.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn records(
        &self,
        user_id: &UserId,
        kind: RecordKind,
        after: RecordPlace,
        limit: usize,
    ) -> Result<Vec<PlacedRecord>, StorageError>;

    /// Returns the positions of the user's messages in a room that are greater than `after` and at
    /// most `up_to`, ascending. The cost depends on the difference of both.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn authored(
        &self,
        user_id: &UserId,
        room_id: RoomId,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Seq>, StorageError>;
}

/// A kind of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// The name, and when the user was last seen.
    User,
    /// Memberships.
    Member,
    /// Bans, also expired ones.
    Ban,
    /// Mutes, also expired ones.
    Mute,
    /// Turns in slow mode.
    SlowModeTurn,
    /// Read pointers. A user has one in each room in which it has written.
    ReadPointer,
    /// Reactions.
    Reaction,
    /// Messages that mention the user.
    Mention,
    /// Messages that the user was the last to change.
    Change,
    /// The revocation of the user's tokens.
    Revocation,
    /// That the user's connections are to be closed.
    Disconnection,
    /// That the user is to be erased.
    Erasure,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::User,
        Self::Member,
        Self::Ban,
        Self::Mute,
        Self::SlowModeTurn,
        Self::ReadPointer,
        Self::Reaction,
        Self::Mention,
        Self::Change,
        Self::Revocation,
        Self::Disconnection,
        Self::Erasure,
    ];
}

/// The place of a record among those of its kind: its room, its position and its key, 0 and empty
/// for kinds that have none. The default precedes all places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordPlace {
    /// The number of the room.
    pub room: u64,
    /// The position in the room.
    pub seq: u64,
    /// The key of a reaction.
    pub key: String,
}

/// A record and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedRecord {
    /// Its place.
    pub place: RecordPlace,
    /// The record.
    pub record: UserRecordData,
}

/// A record about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRecordData {
    /// What is known of the user itself.
    User {
        /// The latest stored name.
        name: DisplayName,
        /// When its last connection ended, if that is known.
        last_seen: Option<Timestamp>,
    },
    /// A membership.
    Member {
        /// The room.
        room_id: RoomId,
        /// The role.
        role: Role,
        /// About which messages the user wants to be notified.
        notify: Notify,
        /// Since when.
        joined_at: Timestamp,
    },
    /// A ban.
    Ban {
        /// The room.
        room_id: RoomId,
        /// Until when; `None`: until it is lifted.
        until: Option<Timestamp>,
        /// Why.
        reason: Option<Reason>,
    },
    /// A mute.
    Mute {
        /// The room.
        room_id: RoomId,
        /// Until when; `None`: until it is lifted.
        until: Option<Timestamp>,
        /// Why.
        reason: Option<Reason>,
    },
    /// From when on the user may write in a room with slow mode.
    SlowModeTurn {
        /// The room.
        room_id: RoomId,
        /// From when on.
        due_at: Timestamp,
    },
    /// A read pointer.
    ReadPointer {
        /// The room.
        room_id: RoomId,
        /// Up to where the user has read.
        seq: Seq,
    },
    /// A reaction.
    Reaction {
        /// The room.
        room_id: RoomId,
        /// The message.
        seq: Seq,
        /// The reaction.
        key: ReactionKey,
        /// When it was set.
        created_at: Timestamp,
    },
    /// A mention of the user.
    Mention {
        /// The room.
        room_id: RoomId,
        /// The message.
        seq: Seq,
    },
    /// That the user was the last to change a message.
    Change {
        /// The room.
        room_id: RoomId,
        /// The message.
        seq: Seq,
        /// The number of the change.
        rev: Rev,
        /// How the message changed.
        kind: ChangeKind,
    },
    /// A revocation of tokens.
    Revocation {
        /// Tokens that were issued before this are refused; `None`: the revocation is lifted.
        issued_before: Option<Timestamp>,
        /// When it was imposed or lifted.
        changed_at: Timestamp,
    },
    /// That the user's connections were to be closed.
    Disconnection {
        /// When.
        changed_at: Timestamp,
    },
    /// That the user is to be erased.
    Erasure {
        /// What becomes of the messages.
        messages: AuthoredMessages,
        /// When it was requested.
        requested_at: Timestamp,
    },
}
