//! Rooms with rules, their members, bans and mutes.

use async_trait::async_trait;

use crate::{
    ClientMessageId, DisplayName, Generation, Member, Metadata, NewMember, Reason, Role, RoomId,
    RoomKind, RoomName, RoomRules, RulesNumber, Sanction, StorageError, Timestamp, Until, User,
    UserId,
};

/// Stores the rules of rooms, and where users stand with them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomDirectory: Send + Sync {
    /// Returns the room's settings and where these users stand with it, in the order of
    /// `users`, all at one moment. Every change that returned before this call is included.
    /// Bans and mutes that have expired by the database's clock are left out. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn snapshot(
        &self,
        room_id: RoomId,
        users: &[UserId],
    ) -> Result<RoomSnapshot, StorageError>;

    /// Makes a change that was decided by these rules, and gives the room the next number.
    ///
    /// - If the room has another number, nothing is changed: it is
    ///   [`ChangeError::RulesChanged`]. So the decision holds at the moment of the change. A
    ///   room that [is being deleted](RoomSnapshot::is_closed) must not be changed.
    /// - Once this has returned, no process appends a message that was decided by an earlier
    ///   number (see [`MessageRepository::append`](super::MessageRepository::append)).
    /// - A change that changes nothing writes nothing and keeps the number.
    /// - The first change creates the settings of a room that had none: open, with the name
    ///   `None`, unless it says otherwise.
    /// - `memberCount` is maintained in the same transaction.
    /// - It is recorded for the [`Outbox`](super::Outbox) in the same transaction, if this process
    ///   records such changes: who made it is `by`; `None` is the product.
    ///
    /// # Errors
    /// [`ChangeError`]. [`StorageError::OutcomeUnknown`] if the change may have been made; a
    /// retry is harmless.
    async fn change(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        change: &RoomChange,
        by: Option<UserId>,
    ) -> Result<Changed, ChangeError>;

    /// Returns the room's members after this user, in ascending order of their ids, at most
    /// `limit` of them, with their latest stored names, and whether there are more.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn members(
        &self,
        room_id: RoomId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<MemberPage, StorageError>;

    /// Adds these members, or changes their roles, in one change like those of
    /// [`change`](Self::change): decided by these rules, all or nothing, under one number, with
    /// `memberCount`. `members` are in ascending order of their ids, each once. Their names
    /// are stored in the same transaction; that alone keeps the number.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    async fn set_members(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        members: &[NewMember],
    ) -> Result<MembersSet, ChangeError>;

    /// Returns the rooms with settings after this one, in ascending order of their numbers, at
    /// most `limit` of them, and whether there are more.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<RoomPage, StorageError>;

    /// Returns the users that are banned or muted in the room, after this user, in ascending
    /// order of their ids, at most `limit` of them, and whether there are more. Those whose
    /// time has expired by the database's clock are left out.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn sanctions(
        &self,
        room_id: RoomId,
        kind: SanctionKind,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<SanctionPage, StorageError>;

    /// Returns the user's latest stored name, if one is stored.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn user_name(&self, user_id: &UserId) -> Result<Option<DisplayName>, StorageError>;

    /// Takes the user's next turn in a room with slow mode, if it is due by the database's
    /// clock; then the one after that is due `seconds` later. Of many concurrent calls for one
    /// turn, whichever process makes them, one succeeds. If the user has stored a message under
    /// this id in the room, none is taken: [`Turn::NotNeeded`].
    ///
    /// # Errors
    /// [`StorageError`].
    async fn take_turn(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        seconds: u32,
        message: Option<ClientMessageId>,
    ) -> Result<Turn, StorageError>;
}

/// A room and some users' standing, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSnapshot {
    /// The number of the rules at that moment; [`RulesNumber::NONE`] for a room without rules.
    pub rules: RulesNumber,
    /// The generation of the room at that moment.
    pub generation: Generation,
    /// The room's settings; `None` for a room that never had any.
    pub settings: Option<RoomSettings>,
    /// How many members with the role of an owner the room has.
    pub owners: u64,
    /// Where each user stands.
    pub users: Vec<UserRecord>,
}

impl RoomSnapshot {
    /// Returns whether the room is being deleted: what the snapshot states about it may be
    /// incomplete, and it must not be changed.
    pub fn is_closed(&self) -> bool {
        !self.generation.has_begun(self.rules)
    }
}

/// The settings of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// The rules.
    pub rules: RoomRules,
    /// The name, if it has one.
    pub name: Option<RoomName>,
    /// What the product keeps with the room.
    pub metadata: Metadata,
    /// When it got its first rule.
    pub created_at: Timestamp,
    /// How many members it has.
    pub member_count: u64,
}

/// What is stored about a user in a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserRecord {
    /// Its role, if it has membership.
    pub role: Option<Role>,
    /// Until when it is banned.
    pub banned: Option<Until>,
    /// Until when it is muted.
    pub muted: Option<Until>,
}

/// A change to a room's rules. A new kind of change is a new variant here, not a new method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    /// Changes the given settings.
    Settings(SettingsPatch),
    /// Adds a member, or changes its role.
    SetMember {
        /// The user.
        user_id: UserId,
        /// Its role from now on.
        role: Role,
    },
    /// Ends a membership.
    RemoveMember {
        /// The user.
        user_id: UserId,
    },
    /// Bans a user, and ends its membership. The reason alone keeps the number.
    Ban {
        /// The user.
        user_id: UserId,
        /// The ban.
        sanction: Sanction,
    },
    /// Lifts a ban.
    Unban {
        /// The user.
        user_id: UserId,
    },
    /// Mutes a user. The reason alone keeps the number.
    Mute {
        /// The user.
        user_id: UserId,
        /// The mute.
        sanction: Sanction,
    },
    /// Lifts a mute.
    Unmute {
        /// The user.
        user_id: UserId,
    },
}

/// New values of some settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsPatch {
    /// Which users may join.
    pub kind: Option<RoomKind>,
    /// The name.
    pub name: Option<RoomName>,
    /// Whether only moderators and owners may write.
    pub frozen: Option<bool>,
    /// The pause between two messages of a user.
    pub slow_mode_seconds: Option<u32>,
    /// What the product keeps with the room.
    pub metadata: Option<Metadata>,
}

/// The state after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The number of the rules from now on.
    pub rules: RulesNumber,
    /// The room's generation.
    pub generation: Generation,
    /// The settings from now on.
    pub settings: RoomSettings,
    /// The user that the change concerns, if it has membership now.
    pub member: Option<Member>,
    /// Whether anything was changed.
    pub has_changed: bool,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The room's rules are not those by which the change was decided.
    #[error("the rules have changed")]
    RulesChanged,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A part of a room's members.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// The members, ascending by user id.
    pub members: Vec<Member>,
    /// Whether there are more.
    pub has_more: bool,
}

/// The state after members were set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersSet {
    /// The number of the rules from now on.
    pub rules: RulesNumber,
    /// The room's generation.
    pub generation: Generation,
    /// The members, ascending by user id.
    pub members: Vec<SetMember>,
}

/// A member that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMember {
    /// The member from now on.
    pub member: Member,
    /// Whether it was not a member before, or had another role.
    pub has_changed: bool,
}

/// A part of all rooms with settings.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RoomPage {
    /// The rooms, ascending by number.
    pub rooms: Vec<(RoomId, RoomSettings)>,
    /// Whether there are more.
    pub has_more: bool,
}

/// What a room does to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanctionKind {
    /// It excludes the user.
    Ban,
    /// The user may not write.
    Mute,
}

/// A part of the users that a room has banned, or muted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SanctionPage {
    /// The users, ascending by id.
    pub users: Vec<SanctionedUser>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A user that a room has banned or muted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanctionedUser {
    /// The user, under the latest stored name, or under its id if none is stored.
    pub user: User,
    /// Until when.
    pub until: Until,
    /// Why.
    pub reason: Option<Reason>,
}

/// The result of taking a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The user may write now.
    Taken,
    /// The user has sent the message before.
    NotNeeded,
    /// The user has to wait.
    NotDue {
        /// For how long, in milliseconds.
        retry_after_ms: u64,
    },
}
