//! What the product's backend is to be notified of, recorded with the events themselves.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Member, RoomId, Seq, StorageError, Timestamp, UserId};

/// Keeps what has to be reported to the product until it is delivered, room by room, in order.
///
/// An entry is recorded in the transaction of its event: it exists if and only if the event is
/// committed. It refers to the event and does not contain it: what is reported is the newest state
/// at the moment of the report, and what was deleted is in no backlog.
///
/// A node takes a room for a limited time (a *lease*), reports what is due there, and states how
/// far it got. Of all nodes, at most one holds a room. When a node dies, its leases expire.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Forgets the pause, and, where there can be one node only, the leases of an earlier process.
    /// A node calls it once, when it starts.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn resume(&self) -> Result<(), StorageError>;

    /// Takes rooms in which something is due, those that have waited longest first. Returns none
    /// while deliveries are paused.
    ///
    /// - At most [`LeaseRequest::in_flight`] rooms are leased at any time, over all nodes, of which
    ///   [`LeaseRequest::in_retry`] are rooms whose last delivery failed.
    /// - Everything recorded before this call is included.
    /// - A room becomes due [`LeaseRequest::notify_after`] after a message was stored there, if the
    ///   process that stored it records [`OutboxKind::MessagesUnread`] and there are members to
    ///   [report](Self::unread). One such report is about the newest message that is due, stands for
    ///   all earlier ones, and takes the place of an earlier report that waits. It is one entry for
    ///   each [`UnreadReport::MAX_USERS`] members.
    ///
    /// # Errors
    /// [`StorageError`]. Leases that were taken nevertheless expire.
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<OutboxLease>, StorageError>;

    /// Returns the room's next entries in order, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn entries(
        &self,
        room_id: RoomId,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StorageError>;

    /// Returns a member of a room under its latest stored name; `None` for a user without
    /// membership.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn member(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<Option<Member>, StorageError>;

    /// Returns the members that the entry of [`OutboxKind::MessagesUnread`] at this place names
    /// now; `None` if there are none.
    ///
    /// Of the members who had not read up to [`UnreadReport::seq`] when the entry became due, these
    /// are the ones that still have not and are still members. [`Notify::None`](crate::Notify::None)
    /// leaves a member out. So does [`Notify::Mentions`](crate::Notify::Mentions), unless an unread
    /// message that no earlier report was about mentions the member.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn unread(
        &self,
        room_id: RoomId,
        place: &OutboxPlace,
    ) -> Result<Option<UnreadReport>, StorageError>;

    /// Ends a lease: removes what was delivered, and states when the room is due again. Returns
    /// whether the lease was still held; otherwise nothing is changed.
    ///
    /// # Errors
    /// [`StorageError`]. Without it, what was delivered is delivered again.
    async fn settle(&self, settlement: Settlement) -> Result<bool, StorageError>;

    /// Pauses all deliveries, until [`resume`](Self::resume) or [`retry`](Self::retry).
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn pause(&self) -> Result<(), StorageError>;

    /// Returns how much waits.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn backlog(&self) -> Result<Backlog, StorageError>;

    /// Returns the parked entries, the earliest first, at most `limit` of them.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn parked(&self, limit: usize) -> Result<Vec<ParkedEntry>, StorageError>;

    /// Makes everything due now: what is parked, before the later entries of its room, and what
    /// waits for a retry. Ends a pause. Returns how many entries were parked.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn retry(&self) -> Result<u64, StorageError>;
}

/// What is reported to the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    /// Messages were stored.
    MessageCreated,
    /// Messages were changed.
    MessageChanged,
    /// A room's settings were changed.
    RoomChanged,
    /// A room was deleted.
    RoomDeleted,
    /// A user became a member, or is not one any more, or was muted, banned, or relieved of either.
    MemberChanged,
    /// Members have not read messages for some time.
    MessagesUnread,
    /// A room was deleted, and that is not reported. What precedes it belongs to that room, and not
    /// to the next one of the number.
    Fence,
}

impl OutboxKind {
    /// The kinds that are reported.
    pub const REPORTED: [Self; 6] = [
        Self::MessageCreated,
        Self::MessageChanged,
        Self::RoomChanged,
        Self::RoomDeleted,
        Self::MemberChanged,
        Self::MessagesUnread,
    ];

    /// Returns the name, which is that of the webhook.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageCreated => "message.created",
            Self::MessageChanged => "message.changed",
            Self::RoomChanged => "room.changed",
            Self::RoomDeleted => "room.deleted",
            Self::MemberChanged => "member.changed",
            Self::MessagesUnread => "messages.unread",
            Self::Fence => "fence",
        }
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut kinds = Self::REPORTED.into_iter().chain([Self::Fence]);
        kinds.find(|kind| kind.as_str() == name)
    }
}

/// The kinds of events that a process records; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxKinds(u8);

impl OutboxKinds {
    /// Nothing is recorded.
    pub const NONE: Self = Self(0);

    /// Returns whether events of this kind are recorded.
    pub fn contains(self, kind: OutboxKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Returns how a deletion of a room is recorded, if anything is.
    pub fn of_deletion(self) -> Option<OutboxKind> {
        match self.contains(OutboxKind::RoomDeleted) {
            true => Some(OutboxKind::RoomDeleted),
            false if self == Self::NONE => None,
            false => Some(OutboxKind::Fence),
        }
    }

    fn bit(kind: OutboxKind) -> u8 {
        1 << kind as u8
    }
}

impl FromIterator<OutboxKind> for OutboxKinds {
    fn from_iter<I: IntoIterator<Item = OutboxKind>>(kinds: I) -> Self {
        Self(
            kinds
                .into_iter()
                .map(Self::bit)
                .fold(0, |all, bit| all | bit),
        )
    }
}

/// A number that distinguishes the leases of one request from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseHolder(pub i64);

/// A request for leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who asks: a number that no other request has.
    pub holder: LeaseHolder,
    /// The maximum number of rooms.
    pub most: usize,
    /// The maximum number of rooms that all nodes together hold.
    pub in_flight: usize,
    /// How many of these may be rooms whose last delivery failed.
    pub in_retry: usize,
    /// How long the leases last.
    pub time: Duration,
    /// How long after a message was stored it is reported to be unread.
    pub notify_after: Duration,
}

/// A room that a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLease {
    /// The room.
    pub room_id: RoomId,
    /// How often the room's next delivery has failed.
    pub attempts: u32,
    /// Since when it fails.
    pub failing_for: Duration,
}

/// A place in the outbox of a room: places are ordered as the events are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxPlace {
    /// The number of the record, which is unique in the database.
    pub record: u64,
    /// The user that the entry is about; empty for none.
    pub user_id: String,
    /// The [position](crate::Seq) of a message that was created, the [number](crate::Rev) of a
    /// change; 0 for the other kinds.
    pub number: u64,
}

/// What is to be reported about a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What happened.
    pub kind: OutboxKind,
    /// Where it begins.
    pub first: OutboxPlace,
    /// The last position or number; 0 for kinds without.
    pub last: u64,
    /// Who did it, where that is recorded here; `None`: the product.
    pub by: Option<UserId>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Whether the room was deleted after it.
    pub is_of_deleted_room: bool,
}

/// The members who have not read a room up to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadReport {
    /// The message.
    pub seq: Seq,
    /// The members, in ascending order.
    pub user_ids: Vec<UserId>,
    /// Those of them whom an unread message mentions that no earlier report was about.
    pub mentioned: Vec<UserId>,
}

impl UnreadReport {
    /// How many members one report names at most.
    pub const MAX_USERS: usize = 1000;
}

/// The end of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Who asked for the lease.
    pub holder: LeaseHolder,
    /// The room.
    pub room_id: RoomId,
    /// The first and the last place that were delivered, if any were. Everything between them is
    /// delivered, or needs no delivery.
    pub delivered: Option<(OutboxPlace, OutboxPlace)>,
    /// What follows.
    pub next: NextDelivery,
}

/// When a room is due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextDelivery {
    /// Now, if anything is left.
    Now,
    /// After a pause: the next delivery has failed.
    Retry {
        /// How often.
        attempts: u32,
        /// The pause.
        after: Duration,
        /// Why, in one line.
        reason: String,
    },
    /// Now, without the entry at this place, which is parked.
    Park {
        /// The place of the entry that cannot be delivered.
        place: OutboxPlace,
        /// Why, in one line.
        reason: String,
    },
}

/// How much waits to be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many entries, except for parked ones: at least so many, if there are
    /// [`Self::COUNTED_ROWS`] rows of them.
    pub pending: u64,
    /// How many entries are parked.
    pub parked: u64,
    /// For how long the oldest pending entry has waited.
    pub age: Duration,
    /// Whether deliveries are paused.
    pub is_paused: bool,
}

impl Backlog {
    /// How many rows are counted at most. A row stands for one entry or for several.
    pub const COUNTED_ROWS: i64 = 100_000;
}

/// An entry that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEntry {
    /// The room.
    pub room_id: RoomId,
    /// What happened.
    pub kind: OutboxKind,
    /// The position or the number; 0 for kinds without. Of unread messages, the last position.
    pub number: u64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it was given up.
    pub parked_at: Timestamp,
    /// Why the last attempt failed.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in OutboxKind::REPORTED.into_iter().chain([OutboxKind::Fence]) {
            assert_eq!(OutboxKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(OutboxKind::from_name("message.unread"), None);
    }

    #[test]
    fn a_deletion_is_recorded_if_anything_is() {
        assert_eq!(OutboxKinds::NONE.of_deletion(), None);
        let messages = OutboxKinds::from_iter([OutboxKind::MessageCreated]);
        assert!(messages.contains(OutboxKind::MessageCreated));
        assert!(!messages.contains(OutboxKind::MessageChanged));
        assert_eq!(messages.of_deletion(), Some(OutboxKind::Fence));
        let all = OutboxKinds::from_iter(OutboxKind::REPORTED);
        assert_eq!(all.of_deletion(), Some(OutboxKind::RoomDeleted));
    }
}
