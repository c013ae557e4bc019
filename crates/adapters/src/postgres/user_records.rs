//! Reads what is stored about a user, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::ports::{PlacedRecord, RecordKind, RecordPlace, UserRecords};
use chat_domain::{RoomId, Seq, StorageError, UserId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::statement::Statement;
use super::{Database, rows};
use crate::stored_users::{self, RecordColumns};

const ASK: &str = "WITH ask (user_id, room, seq, key, size) AS (VALUES (";

const AUTHORED: (&str, &str) = (
    "WITH ask (user_id, room, after, up_to) AS (VALUES (",
    ")) SELECT seq FROM messages \
     WHERE room_id = (SELECT room FROM ask) AND seq > (SELECT after FROM ask) \
     AND seq <= (SELECT up_to FROM ask) AND user_id = (SELECT user_id FROM ask) ORDER BY seq",
);

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
        let user_id = user_id.as_str().to_owned();
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: ASK,
                parameters: (
                    user_id.into_sql::<Text>(),
                    rows::number(after.room).into_sql::<BigInt>(),
                    rows::number(after.seq).into_sql::<BigInt>(),
                    after.key.into_sql::<Text>(),
                    size.into_sql::<BigInt>(),
                ),
                after: statement(kind),
            };
            Box::pin(query.load::<RecordRow>(session))
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
        let user_id = user_id.as_str().to_owned();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: AUTHORED.0,
                parameters: (
                    user_id.into_sql::<Text>(),
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    rows::number(after.get()).into_sql::<BigInt>(),
                    rows::number(up_to.get()).into_sql::<BigInt>(),
                ),
                after: AUTHORED.1,
            };
            Box::pin(query.load::<SeqRow>(session))
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
            ")) SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, users.id AS key, \
             users.name AS value, to_char(users.last_seen_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN users \
             WHERE users.id = ask.user_id \
             AND users.id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Member => {
            ")) SELECT members.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             members.role || ' ' || members.notify AS value, \
             to_char(members.joined_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN members \
             WHERE members.user_id = ask.user_id \
             AND members.room_id > ask.room \
             ORDER BY members.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Ban => {
            ")) SELECT bans.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             bans.reason AS value, to_char(bans.until AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN bans \
             WHERE bans.user_id = ask.user_id \
             AND bans.room_id > ask.room \
             ORDER BY bans.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Mute => {
            ")) SELECT mutes.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             mutes.reason AS value, to_char(mutes.until AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN mutes \
             WHERE mutes.user_id = ask.user_id \
             AND mutes.room_id > ask.room \
             ORDER BY mutes.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::SlowModeTurn => {
            ")) SELECT slow_mode_turns.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             CAST(NULL AS text) AS value, to_char(slow_mode_turns.due_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN slow_mode_turns \
             WHERE slow_mode_turns.user_id = ask.user_id \
             AND slow_mode_turns.room_id > ask.room \
             ORDER BY slow_mode_turns.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::ReadPointer => {
            ")) SELECT read_pointers.room_id AS room, CAST(0 AS bigint) AS seq, '' AS key, \
             CAST(read_pointers.seq AS text) AS value, CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN read_pointers \
             WHERE read_pointers.user_id = ask.user_id \
             AND read_pointers.room_id > ask.room \
             ORDER BY read_pointers.room_id \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Reaction => {
            ")) SELECT reactions.room_id AS room, reactions.seq AS seq, reactions.key AS key, \
             CAST(NULL AS text) AS value, to_char(reactions.created_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN reactions \
             WHERE reactions.user_id = ask.user_id \
             AND (reactions.room_id, reactions.seq, reactions.key) > (ask.room, ask.seq, \
             ask.key) \
             ORDER BY reactions.room_id, reactions.seq, reactions.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Mention => {
            ")) SELECT mentions.room_id AS room, mentions.seq AS seq, '' AS key, \
             CAST(NULL AS text) AS value, CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN mentions \
             WHERE mentions.user_id = ask.user_id \
             AND (mentions.room_id, mentions.seq) > (ask.room, ask.seq) \
             ORDER BY mentions.room_id, mentions.seq \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Change => {
            ")) SELECT message_changes.room_id AS room, message_changes.seq AS seq, '' AS key, \
             message_changes.rev || ' ' || message_changes.kind AS value, \
             CAST(NULL AS text) AS at \
             FROM ask CROSS JOIN message_changes \
             WHERE message_changes.changed_by = ask.user_id \
             AND (message_changes.room_id, message_changes.seq) > (ask.room, ask.seq) \
             ORDER BY message_changes.room_id, message_changes.seq \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Revocation => {
            ")) SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             revocations.user_id AS key, \
             to_char(revocations.issued_before AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS value, \
             to_char(revocations.changed_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN revocations \
             WHERE revocations.user_id = ask.user_id \
             AND revocations.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Disconnection => {
            ")) SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             disconnections.user_id AS key, CAST(NULL AS text) AS value, \
             to_char(disconnections.changed_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN disconnections \
             WHERE disconnections.user_id = ask.user_id \
             AND disconnections.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
        RecordKind::Erasure => {
            ")) SELECT CAST(0 AS bigint) AS room, CAST(0 AS bigint) AS seq, \
             user_erasures.user_id AS key, user_erasures.messages AS value, \
             to_char(user_erasures.requested_at AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at \
             FROM ask CROSS JOIN user_erasures \
             WHERE user_erasures.user_id = ask.user_id \
             AND user_erasures.user_id > ask.key \
             LIMIT (SELECT size FROM ask)"
        }
    }
}
