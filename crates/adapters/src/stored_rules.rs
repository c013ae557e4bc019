//! Converts what is stored about rooms with rules. Both databases store it alike, except for
//! times.

use chat_domain::ports::{MemberPart, RoomChange, RoomSettings};
use chat_domain::{
    DisplayName, Member, Metadata, Role, RoomKind, RoomName, RoomRules, RulesNumber, StorageError,
    Timestamp, Until, User, UserId,
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
    let name = columns.name.as_ref().unwrap_or(&columns.user_id);
    Ok(Member {
        user: User {
            name: DisplayName::from_text(name),
            id: UserId::new(columns.user_id).map_err(StorageError::corrupt)?,
        },
        role: role(&columns.role)?,
        muted: columns.muted,
        joined_at: columns.joined_at,
    })
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
