//! Erases users: first it is requested, then what is stored about them is erased in batches.

use async_trait::async_trait;

use crate::{Generation, Rev, RoomId, StorageError, UserId};

/// Erases what is stored about users.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait UserErasure: Send + Sync {
    /// Notes that a user is to be erased. It is stored when this returns, so that any process
    /// completes it. If it was requested before and is not over, it begins again, so that what was
    /// stored in the meantime is erased, too; messages that were to be erased still are.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn request(
        &self,
        user_id: &UserId,
        messages: AuthoredMessages,
    ) -> Result<(), StorageError>;

    /// Does the next part of the erasure that was requested first: at most so many rows of at
    /// most one room, in one transaction. `None` if nothing is due.
    ///
    /// - An erasure is due two seconds after it was requested: what was decided before has ended.
    ///   It is [`ErasureStage::Over`] no sooner than thirty seconds after it was
    ///   requested: then every node has closed the user's connections, and has stored when it was
    ///   last seen.
    /// - The user's reactions are cleared, each as a change of its message without a user who
    ///   makes it. Where the user was the last to change a message, it becomes `deleted`.
    /// - The user's mentions are removed from messages, which is not a change of them.
    /// - The user's messages get the author `deleted` and lose their `clientMessageId`, which is
    ///   not a change of the message; or each of them is erased, which is one. Then the read
    ///   pointers are deleted.
    /// - A room that is being deleted is left to that.
    /// - Of concurrent calls, in whichever processes, each works on another user. Calls do not wait
    ///   for each other, and appends to other rooms do not wait for them.
    /// - After a crash at any moment, the next call goes on.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn erase_batch(&self, rows: usize) -> Result<Option<ErasureBatch>, StorageError>;

    /// Returns rooms in which the user has membership, or in which a ban, a mute or a turn in slow
    /// mode is stored, in ascending order, at most `limit` of them; also what has expired.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn standing(&self, user_id: &UserId, limit: usize) -> Result<Vec<RoomId>, StorageError>;

    /// Deletes the user's ban, mute and turn in a room, and in a room that is being deleted also its
    /// membership. What decides anything must have been ended by a
    /// [change](super::RoomDirectory::change) of the room's rules before.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn forget_standing(&self, user_id: &UserId, room_id: RoomId) -> Result<(), StorageError>;

    /// Erases what is left of a user whose erasure is [`ErasureStage::Over`]: the name, when it was
    /// last seen, revocations and disconnections, the notes about its changes, and that it was to be erased. A user who
    /// has written or become a member since keeps its name: it is a new one. Returns `false`, and
    /// does nothing, if the erasure was requested again.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn finish(&self, user_id: &UserId) -> Result<bool, StorageError>;
}

/// What becomes of the messages of a user who is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthoredMessages {
    /// They stay, with the author `deleted`.
    Keep,
    /// They become empty shells.
    Erase,
}

impl AuthoredMessages {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Erase => "erase",
        }
    }

    /// Returns what has this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Keep, Self::Erase]
            .into_iter()
            .find(|messages| messages.as_str() == name)
    }
}

/// A part of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureBatch {
    /// The user.
    pub user_id: UserId,
    /// How many rows were erased.
    pub rows: u64,
    /// How far the erasure is.
    pub stage: ErasureStage,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureStage {
    /// The user still has a [standing](UserErasure::standing) in rooms. Nothing was erased: the
    /// caller has to end it.
    Standing,
    /// Rows were erased, and messages of this room have changed, if of any.
    Content(Option<ChangedRoom>),
    /// The caller has to [finish](UserErasure::finish) it.
    Over,
}

/// A room in which messages have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedRoom {
    /// The room.
    pub room_id: RoomId,
    /// Its generation.
    pub generation: Generation,
    /// The number of the newest of the changes.
    pub rev: Rev,
}
