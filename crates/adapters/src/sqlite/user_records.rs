//! Reads what is stored about a user, on SQLite.

use async_trait::async_trait;
use chat_domain::ports::{PlacedRecord, RecordKind, RecordPlace, UserRecords};
use chat_domain::{RoomId, Seq, StorageError, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{Database, rows};
use crate::stored_users::{self, RecordColumns};

const AUTHORED: &str = "SELECT seq FROM messages \
     WHERE room_id = ? AND seq > ? AND seq <= ? AND user_id = ? ORDER BY seq";

#[derive(QueryableByName)]
struct RecordRow {
    #[diesel(sql_type = BigInt)]
    room: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    at: Option<String>,
}

#[derive(QueryableByName)]
struct SeqRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[async_trait]
impl UserRecords for Database {
    async fn records(
        &self,
        user_id: &UserId,
        kind: RecordKind,
        after: RecordPlace,
        limit: usize,
    ) -> Result<Vec<PlacedRecord>, StorageError> {
        let user_id = user_id.clone();
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(statement(kind))
                .bind::<Text, _>(user_id.as_str())
                .bind::<BigInt, _>(rows::number(after.room))
                .bind::<BigInt, _>(rows::number(after.seq))
                .bind::<Text, _>(after.key)
                .bind::<BigInt, _>(size)
                .load::<RecordRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter();
        let records = found.map(|row| {
            let columns = RecordColumns {
                room: row.room,
                seq: row.seq,
                key: row.key,
                value: row.value,
                at: row.at,
            };
            stored_users::record(kind, columns)
        });
        records.collect()
    }

    async fn authored(
        &self,
        user_id: &UserId,
        room_id: RoomId,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Seq>, StorageError> {
        let user_id = user_id.clone();
        let read = self.pool.read(move |connection| {
            diesel::sql_query(AUTHORED)
                .bind::<BigInt, _>(rows::number(room_id.get()))
                .bind::<BigInt, _>(rows::number(after.get()))
                .bind::<BigInt, _>(rows::number(up_to.get()))
                .bind::<Text, _>(user_id.as_str())
                .load::<SeqRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter();
        found.map(|row| rows::position(row.seq)).collect()
    }
}

/// Returns the statement that reads records of a kind: their places, a value and a time, which
/// [`stored_users::record`] converts.
fn statement(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, users.id AS key, \
             users.name AS value, users.last_seen_at AS at \
             FROM ask CROSS JOIN users \
             WHERE users.id = ask.user_id \
             AND users.id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Member => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT members.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             members.role || ' ' || members.notify AS value, members.joined_at AS at \
             FROM ask CROSS JOIN members \
             WHERE members.user_id = ask.user_id \
             AND members.room_id > ask.room \
             ORDER BY members.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Ban => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT bans.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             bans.reason AS value, bans.until AS at \
             FROM ask CROSS JOIN bans \
             WHERE bans.user_id = ask.user_id \
             AND bans.room_id > ask.room \
             ORDER BY bans.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Mute => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT mutes.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             mutes.reason AS value, mutes.until AS at \
             FROM ask CROSS JOIN mutes \
             WHERE mutes.user_id = ask.user_id \
             AND mutes.room_id > ask.room \
             ORDER BY mutes.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::SlowModeTurn => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT slow_mode_turns.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             CAST(NULL AS text) AS value, slow_mode_turns.due_at AS at \
             FROM ask CROSS JOIN slow_mode_turns \
             WHERE slow_mode_turns.user_id = ask.user_id \
             AND slow_mode_turns.room_id > ask.room \
             ORDER BY slow_mode_turns.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::ReadPointer => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT read_pointers.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             CAST(read_pointers.seq AS text) AS value, CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN read_pointers \
             WHERE read_pointers.user_id = ask.user_id \
             AND read_pointers.room_id > ask.room \
             ORDER BY read_pointers.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Reaction => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT reactions.room_id AS room, reactions.seq AS seq, reactions.key AS key, \
             CAST(NULL AS text) AS value, reactions.created_at AS at \
             FROM ask CROSS JOIN reactions \
             WHERE reactions.user_id = ask.user_id \
             AND (reactions.room_id, reactions.seq, reactions.key) > (ask.room, ask.seq, \
             ask.key) \
             ORDER BY reactions.room_id, reactions.seq, reactions.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Mention => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT mentions.room_id AS room, mentions.seq AS seq, '' AS key, \
             CAST(NULL AS text) AS value, CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN mentions \
             WHERE mentions.user_id = ask.user_id \
             AND (mentions.room_id, mentions.seq) > (ask.room, ask.seq) \
             ORDER BY mentions.room_id, mentions.seq \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Change => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT message_changes.room_id AS room, message_changes.seq AS seq, '' AS key, \
             message_changes.rev || ' ' || message_changes.kind AS value, \
             CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN message_changes \
             WHERE message_changes.changed_by = ask.user_id \
             AND (message_changes.room_id, message_changes.seq) > (ask.room, ask.seq) \
             ORDER BY message_changes.room_id, message_changes.seq \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Revocation => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             revocations.user_id AS key, revocations.issued_before AS value, \
             revocations.changed_at AS at \
             FROM ask CROSS JOIN revocations \
             WHERE revocations.user_id = ask.user_id \
             AND revocations.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Disconnection => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             disconnections.user_id AS key, CAST(NULL AS text) AS value, \
             disconnections.changed_at AS at \
             FROM ask CROSS JOIN disconnections \
             WHERE disconnections.user_id = ask.user_id \
             AND disconnections.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Erasure => {
            "WITH ask (user_id, room, seq, key, size) AS (VALUES (?, ?, ?, ?, ?)) \
             SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             user_erasures.user_id AS key, user_erasures.messages AS value, \
             user_erasures.requested_at AS at \
             FROM ask CROSS JOIN user_erasures \
             WHERE user_erasures.user_id = ask.user_id \
             AND user_erasures.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
    }
}
