//! Pages of rooms, bans and mutes, and names of users.

use chat_domain::ports::{RoomPage, SanctionKind, SanctionPage};
use chat_domain::{DisplayName, RoomId, StorageError, UserId};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, OptionalExtension as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::super::pool::Pool;
use super::super::rows;
use super::super::statement::Statement;
use super::{SettingsRow, settings};
use crate::stored_rules::{self, SanctionColumns};

const ROOMS: (&str, &str) = (
    "WITH ask (after, size) AS (VALUES (",
    ")) SELECT room_id, kind, name, frozen, slow_mode_seconds, metadata, created_at, member_count \
     FROM room_settings WHERE room_id > (SELECT after FROM ask) \
     AND EXISTS (SELECT FROM rooms WHERE id = room_id AND generation <= rules) \
     ORDER BY room_id LIMIT (SELECT size FROM ask)",
);

const BANS: (&str, &str) = (
    "WITH ask (room, after, size) AS (VALUES (",
    ")) SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, \
     coalesce(until, 'infinity') AS until, reason FROM bans \
     WHERE room_id = (SELECT room FROM ask) AND user_id > (SELECT after FROM ask) \
     AND (until IS NULL OR until > now()) \
     ORDER BY user_id LIMIT (SELECT size FROM ask)",
);

const MUTES: (&str, &str) = (
    "WITH ask (room, after, size) AS (VALUES (",
    ")) SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, \
     coalesce(until, 'infinity') AS until, reason FROM mutes \
     WHERE room_id = (SELECT room FROM ask) AND user_id > (SELECT after FROM ask) \
     AND (until IS NULL OR until > now()) \
     ORDER BY user_id LIMIT (SELECT size FROM ask)",
);

const NAME: (&str, &str) = ("SELECT name FROM users WHERE id = (VALUES (", "))");

#[derive(QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(embed)]
    settings: SettingsRow,
}

#[derive(QueryableByName)]
struct SanctionRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    until: PgTimestamp,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

pub(super) async fn rooms(
    pool: &Pool,
    after: Option<RoomId>,
    limit: usize,
) -> Result<RoomPage, StorageError> {
    // A number is not 0.
    let after = after.map_or(0, |room_id| rows::number(room_id.get()));
    let read = pool.read(move |session| {
        let query = Statement {
            before: ROOMS.0,
            parameters: (
                after.into_sql::<BigInt>(),
                stored_rules::rows_of(limit).into_sql::<BigInt>(),
            ),
            after: ROOMS.1,
        };
        Box::pin(query.load::<RoomRow>(session))
    });
    let found = read.await?;
    let has_more = found.len() > limit;
    let rooms = found.into_iter().take(limit).map(|row| {
        let room_id = stored_rules::room_id(row.room_id)?;
        Ok((room_id, settings(row.settings)?))
    });
    Ok(RoomPage {
        rooms: rooms.collect::<Result<_, StorageError>>()?,
        has_more,
    })
}

pub(super) async fn sanctions(
    pool: &Pool,
    room_id: RoomId,
    kind: SanctionKind,
    after: Option<UserId>,
    limit: usize,
) -> Result<SanctionPage, StorageError> {
    // An id is not empty.
    let after = after.map_or(String::new(), |id| id.as_str().to_owned());
    let (head, tail) = match kind {
        SanctionKind::Ban => BANS,
        SanctionKind::Mute => MUTES,
    };
    let read = pool.read(move |session| {
        let query = Statement {
            before: head,
            parameters: (
                rows::number(room_id.get()).into_sql::<BigInt>(),
                after.into_sql::<Text>(),
                stored_rules::rows_of(limit).into_sql::<BigInt>(),
            ),
            after: tail,
        };
        Box::pin(query.load::<SanctionRow>(session))
    });
    let found = read.await?;
    let has_more = found.len() > limit;
    let users = found.into_iter().take(limit).map(|row| {
        stored_rules::sanctioned(SanctionColumns {
            user_id: row.user_id,
            name: row.user_name,
            until: rows::until(row.until),
            reason: row.reason,
        })
    });
    Ok(SanctionPage {
        users: users.collect::<Result<_, _>>()?,
        has_more,
    })
}

pub(super) async fn user_name(
    pool: &Pool,
    user_id: &UserId,
) -> Result<Option<DisplayName>, StorageError> {
    let user_id = user_id.as_str().to_owned();
    let read = pool.read(move |session| {
        let query = Statement {
            before: NAME.0,
            parameters: user_id.into_sql::<Text>(),
            after: NAME.1,
        };
        Box::pin(async move { query.get_result::<NameRow>(session).await.optional() })
    });
    let found = read.await?;
    Ok(found.map(|row| DisplayName::from_text(&row.name)))
}
