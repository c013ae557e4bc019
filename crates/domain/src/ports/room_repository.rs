//! The state of rooms and of their readers.

use async_trait::async_trait;

use crate::{
    Generation, ReadState, Rev, RoomId, RoomState, RulesNumber, Seq, StorageError, UserId,
};

/// Stores how far rooms have come, and how far users have read them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomRepository: Send + Sync {
    /// Returns how far each of these rooms has come, in any order; rooms without messages
    /// and rules are omitted. Every append, every change to a message and every change of rules
    /// that returned before this call is included. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError>;

    /// Returns which rooms' newest positions, changes or rules have moved since an earlier call, which
    /// members' own parts of a room have changed, and a cursor for the next one. The cost
    /// depends on the number of changes, not of rooms. Writes nothing that another method
    /// returns.
    ///
    /// - Every append, every change to a message and every change of rules that returned before
    ///   this call, and that was not included in the call that returned `cursor` or in one before it, is included: in
    ///   whatever order they are committed, however long their transactions take, and
    ///   whichever process makes them.
    /// - So is what another program stores with SQL, if it also moves the counter
    ///   `rooms.last_seq` or `rooms.last_rev`, or `rooms.rules`.
    /// - The same holds for every membership that begins, changes or ends, and for every read
    ///   pointer of a member that [`mark_read`](Self::mark_read) moves. A pointer that an append
    ///   moves is not reported: the room is.
    /// - Changes may be reported repeatedly.
    /// - Without a cursor, and with one that is too old or of another database, the changes
    ///   are unknown: the caller must compare its rooms itself, with [`newest`](Self::newest),
    ///   after this call.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`]. The cursor stays valid.
    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError>;

    /// Returns how far the room has come, how far the user has read it, and the number of the
    /// room's rules. Every append and every change that returned before this call is included.
    /// Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<RoomState, StorageError>;

    /// Moves the user's read pointer forward to the position, or to the room's newest
    /// position if that is smaller. The pointer never moves back, whatever else moves it
    /// concurrently. A call that moves nothing writes nothing, and many concurrent calls
    /// are combined, so that they do not delay appends.
    ///
    /// Returns `None`, and moves nothing, if the room is of another generation.
    ///
    /// # Errors
    /// [`StorageError`]. In each case the pointer may have moved; a retry is harmless.
    async fn mark_read(
        &self,
        room_id: RoomId,
        generation: Generation,
        user_id: &UserId,
        position: Seq,
    ) -> Result<Option<MarkedRead>, StorageError>;
}

/// A moment in the log of all rooms, as an adapter writes it. Only the adapter can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCursor(String);

impl LogCursor {
    /// Creates a cursor. For adapters.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns what the adapter wrote.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What has changed in the log since an earlier moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The moment up to which the changes are included.
    pub cursor: LogCursor,
    /// The rooms that have moved, each once, in any order; `None` if they are unknown. The
    /// number of rules that have not changed may be missing: it is [`RulesNumber::NONE`]
    /// then, and the generation is `None`. So may that of the newest change, if no message has
    /// changed: it is [`Rev::START`] then. The position may be that of an earlier generation; the
    /// number of the newest change, if it is there, is that of the generation.
    pub rooms: Option<Vec<RoomPosition>>,
    /// The members whose own part has changed, each once in a room, in any order; empty if the
    /// changes are unknown.
    pub members: Vec<MemberChange>,
}

/// A member whose own part of a room has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberChange {
    /// The room.
    pub room_id: RoomId,
    /// The user.
    pub user_id: UserId,
    /// What has changed.
    pub part: MemberPart,
}

/// A part of what is stored about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberPart {
    /// Its read pointer. The user may have no membership.
    ReadPointer,
    /// Its membership has begun, changed or ended; perhaps its read pointer, too.
    Membership,
}

/// How far a room has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomPosition {
    /// The room.
    pub room_id: RoomId,
    /// Its newest stored position.
    pub newest: Seq,
    /// The number of its rules.
    pub rules: RulesNumber,
    /// The number of the newest change to a message.
    pub rev: Rev,
    /// Its generation; `None` if it is not known.
    pub generation: Option<Generation>,
}

/// The result of marking a room as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedRead {
    /// The state of the room and the pointer afterwards.
    pub state: ReadState,
    /// Whether this call moved the pointer.
    pub moved: bool,
}
