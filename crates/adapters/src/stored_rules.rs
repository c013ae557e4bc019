//! Converts what is stored about rooms with rules. Both databases store it alike, except for
//! times.

use chat_domain::ports::{MemberPart, RoomChange, RoomSettings, SanctionedUser};
use chat_domain::{
    DisplayName, Member, Metadata, Reason, Role, RoomId, RoomKind, RoomName, RoomRules,
    RulesNumber, StorageError, Timestamp, Until, User, UserId,
};

/// The columns of a room's settings.
pub(crate) struct SettingsColumns {
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) frozen: bool,
    pub(crate) slow_mode_seconds: i64,
    pub(crate) metadata: String,
    pub(crate) created_at: Timestamp,
    pub(crate) member_count: i64,
}

/// The columns of a member, and its name, if one is stored.
pub(crate) struct MemberColumns {
    pub(crate) user_id: String,
    pub(crate) name: Option<String>,
    pub(crate) role: String,
    pub(crate) muted: Option<Until>,
    pub(crate) joined_at: Timestamp,
}

pub(crate) fn settings(columns: SettingsColumns) -> Result<RoomSettings, StorageError> {
    let SettingsColumns { kind, name, .. } = columns;
    Ok(RoomSettings {
        rules: RoomRules {
            kind: RoomKind::from_name(&kind)
                .ok_or_else(|| StorageError::corrupt(format!("{kind:?} is not a valid kind")))?,
            frozen: columns.frozen,
            slow_mode_seconds: columns
                .slow_mode_seconds
                .try_into()
                .map_err(StorageError::corrupt)?,
        },
        name: name
            .map(RoomName::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
        metadata: Metadata::new(columns.metadata).map_err(StorageError::corrupt)?,
        created_at: columns.created_at,
        member_count: count(columns.member_count)?,
    })
}

pub(crate) fn member(columns: MemberColumns) -> Result<Member, StorageError> {
    Ok(Member {
        user: user(columns.user_id, columns.name)?,
        role: role(&columns.role)?,
        muted: columns.muted,
        joined_at: columns.joined_at,
    })
}

/// The columns of a ban or a mute, and the user's name, if one is stored.
pub(crate) struct SanctionColumns {
    pub(crate) user_id: String,
    pub(crate) name: Option<String>,
    pub(crate) until: Until,
    pub(crate) reason: Option<String>,
}

pub(crate) fn sanctioned(columns: SanctionColumns) -> Result<SanctionedUser, StorageError> {
    Ok(SanctionedUser {
        user: user(columns.user_id, columns.name)?,
        until: columns.until,
        reason: columns
            .reason
            .map(Reason::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
    })
}

/// Returns a user under its stored name, or else under its id.
fn user(user_id: String, name: Option<String>) -> Result<User, StorageError> {
    let name = name.as_ref().unwrap_or(&user_id);
    Ok(User {
        name: DisplayName::from_text(name),
        id: UserId::new(user_id).map_err(StorageError::corrupt)?,
    })
}

pub(crate) fn room_id(number: i64) -> Result<RoomId, StorageError> {
    RoomId::new(count(number)?).map_err(StorageError::corrupt)
}

/// Returns the number of rows to read for a page of this size: one more shows whether there are
/// more.
pub(crate) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

pub(crate) fn role(name: &str) -> Result<Role, StorageError> {
    Role::from_name(name)
        .ok_or_else(|| StorageError::corrupt(format!("{name:?} is not a valid role")))
}

pub(crate) fn rules(number: i64) -> Result<RulesNumber, StorageError> {
    count(number).map(RulesNumber::new)
}

pub(crate) fn count(number: i64) -> Result<u64, StorageError> {
    number.try_into().map_err(StorageError::corrupt)
}

/// Returns what has changed of a member.
pub(crate) fn member_part(is_membership: bool) -> MemberPart {
    match is_membership {
        true => MemberPart::Membership,
        false => MemberPart::ReadPointer,
    }
}

/// Returns the user that a change concerns, if it concerns one.
pub(crate) fn subject(change: &RoomChange) -> Option<&UserId> {
    match change {
        RoomChange::Settings(_) => None,
        RoomChange::SetMember { user_id, .. }
        | RoomChange::RemoveMember { user_id }
        | RoomChange::Ban { user_id, .. }
        | RoomChange::Unban { user_id }
        | RoomChange::Mute { user_id, .. }
        | RoomChange::Unmute { user_id } => Some(user_id),
    }
}
