//! Rooms with rules and their members, on SQLite.
//!
//! A change and a turn are each a transaction of the one task that writes. The moment that a
//! transaction compares times with is its own, by SQLite's clock.

mod change;
mod listings;
mod turns;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeError, Changed, MemberPage, MembersSet, RoomChange, RoomDirectory, RoomPage,
    RoomSettings, RoomSnapshot, SanctionKind, SanctionPage, SetMember, Turn, UserRecord,
};
use chat_domain::{
    ClientMessageId, DisplayName, Member, NewMember, RoomId, RulesNumber, StorageError, Timestamp,
    Until, UserId,
};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::store::transaction;
use super::{Database, outbox, rows};
use crate::group_commit::StoreError;
use crate::stored_rules::{self, MemberColumns, SettingsColumns};

const MOMENT: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

const NUMBERS: &str = "SELECT rules, generation FROM rooms WHERE id = ?";

const SETTINGS: &str = "SELECT kind, name, frozen, slow_mode_seconds, metadata, created_at, \
     member_count, owner_count FROM room_settings WHERE room_id = ?";

const RECORD: &str = "SELECT \
     (SELECT role FROM members WHERE room_id = ?1 AND user_id = ?2) AS role, \
     (SELECT coalesce(until, '') FROM bans \
     WHERE room_id = ?1 AND user_id = ?2 AND (until IS NULL OR until > ?3)) AS banned, \
     (SELECT coalesce(until, '') FROM mutes \
     WHERE room_id = ?1 AND user_id = ?2 AND (until IS NULL OR until > ?3)) AS muted";

/// Ends before the condition for the user's id.
const MEMBER: &str = "SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, \
     role, (SELECT coalesce(until, '') FROM mutes \
     WHERE mutes.room_id = member.room_id AND mutes.user_id = member.user_id \
     AND (until IS NULL OR until > ?1)) AS muted, joined_at \
     FROM members AS member WHERE room_id = ?2 AND user_id";

/// A room's numbers; 0 for a room that does not exist.
#[derive(Default, Clone, Copy, QueryableByName)]
struct NumbersRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct SettingsRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Bool)]
    frozen: bool,
    #[diesel(sql_type = BigInt)]
    slow_mode_seconds: i64,
    #[diesel(sql_type = Text)]
    metadata: String,
    #[diesel(sql_type = Text)]
    created_at: String,
    #[diesel(sql_type = BigInt)]
    member_count: i64,
    #[diesel(sql_type = BigInt)]
    owner_count: i64,
}

#[derive(Default, QueryableByName)]
struct RecordRow {
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    banned: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    muted: Option<String>,
}

#[derive(QueryableByName)]
pub(super) struct MemberRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Text>)]
    muted: Option<String>,
    #[diesel(sql_type = Text)]
    joined_at: String,
}

#[async_trait]
impl RoomDirectory for Database {
    async fn snapshot(
        &self,
        room_id: RoomId,
        users: &[UserId],
    ) -> Result<RoomSnapshot, StorageError> {
        let users = users.to_vec();
        let read = self.pool.read(move |connection| {
            // One moment for all statements.
            let read = connection.transaction(|connection| {
                let room = rows::number(room_id.get());
                let numbers = numbers(connection, room)?;
                if numbers.rules == 0 {
                    let records = users.iter().map(|_| RecordRow::default()).collect();
                    return Ok((numbers, None, records));
                }
                let moment = moment(connection)?;
                let records = users.iter().map(|id| record(connection, room, id, &moment));
                let records = records.collect::<QueryResult<Vec<_>>>()?;
                Ok((numbers, settings(connection, room)?, records))
            });
            read.map_err(|error: diesel::result::Error| StorageError::unavailable(error))
        });
        let (numbers, settings, records) = read.await?;
        let owners = settings.as_ref().map_or(0, |row| row.owner_count);
        Ok(RoomSnapshot {
            rules: stored_rules::rules(numbers.rules)?,
            generation: rows::generation(numbers.generation),
            settings: settings.map(to_settings).transpose()?,
            owners: stored_rules::count(owners)?,
            users: records
                .into_iter()
                .map(to_record)
                .collect::<Result<_, _>>()?,
        })
    }

    async fn change(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        change: &RoomChange,
        by: Option<UserId>,
    ) -> Result<Changed, ChangeError> {
        let change = change.clone();
        let kinds = self.recorded();
        let changed = self.write(move |connection| {
            let room = rows::number(room_id.get());
            let outcome =
                change::change(connection, room, rows::number(decided_by.get()), &change)?;
            if outcome.as_ref().is_some_and(|outcome| outcome.has_changed) {
                outbox::record::room_change(connection, kinds, room, &change, by.as_ref())?;
            }
            Ok(outcome)
        });
        match changed.await? {
            Some(outcome) => Ok(outcome.into_changed()?),
            None => Err(ChangeError::RulesChanged),
        }
    }

    async fn members(
        &self,
        room_id: RoomId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<MemberPage, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let read = self.pool.read(move |connection| {
            let read = moment(connection).and_then(|moment| {
                diesel::sql_query(format!("{MEMBER} > ?3 ORDER BY user_id LIMIT ?4"))
                    .bind::<Text, _>(moment)
                    .bind::<BigInt, _>(rows::number(room_id.get()))
                    // An id is not empty.
                    .bind::<Text, _>(after.as_ref().map_or("", UserId::as_str))
                    .bind::<BigInt, _>(size)
                    .load::<MemberRow>(connection)
            });
            read.map_err(StorageError::unavailable)
        });
        let found = read.await?;
        let has_more = found.len() > limit;
        let members = found.into_iter().take(limit).map(to_member);
        Ok(MemberPage {
            members: members.collect::<Result<_, _>>()?,
            has_more,
        })
    }

    async fn set_members(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        members: &[NewMember],
    ) -> Result<MembersSet, ChangeError> {
        let members = members.to_vec();
        let kinds = self.recorded();
        let set = self.write(move |connection| {
            let room = rows::number(room_id.get());
            let set =
                change::set_members(connection, room, rows::number(decided_by.get()), &members)?;
            for (member, has_changed) in set.iter().flat_map(|set| &set.members) {
                if *has_changed {
                    outbox::record::set_member(connection, kinds, room, &member.user_id)?;
                }
            }
            Ok(set)
        });
        let set = set.await?.ok_or(ChangeError::RulesChanged)?;
        let members = set.members.into_iter().map(|(row, has_changed)| {
            let member = to_member(row)?;
            Ok(SetMember {
                member,
                has_changed,
            })
        });
        Ok(MembersSet {
            rules: stored_rules::rules(set.rules)?,
            generation: rows::generation(set.generation),
            members: members.collect::<Result<_, StorageError>>()?,
        })
    }

    async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<RoomPage, StorageError> {
        listings::rooms(&self.pool, after, limit).await
    }

    async fn sanctions(
        &self,
        room_id: RoomId,
        kind: SanctionKind,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<SanctionPage, StorageError> {
        listings::sanctions(&self.pool, room_id, kind, after, limit).await
    }

    async fn user_name(&self, user_id: &UserId) -> Result<Option<DisplayName>, StorageError> {
        listings::user_name(&self.pool, user_id).await
    }

    async fn take_turn(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        seconds: u32,
        message: Option<ClientMessageId>,
    ) -> Result<Turn, StorageError> {
        turns::take(self, room_id, user_id, seconds, message).await
    }
}

impl Database {
    /// Carries out a transaction in the task that writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let written = self
            .writer
            .write(move |connection| in_transaction(connection, work));
        written.await
    }
}

/// Carries out a transaction.
pub(super) fn in_transaction<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
) -> Result<T, StorageError> {
    transaction(connection, work).map_err(|error| match error {
        StoreError::Whole(error) => error,
        StoreError::Row(error) => StorageError::unavailable(error),
        StoreError::Repeat => StorageError::unavailable("a row exists already"),
    })
}

pub(super) fn moment(connection: &mut SqliteConnection) -> QueryResult<String> {
    diesel::select(diesel::dsl::sql::<Text>(MOMENT)).get_result(connection)
}

fn numbers(connection: &mut SqliteConnection, room: i64) -> QueryResult<NumbersRow> {
    let query = diesel::sql_query(NUMBERS).bind::<BigInt, _>(room);
    let found = query.get_result::<NumbersRow>(connection).optional()?;
    Ok(found.unwrap_or_default())
}

fn settings(connection: &mut SqliteConnection, room: i64) -> QueryResult<Option<SettingsRow>> {
    let query = diesel::sql_query(SETTINGS).bind::<BigInt, _>(room);
    query.get_result(connection).optional()
}

fn record(
    connection: &mut SqliteConnection,
    room: i64,
    user_id: &UserId,
    moment: &str,
) -> QueryResult<RecordRow> {
    diesel::sql_query(RECORD)
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(user_id.as_str())
        .bind::<Text, _>(moment)
        .get_result(connection)
}

pub(super) fn member(
    connection: &mut SqliteConnection,
    room: i64,
    user_id: &UserId,
    moment: &str,
) -> QueryResult<Option<MemberRow>> {
    diesel::sql_query(format!("{MEMBER} = ?3"))
        .bind::<Text, _>(moment)
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(user_id.as_str())
        .get_result(connection)
        .optional()
}

fn to_settings(row: SettingsRow) -> Result<RoomSettings, StorageError> {
    stored_rules::settings(SettingsColumns {
        kind: row.kind,
        name: row.name,
        frozen: row.frozen,
        slow_mode_seconds: row.slow_mode_seconds,
        metadata: row.metadata,
        created_at: time(&row.created_at)?,
        member_count: row.member_count,
    })
}

fn to_record(row: RecordRow) -> Result<UserRecord, StorageError> {
    let role = row.role.as_deref().map(stored_rules::role);
    Ok(UserRecord {
        role: role.transpose()?,
        banned: row.banned.as_deref().map(until).transpose()?,
        muted: row.muted.as_deref().map(until).transpose()?,
    })
}

pub(super) fn to_member(row: MemberRow) -> Result<Member, StorageError> {
    stored_rules::member(MemberColumns {
        user_id: row.user_id,
        name: row.user_name,
        role: row.role,
        muted: row.muted.as_deref().map(until).transpose()?,
        joined_at: time(&row.joined_at)?,
    })
}

/// Converts the end of a ban or a mute. An empty text: until it is lifted.
fn until(text: &str) -> Result<Until, StorageError> {
    match text {
        "" => Ok(Until::Lifted),
        _ => time(text).map(Until::Time),
    }
}

fn time(text: &str) -> Result<Timestamp, StorageError> {
    text.parse().map_err(StorageError::corrupt)
}
