//! Rooms with rules and their members, on PostgreSQL.
//!
//! A change and a turn are each one call of a function of the database, in autocommit: a node
//! that is paused or cut off keeps no room locked. See the migrations `0007_rooms_with_rules` and
//! `0014_server_api`.

mod listings;
mod members;
mod queries;
mod turns;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeError, Changed, MemberPage, MembersSet, RoomChange, RoomDirectory, RoomPage,
    RoomSettings, RoomSnapshot, SanctionKind, SanctionPage, SettingsPatch, Turn, UserRecord,
};
use chat_domain::{
    ClientMessageId, DisplayName, Metadata, NewMember, Reason, Role, RoomId, RoomKind, RoomName,
    RulesNumber, Sanction, StorageError, UserId,
};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use self::queries::{CHANGE, MEMBERS, SANCTION, SNAPSHOT};
use super::statement::Statement;
use super::{Database, rows};
use crate::stored_rules::{self, MemberColumns, SettingsColumns};

#[derive(QueryableByName)]
struct SnapshotRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(embed)]
    settings: Option<SettingsRow>,
    #[diesel(sql_type = Nullable<BigInt>)]
    owner_count: Option<i64>,
    #[diesel(sql_type = Nullable<Array<Nullable<Text>>>)]
    roles: Option<Vec<Option<String>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Timestamptz>>>)]
    banned: Option<Vec<Option<PgTimestamp>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Timestamptz>>>)]
    muted: Option<Vec<Option<PgTimestamp>>>,
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
    #[diesel(sql_type = Timestamptz)]
    created_at: PgTimestamp,
    #[diesel(sql_type = BigInt)]
    member_count: i64,
}

#[derive(QueryableByName)]
struct ChangedRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = Bool)]
    has_changed: bool,
    #[diesel(embed)]
    settings: SettingsRow,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    muted: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    joined_at: Option<PgTimestamp>,
}

#[derive(QueryableByName)]
struct MemberRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    muted: Option<PgTimestamp>,
    #[diesel(sql_type = Timestamptz)]
    joined_at: PgTimestamp,
}

#[async_trait]
impl RoomDirectory for Database {
    async fn snapshot(
        &self,
        room_id: RoomId,
        users: &[UserId],
    ) -> Result<RoomSnapshot, StorageError> {
        let ids: Vec<String> = users.iter().map(|id| id.as_str().to_owned()).collect();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: SNAPSHOT.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    ids.into_sql::<Array<Text>>(),
                ),
                after: SNAPSHOT.1,
            };
            Box::pin(query.get_result::<SnapshotRow>(session))
        });
        snapshot(read.await?, users.len())
    }

    async fn change(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        change: &RoomChange,
        by: Option<UserId>,
    ) -> Result<Changed, ChangeError> {
        let by = by.map(|by| by.as_str().to_owned());
        let (name, role) = match change {
            RoomChange::Settings(_) => ("settings", None),
            RoomChange::SetMember { role, .. } => ("set_member", Some(*role)),
            RoomChange::RemoveMember { .. } => ("remove_member", None),
            RoomChange::Ban { user_id, sanction } => {
                let call = self.sanction(room_id, decided_by, "ban", user_id, sanction, by);
                return call.await;
            }
            RoomChange::Unban { .. } => ("unban", None),
            RoomChange::Mute { user_id, sanction } => {
                let call = self.sanction(room_id, decided_by, "mute", user_id, sanction, by);
                return call.await;
            }
            RoomChange::Unmute { .. } => ("unmute", None),
        };
        let subject = stored_rules::subject(change).map(|id| id.as_str().to_owned());
        let patch = match change {
            RoomChange::Settings(patch) => patch.clone(),
            _ => SettingsPatch::default(),
        };
        let (name_of_room, metadata) = (patch.name.as_ref(), patch.metadata.as_ref());
        let call = Statement {
            before: CHANGE.0,
            parameters: (
                rows::number(room_id.get()).into_sql::<BigInt>(),
                rows::number(decided_by.get()).into_sql::<BigInt>(),
                name.into_sql::<Text>(),
                subject.clone().into_sql::<Nullable<Text>>(),
                role.map(Role::as_str).into_sql::<Nullable<Text>>(),
                // The seconds of a sanction.
                None::<i64>.into_sql::<Nullable<BigInt>>(),
                patch
                    .kind
                    .map(RoomKind::as_str)
                    .into_sql::<Nullable<Text>>(),
                name_of_room
                    .map(|name| RoomName::as_str(name).to_owned())
                    .into_sql::<Nullable<Text>>(),
                patch.frozen.into_sql::<Nullable<Bool>>(),
                patch
                    .slow_mode_seconds
                    .map(i64::from)
                    .into_sql::<Nullable<BigInt>>(),
                metadata
                    .map(|json| Metadata::as_str(json).to_owned())
                    .into_sql::<Nullable<Text>>(),
                by.into_sql::<Nullable<Text>>(),
            ),
            after: CHANGE.1,
        };
        let row = self.pool.call::<ChangedRow, _>(call).await?;
        let row = row.ok_or(ChangeError::RulesChanged)?;
        Ok(changed(row, subject)?)
    }

    async fn members(
        &self,
        room_id: RoomId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<MemberPage, StorageError> {
        // An id is not empty.
        let after = after.map_or(String::new(), |id| id.as_str().to_owned());
        let size = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: MEMBERS.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    after.into_sql::<Text>(),
                    size.into_sql::<BigInt>(),
                ),
                after: MEMBERS.1,
            };
            Box::pin(query.load::<MemberRow>(session))
        });
        let found = read.await?;
        let has_more = found.len() > limit;
        let members = found.into_iter().take(limit).map(|row| {
            stored_rules::member(MemberColumns {
                user_id: row.user_id,
                name: row.user_name,
                role: row.role,
                muted: row.muted.map(rows::until),
                joined_at: rows::timestamp(row.joined_at),
            })
        });
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
        members::set(&self.pool, room_id, decided_by, members).await
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
        turns::take(&self.pool, room_id, user_id, seconds, message).await
    }
}

impl Database {
    /// Bans or mutes a user.
    async fn sanction(
        &self,
        room_id: RoomId,
        decided_by: RulesNumber,
        name: &'static str,
        user_id: &UserId,
        sanction: &Sanction,
        by: Option<String>,
    ) -> Result<Changed, ChangeError> {
        let subject = user_id.as_str().to_owned();
        let reason = sanction.reason.as_ref();
        let call = Statement {
            before: SANCTION.0,
            parameters: (
                rows::number(room_id.get()).into_sql::<BigInt>(),
                rows::number(decided_by.get()).into_sql::<BigInt>(),
                name.into_sql::<Text>(),
                subject.clone().into_sql::<Text>(),
                sanction
                    .seconds
                    .map(i64::from)
                    .into_sql::<Nullable<BigInt>>(),
                reason
                    .map(|reason| Reason::as_str(reason).to_owned())
                    .into_sql::<Nullable<Text>>(),
                by.into_sql::<Nullable<Text>>(),
            ),
            after: SANCTION.1,
        };
        let row = self.pool.call::<ChangedRow, _>(call).await?;
        let row = row.ok_or(ChangeError::RulesChanged)?;
        Ok(changed(row, Some(subject))?)
    }
}

fn snapshot(row: SnapshotRow, users: usize) -> Result<RoomSnapshot, StorageError> {
    // Without rules, no standing was read.
    let roles = row.roles.unwrap_or_else(|| vec![None; users]);
    let until = |ends: Option<Vec<Option<PgTimestamp>>>| {
        let ends = ends.unwrap_or_else(|| vec![None; users]).into_iter();
        ends.map(|end| end.map(rows::until))
    };
    let records = roles
        .into_iter()
        .zip(until(row.banned))
        .zip(until(row.muted));
    let records = records.map(|((role, banned), muted)| {
        let role = role.as_deref().map(stored_rules::role).transpose()?;
        Ok(UserRecord {
            role,
            banned,
            muted,
        })
    });
    Ok(RoomSnapshot {
        rules: stored_rules::rules(row.rules)?,
        generation: rows::generation(row.generation),
        settings: row.settings.map(settings).transpose()?,
        owners: stored_rules::count(row.owner_count.unwrap_or_default())?,
        users: records.collect::<Result<_, StorageError>>()?,
    })
}

fn changed(row: ChangedRow, subject: Option<String>) -> Result<Changed, StorageError> {
    let member = match (subject, row.role, row.joined_at) {
        (Some(user_id), Some(role), Some(joined_at)) => Some(MemberColumns {
            user_id,
            name: row.user_name,
            role,
            muted: row.muted.map(rows::until),
            joined_at: rows::timestamp(joined_at),
        }),
        _ => None,
    };
    Ok(Changed {
        rules: stored_rules::rules(row.rules)?,
        generation: rows::generation(row.generation),
        settings: settings(row.settings)?,
        member: member.map(stored_rules::member).transpose()?,
        has_changed: row.has_changed,
    })
}

fn settings(row: SettingsRow) -> Result<RoomSettings, StorageError> {
    stored_rules::settings(SettingsColumns {
        kind: row.kind,
        name: row.name,
        frozen: row.frozen,
        slow_mode_seconds: row.slow_mode_seconds,
        metadata: row.metadata,
        created_at: rows::timestamp(row.created_at),
        member_count: row.member_count,
    })
}
