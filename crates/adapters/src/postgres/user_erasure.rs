//! Erases users, on PostgreSQL.
//!
//! A batch is one call of a function of the database, in autocommit: a node that is paused or cut
//! off keeps nothing locked. See the migration `0021_user_erasure`.

use async_trait::async_trait;
use chat_domain::ports::{AuthoredMessages, ErasureBatch, UserErasure};
use chat_domain::{RoomId, StorageError, UserId};
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::statement::Statement;
use super::{Database, rows};
use crate::stored_users::{self, BatchColumns};

const REQUEST: (&str, &str) = (
    "INSERT INTO user_erasures AS old (user_id, messages, requested_at) \
     SELECT user_id, messages, clock_timestamp() FROM (VALUES (",
    ")) AS ask (user_id, messages) \
     ON CONFLICT (user_id) DO UPDATE SET \
     messages = CASE old.messages WHEN 'erase' THEN old.messages ELSE excluded.messages END, \
     requested_at = clock_timestamp(), step = 0, room_id = 0, seq = 0 \
     RETURNING true AS done",
);

const ERASE_BATCH: (&str, &str) = (
    "SELECT subject, stage, erased, room, room_generation, rev FROM erase_user_batch(",
    ") WHERE subject IS NOT NULL",
);

const STANDING: (&str, &str) = (
    "WITH ask (user_id, size) AS (VALUES (",
    ")) SELECT room_id FROM ask CROSS JOIN LATERAL (\
     (SELECT room_id FROM members WHERE members.user_id = ask.user_id \
     ORDER BY room_id LIMIT ask.size) UNION \
     (SELECT room_id FROM bans WHERE bans.user_id = ask.user_id \
     ORDER BY room_id LIMIT ask.size) UNION \
     (SELECT room_id FROM mutes WHERE mutes.user_id = ask.user_id \
     ORDER BY room_id LIMIT ask.size) UNION \
     (SELECT room_id FROM slow_mode_turns AS turn WHERE turn.user_id = ask.user_id \
     ORDER BY room_id LIMIT ask.size)) AS found \
     ORDER BY room_id LIMIT (SELECT size FROM ask)",
);

const FORGET: (&str, &str) = (
    "WITH ask (user_id, room_id) AS (VALUES (",
    ")), ban AS (DELETE FROM bans USING ask \
     WHERE bans.room_id = ask.room_id AND bans.user_id = ask.user_id), \
     mute AS (DELETE FROM mutes USING ask \
     WHERE mutes.room_id = ask.room_id AND mutes.user_id = ask.user_id), \
     turn AS (DELETE FROM slow_mode_turns AS turn USING ask \
     WHERE turn.room_id = ask.room_id AND turn.user_id = ask.user_id), \
     member AS (DELETE FROM members USING ask, rooms \
     WHERE members.room_id = ask.room_id AND members.user_id = ask.user_id \
     AND rooms.id = ask.room_id AND rooms.generation > rooms.rules) \
     SELECT true AS done",
);

const FINISH: (&str, &str) = ("SELECT finish_user_erasure(", ") AS done");

#[derive(QueryableByName)]
struct BatchRow {
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = Text)]
    stage: String,
    #[diesel(sql_type = BigInt)]
    erased: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    room: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    room_generation: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rev: Option<i64>,
}

#[derive(QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
}

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = Bool)]
    done: bool,
}

#[async_trait]
impl UserErasure for Database {
    async fn request(
        &self,
        user_id: &UserId,
        messages: AuthoredMessages,
    ) -> Result<(), StorageError> {
        let call = Statement {
            before: REQUEST.0,
            parameters: (
                user_id.as_str().to_owned().into_sql::<Text>(),
                messages.as_str().into_sql::<Text>(),
            ),
            after: REQUEST.1,
        };
        self.pool.call::<DoneRow, _>(call).await.map(drop)
    }

    async fn erase_batch(&self, size: usize) -> Result<Option<ErasureBatch>, StorageError> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let call = Statement {
            before: ERASE_BATCH.0,
            parameters: (size.into_sql::<BigInt>(),),
            after: ERASE_BATCH.1,
        };
        let row = self.pool.call::<BatchRow, _>(call).await?;
        let batch = row.map(|row| {
            let changed = match (row.room, row.room_generation, row.rev) {
                (Some(room), Some(generation), Some(rev)) => Some((room, generation, rev)),
                _ => None,
            };
            stored_users::batch(BatchColumns {
                user_id: row.subject,
                stage: row.stage,
                erased: row.erased,
                changed,
            })
        });
        batch.transpose()
    }

    async fn standing(&self, user_id: &UserId, limit: usize) -> Result<Vec<RoomId>, StorageError> {
        let user_id = user_id.as_str().to_owned();
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: STANDING.0,
                parameters: (user_id.into_sql::<Text>(), size.into_sql::<BigInt>()),
                after: STANDING.1,
            };
            Box::pin(query.load::<RoomRow>(session))
        });
        let rooms = read.await?.into_iter();
        rooms.map(|row| rows::room(row.room_id)).collect()
    }

    async fn forget_standing(&self, user_id: &UserId, room_id: RoomId) -> Result<(), StorageError> {
        let call = Statement {
            before: FORGET.0,
            parameters: (
                user_id.as_str().to_owned().into_sql::<Text>(),
                rows::number(room_id.get()).into_sql::<BigInt>(),
            ),
            after: FORGET.1,
        };
        self.pool.call::<DoneRow, _>(call).await.map(drop)
    }

    async fn finish(&self, user_id: &UserId) -> Result<bool, StorageError> {
        let call = Statement {
            before: FINISH.0,
            parameters: (user_id.as_str().to_owned().into_sql::<Text>(),),
            after: FINISH.1,
        };
        let row = self.pool.call::<DoneRow, _>(call).await?;
        Ok(row.is_some_and(|row| row.done))
    }
}
