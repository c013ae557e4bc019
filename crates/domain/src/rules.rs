//! Who may do what in a room: one pure function, [`decide`]. Sockets and the server API, and
//! every node, ask nothing else.

use crate::{AccessDenied, Timestamp};

/// What a member may do in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Reader,
    /// Writes as well.
    Member,
    /// Also keeps order among users with a lower role.
    Moderator,
    /// Also decides about roles and rules.
    Owner,
}

impl Role {
    /// All roles, from the lowest to the highest.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Member, Self::Moderator, Self::Owner];

    /// Returns the role's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Owner => "owner",
        }
    }

    /// Returns the role with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Which users may join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoomKind {
    /// Every user whose token allows the room.
    Open,
    /// Its members only; to all other users it does not exist.
    Private,
}

impl RoomKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Open, Self::Private];

    /// Returns the kind's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Private => "private",
        }
    }

    /// Returns the kind with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The number of a room's rules: every change to its rules, roles, bans or mutes increments it.
/// A decision holds as long as the room has the number by which it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RulesNumber(u64);

impl RulesNumber {
    /// The number of a room that never had rules.
    pub const NONE: Self = Self(0);

    /// Wraps the number that the database assigned.
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A generation of a room: its number may be used again after the room was deleted. The value is
/// the number of rules with which the generation begins, so that a later one is greater. While a
/// room is being deleted, it is of the generation that follows, which has not begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The generation of a room that never was deleted.
    pub const FIRST: Self = Self(0);

    /// Wraps the number that the database assigned.
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Returns whether it has begun in a room whose rules have this number. Otherwise the room
    /// is being deleted.
    pub fn has_begun(self, rules: RulesNumber) -> bool {
        self.0 <= rules.0
    }
}

/// The rules of a room that every user in it is subject to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomRules {
    /// Who may join.
    pub kind: RoomKind,
    /// Whether only moderators and owners may write.
    pub frozen: bool,
    /// How many seconds a user waits between two messages; 0 for none.
    pub slow_mode_seconds: u32,
}

/// How long a ban or a mute lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until then, by the database's clock.
    Time(Timestamp),
    /// Until it is lifted.
    Lifted,
}

/// Where one user stands with a room, at the time of the read by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The user's role, if it has membership, or if the access hook has granted one.
    pub role: Option<Role>,
    /// Whether the user is banned now.
    pub is_banned: bool,
    /// Until when the user is muted, if it is muted now.
    pub muted: Option<Until>,
    /// Whether the user's token allows the room and, without membership, the access hook does, if
    /// there is one.
    pub is_admitted: bool,
}

/// Something that a user does in a room, or to another user there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Joins, reads pages, marks as read, and looks at the room and its members.
    Read,
    /// Writes a message.
    Write,
    /// Writes although slow mode asks for a pause.
    WriteWithoutWaiting,
    /// Edits a message.
    Edit(Authorship),
    /// Deletes a message.
    Delete(Authorship),
    /// Sets or clears a reaction of its own.
    React,
    /// Is typing.
    Type,
    /// Becomes a member, with this role.
    JoinAs(Role),
    /// Ends its own membership.
    Leave,
    /// Adds another user as a member with this role.
    Add(Role),
    /// Changes another member's role, or its own.
    ChangeRole,
    /// Removes another user, a member with this role.
    Remove(Role),
    /// Bans, unbans, mutes or unmutes another user, with this role if it has membership.
    Sanction(Option<Role>),
    /// Changes the room's name and rules.
    ChangeRoom,
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorship {
    /// The user's own.
    Own,
    /// That of another user.
    Other,
}

/// Why a user that may see a room is not allowed to do something there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Its role does not permit it.
    #[error("the role does not permit it")]
    Role,
    /// It is muted.
    #[error("muted")]
    Muted(Until),
    /// The room is frozen.
    #[error("the room is frozen")]
    Frozen,
    /// The message is that of another user.
    #[error("only its author can edit a message")]
    Author,
}

/// What is known of a user's standing with a room, and the number of the rules by which it was
/// determined: it holds as long as the room has that number, and no ban or mute expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The number.
    pub number: RulesNumber,
    /// The room's generation. If it has not begun, the room is being deleted, and does not exist
    /// for any user.
    pub generation: Generation,
    /// The room's rules.
    pub rules: RoomRules,
    /// The user's standing.
    pub standing: Standing,
}

impl Permit {
    /// What every user whose token allows the room may do in one that is open and never had
    /// rules.
    pub const OPEN: Self = Self {
        number: RulesNumber::NONE,
        generation: Generation::FIRST,
        rules: RoomRules {
            kind: RoomKind::Open,
            frozen: false,
            slow_mode_seconds: 0,
        },
        standing: Standing {
            role: None,
            is_banned: false,
            muted: None,
            is_admitted: true,
        },
    };

    /// Decides whether the user may do this.
    ///
    /// # Errors
    /// As [`decide`]. While the room is being deleted: [`AccessDenied::NotFound`].
    pub fn decide(&self, action: Action) -> Result<(), AccessDenied> {
        if !self.generation.has_begun(self.number) {
            return Err(AccessDenied::NotFound);
        }
        decide(self.rules, self.standing, action)
    }
}

/// Decides whether a user with this standing may do this in a room with these rules.
///
/// # Errors
/// The reason why not. [`AccessDenied::NotFound`] precedes every other.
pub fn decide(rules: RoomRules, standing: Standing, action: Action) -> Result<(), AccessDenied> {
    let role = role_of(rules, standing)?;
    let is_allowed = match action {
        Action::Read => true,
        Action::Write | Action::WriteWithoutWaiting => {
            return decide_writing(rules, standing, role, action);
        }
        // No role permits it, and no change of rules will.
        Action::Edit(Authorship::Other) => {
            return Err(AccessDenied::Forbidden(Forbidden::Author));
        }
        Action::Edit(Authorship::Own) | Action::React | Action::Type => {
            return decide_writing(rules, standing, role, Action::Write);
        }
        Action::Delete(Authorship::Other) => keeps_order(standing),
        // To keep order is not to write: neither a mute nor a freeze forbids it.
        Action::Delete(Authorship::Own) if keeps_order(standing) => true,
        Action::Delete(Authorship::Own) => {
            return decide_writing(rules, standing, role, Action::Write);
        }
        Action::JoinAs(wanted) => {
            standing.role.is_none() && wanted == Role::Member && rules.kind == RoomKind::Open
        }
        Action::Leave => true,
        Action::Add(wanted) => keeps_order(standing) && wanted < role,
        Action::Remove(target) => keeps_order(standing) && target < role,
        Action::Sanction(target) => keeps_order(standing) && target < Some(role),
        Action::ChangeRole | Action::ChangeRoom => standing.role == Some(Role::Owner),
    };
    match is_allowed {
        true => Ok(()),
        false => Err(AccessDenied::Forbidden(Forbidden::Role)),
    }
}

/// Returns the role as which a user that may see the room counts.
fn role_of(rules: RoomRules, standing: Standing) -> Result<Role, AccessDenied> {
    if standing.is_banned || !standing.is_admitted {
        return Err(AccessDenied::NotFound);
    }
    match (standing.role, rules.kind) {
        (Some(role), _) => Ok(role),
        (None, RoomKind::Open) => Ok(Role::Member),
        (None, RoomKind::Private) => Err(AccessDenied::NotFound),
    }
}

/// Only membership gives power over others: a user without it counts as a member.
fn keeps_order(standing: Standing) -> bool {
    standing.role >= Some(Role::Moderator)
}

fn decide_writing(
    rules: RoomRules,
    standing: Standing,
    role: Role,
    action: Action,
) -> Result<(), AccessDenied> {
    let reason = if role == Role::Reader {
        Forbidden::Role
    } else if let Some(until) = standing.muted {
        Forbidden::Muted(until)
    } else if rules.frozen && !keeps_order(standing) {
        Forbidden::Frozen
    } else if action == Action::WriteWithoutWaiting && !keeps_order(standing) {
        Forbidden::Role
    } else {
        return Ok(());
    };
    Err(AccessDenied::Forbidden(reason))
}

#[cfg(test)]
mod tests;
