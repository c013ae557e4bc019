//! Makes a change to a room's rules. It does what the function `change_room` does on
//! PostgreSQL. Every statement writes nothing if it changes nothing.

use chat_domain::ports::{Changed, RoomChange, SettingsPatch};
use chat_domain::{Metadata, NewMember, Reason, Role, RoomKind, RoomName, StorageError, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::{MemberRow, SettingsRow, member, moment, numbers, record, settings};
use crate::sqlite::rows;
use crate::stored_rules;

const SET_MEMBER: &str = "INSERT INTO members (room_id, user_id, role, joined_at) \
     VALUES (?, ?, ?, ?) ON CONFLICT (room_id, user_id) DO UPDATE SET role = excluded.role";

const REMOVE_MEMBER: &str = "DELETE FROM members WHERE room_id = ? AND user_id = ?";

const SET_SETTINGS: &str = "INSERT INTO room_settings (room_id, kind, name, frozen, \
     slow_mode_seconds, metadata, created_at, member_count, owner_count) \
     VALUES (?1, coalesce(?2, 'open'), ?3, coalesce(?4, 0), coalesce(?5, 0), coalesce(?6, '{}'), \
     ?7, ?8, ?9) \
     ON CONFLICT (room_id) DO UPDATE SET kind = coalesce(?2, kind), name = coalesce(?3, name), \
     frozen = coalesce(?4, frozen), slow_mode_seconds = coalesce(?5, slow_mode_seconds), \
     metadata = coalesce(?6, metadata), member_count = member_count + ?8, \
     owner_count = owner_count + ?9 \
     WHERE ?10 OR ?2 <> kind OR coalesce(?3, name) IS NOT name OR ?4 <> frozen \
     OR ?5 <> slow_mode_seconds OR ?6 <> metadata";

const NEXT_NUMBER: &str = "INSERT INTO rooms (id, last_seq, rules) VALUES (?, 0, 1) \
     ON CONFLICT (id) DO UPDATE SET rules = rules + 1";

/// The state after a change.
pub(super) struct Outcome {
    rules: i64,
    generation: i64,
    settings: Option<SettingsRow>,
    member: Option<MemberRow>,
    pub(super) has_changed: bool,
    moment: String,
}

impl Outcome {
    pub(super) fn into_changed(self) -> Result<Changed, StorageError> {
        let settings = self.settings.unwrap_or_else(|| SettingsRow {
            kind: RoomKind::Open.as_str().to_owned(),
            name: None,
            frozen: false,
            slow_mode_seconds: 0,
            metadata: Metadata::default().as_str().to_owned(),
            created_at: self.moment,
            member_count: 0,
            owner_count: 0,
        });
        Ok(Changed {
            rules: stored_rules::rules(self.rules)?,
            generation: rows::generation(self.generation),
            settings: super::to_settings(settings)?,
            member: self.member.map(super::to_member).transpose()?,
            has_changed: self.has_changed,
        })
    }
}

const COUNT_MEMBERS: &str = "UPDATE room_settings SET member_count = member_count + ?, \
     owner_count = owner_count + ? WHERE room_id = ?";

const SET_NAME: &str = "INSERT INTO users (id, name) VALUES (?, ?) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name";

/// Members that were set: each, and whether it has changed.
pub(super) struct SetOutcome {
    pub(super) rules: i64,
    pub(super) generation: i64,
    pub(super) members: Vec<(MemberRow, bool)>,
}

/// Sets these members, if the room has this number of rules. It does what the function
/// `set_members` does on PostgreSQL.
pub(super) fn set_members(
    connection: &mut SqliteConnection,
    room: i64,
    decided_by: i64,
    new_members: &[NewMember],
) -> QueryResult<Option<SetOutcome>> {
    // It compares the number and creates the settings.
    let settings = RoomChange::Settings(SettingsPatch::default());
    let Some(created) = change(connection, room, decided_by, &settings)? else {
        return Ok(None);
    };
    let moment = created.moment;
    let (mut changes, mut members, mut owners) = (Vec::new(), 0, 0);
    for new in new_members {
        let before = record(connection, room, &new.user_id, &moment)?.role;
        let role = new.role.as_str();
        let has_changed = before.as_deref() != Some(role);
        changes.push(has_changed);
        if has_changed {
            set_role(connection, room, &new.user_id, Some(role), &moment)?;
        }
        members += i64::from(before.is_none());
        let owner = Role::Owner.as_str();
        owners += i64::from(role == owner) - i64::from(before.as_deref() == Some(owner));
        if let Some(name) = &new.name {
            diesel::sql_query(SET_NAME)
                .bind::<Text, _>(new.user_id.as_str())
                .bind::<Text, _>(name.as_str())
                .execute(connection)?;
        }
    }
    let mut rules = created.rules;
    if changes.contains(&true) {
        diesel::sql_query(COUNT_MEMBERS)
            .bind::<BigInt, _>(members)
            .bind::<BigInt, _>(owners)
            .bind::<BigInt, _>(room)
            .execute(connection)?;
        if rules == decided_by {
            let next = diesel::sql_query(NEXT_NUMBER).bind::<BigInt, _>(room);
            next.execute(connection)?;
            rules += 1;
        }
    }
    let mut set = Vec::new();
    for (new, has_changed) in new_members.iter().zip(changes) {
        let found = member(connection, room, &new.user_id, &moment)?;
        set.extend(found.map(|row| (row, has_changed)));
    }
    Ok(Some(SetOutcome {
        generation: created.generation,
        rules,
        members: set,
    }))
}

/// Makes the change, if the room has this number of rules. The transaction holds the write
/// lock.
pub(super) fn change(
    connection: &mut SqliteConnection,
    room: i64,
    decided_by: i64,
    change: &RoomChange,
) -> QueryResult<Option<Outcome>> {
    let numbers = numbers(connection, room)?;
    if numbers.rules != decided_by {
        return Ok(None);
    }
    let moment = moment(connection)?;
    let subject = stored_rules::subject(change);
    let before = match subject {
        Some(user_id) => record(connection, room, user_id, &moment)?.role,
        None => None,
    };
    let after = match change {
        RoomChange::SetMember { role, .. } => Some(role.as_str()),
        RoomChange::RemoveMember { .. } | RoomChange::Ban { .. } => None,
        _ => before.as_deref(),
    };
    let mut has_changed = sanction(connection, room, change, &moment)?;
    if let Some(user_id) = subject
        && before.as_deref() != after
    {
        has_changed = true;
        set_role(connection, room, user_id, after, &moment)?;
    }
    let difference = |counts: fn(&str) -> bool| {
        i64::from(after.is_some_and(counts)) - i64::from(before.as_deref().is_some_and(counts))
    };
    let members = difference(|_| true);
    let owners = difference(|role| role == Role::Owner.as_str());
    let default = SettingsPatch::default();
    let patch = match change {
        RoomChange::Settings(patch) => Some(patch),
        _ => has_changed.then_some(&default),
    };
    if let Some(patch) = patch {
        let written = diesel::sql_query(SET_SETTINGS)
            .bind::<BigInt, _>(room)
            .bind::<Nullable<Text>, _>(patch.kind.map(RoomKind::as_str))
            .bind::<Nullable<Text>, _>(patch.name.as_ref().map(RoomName::as_str))
            .bind::<Nullable<Bool>, _>(patch.frozen)
            .bind::<Nullable<BigInt>, _>(patch.slow_mode_seconds.map(i64::from))
            .bind::<Nullable<Text>, _>(patch.metadata.as_ref().map(Metadata::as_str))
            .bind::<Text, _>(&moment)
            .bind::<BigInt, _>(members)
            .bind::<BigInt, _>(owners)
            .bind::<Bool, _>(has_changed)
            .execute(connection)?;
        has_changed = written > 0;
    }
    if has_changed {
        let next = diesel::sql_query(NEXT_NUMBER).bind::<BigInt, _>(room);
        next.execute(connection)?;
    }
    Ok(Some(Outcome {
        rules: decided_by + i64::from(has_changed),
        generation: numbers.generation,
        settings: settings(connection, room)?,
        member: match subject {
            Some(user_id) => member(connection, room, user_id, &moment)?,
            None => None,
        },
        has_changed,
        moment,
    }))
}

fn set_role(
    connection: &mut SqliteConnection,
    room: i64,
    user_id: &UserId,
    role: Option<&str>,
    moment: &str,
) -> QueryResult<usize> {
    match role {
        Some(role) => diesel::sql_query(SET_MEMBER)
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .bind::<Text, _>(role)
            .bind::<Text, _>(moment)
            .execute(connection),
        None => diesel::sql_query(REMOVE_MEMBER)
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .execute(connection),
    }
}

/// Imposes or lifts a ban or a mute, if the change is one, and returns whether that changed
/// anything.
fn sanction(
    connection: &mut SqliteConnection,
    room: i64,
    change: &RoomChange,
    moment: &str,
) -> QueryResult<bool> {
    let (table, user_id, imposed) = match change {
        RoomChange::Ban { user_id, sanction } => ("bans", user_id, Some(sanction)),
        RoomChange::Unban { user_id } => ("bans", user_id, None),
        RoomChange::Mute { user_id, sanction } => ("mutes", user_id, Some(sanction)),
        RoomChange::Unmute { user_id } => ("mutes", user_id, None),
        RoomChange::Settings(_)
        | RoomChange::SetMember { .. }
        | RoomChange::RemoveMember { .. } => return Ok(false),
    };
    let written = match imposed {
        // Without seconds, the time is NULL.
        Some(sanction) => {
            let written = diesel::sql_query(format!(
                "INSERT INTO {table} (room_id, user_id, until) \
                 VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', ?, ? || ' seconds')) \
                 ON CONFLICT (room_id, user_id) DO UPDATE SET until = excluded.until \
                 WHERE until IS NOT excluded.until"
            ))
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .bind::<Text, _>(moment)
            .bind::<Nullable<BigInt>, _>(sanction.seconds.map(i64::from))
            .execute(connection)?;
            // It does not count as a change: it decides nothing.
            diesel::sql_query(format!(
                "UPDATE {table} SET reason = ?1 \
                 WHERE room_id = ?2 AND user_id = ?3 AND reason IS NOT ?1"
            ))
            .bind::<Nullable<Text>, _>(sanction.reason.as_ref().map(Reason::as_str))
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .execute(connection)?;
            written
        }
        None => diesel::sql_query(format!(
            "DELETE FROM {table} \
             WHERE room_id = ? AND user_id = ? AND (until IS NULL OR until > ?)"
        ))
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(user_id.as_str())
        .bind::<Text, _>(moment)
        .execute(connection)?,
    };
    Ok(written > 0)
}
