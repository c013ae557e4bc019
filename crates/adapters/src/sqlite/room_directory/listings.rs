//! Pages of rooms, bans and mutes, and names of users.

use chat_domain::ports::{RoomPage, SanctionKind, SanctionPage};
use chat_domain::{DisplayName, RoomId, StorageError, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::super::pool::Pool;
use super::super::rows;
use super::{SettingsRow, moment, to_settings, until};
use crate::stored_rules::{self, SanctionColumns};

const ROOMS: &str = "SELECT room_id, kind, name, frozen, slow_mode_seconds, metadata, created_at, \
     member_count, owner_count FROM room_settings WHERE room_id > ? \
     AND EXISTS (SELECT 1 FROM rooms WHERE id = room_id AND generation <= rules) ORDER BY room_id LIMIT ?";

const NAME: &str = "SELECT name FROM users WHERE id = ?";

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
    #[diesel(sql_type = Text)]
    until: String,
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
    let read = pool.read(move |connection| {
        diesel::sql_query(ROOMS)
            // A number is not 0.
            .bind::<BigInt, _>(after.map_or(0, |room_id| rows::number(room_id.get())))
            .bind::<BigInt, _>(stored_rules::rows_of(limit))
            .load::<RoomRow>(connection)
            .map_err(StorageError::unavailable)
    });
    let found = read.await?;
    let has_more = found.len() > limit;
    let rooms = found.into_iter().take(limit).map(|row| {
        let room_id = stored_rules::room_id(row.room_id)?;
        Ok((room_id, to_settings(row.settings)?))
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
    let table = match kind {
        SanctionKind::Ban => "bans",
        SanctionKind::Mute => "mutes",
    };
    let read = pool.read(move |connection| {
        let read = moment(connection).and_then(|moment| {
            diesel::sql_query(format!(
                "SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, \
                 coalesce(until, '') AS until, reason FROM {table} \
                 WHERE room_id = ? AND user_id > ? AND (until IS NULL OR until > ?) \
                 ORDER BY user_id LIMIT ?"
            ))
            .bind::<BigInt, _>(rows::number(room_id.get()))
            // An id is not empty.
            .bind::<Text, _>(after.as_ref().map_or("", UserId::as_str))
            .bind::<Text, _>(moment)
            .bind::<BigInt, _>(stored_rules::rows_of(limit))
            .load::<SanctionRow>(connection)
        });
        read.map_err(StorageError::unavailable)
    });
    let found = read.await?;
    let has_more = found.len() > limit;
    let users = found.into_iter().take(limit).map(|row| {
        stored_rules::sanctioned(SanctionColumns {
            user_id: row.user_id,
            name: row.user_name,
            until: until(&row.until)?,
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
    let user_id = user_id.clone();
    let read = pool.read(move |connection| {
        diesel::sql_query(NAME)
            .bind::<Text, _>(user_id.as_str())
            .get_result::<NameRow>(connection)
            .optional()
            .map_err(StorageError::unavailable)
    });
    let found = read.await?;
    Ok(found.map(|row| DisplayName::from_text(&row.name)))
}
