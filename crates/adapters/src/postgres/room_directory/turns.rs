//! Whose turn it is in a room with slow mode.

use chat_domain::ports::Turn;
use chat_domain::{ClientMessageId, RoomId, StorageError, UserId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{IntoSql as _, QueryableByName};

use super::super::pool::Pool;
use super::super::rows;
use super::super::statement::Statement;
use crate::stored_rules;

/// The user has sent the message before: it takes no turn.
const SENT_BEFORE: i64 = -1;

const TAKE_TURN: (&str, &str) = (
    "WITH ask (room, subject, seconds, sent_id) AS (VALUES (",
    ")) SELECT CASE WHEN EXISTS (SELECT FROM messages WHERE messages.room_id = room \
     AND messages.user_id = subject AND messages.client_message_id = sent_id) THEN -1 \
     ELSE take_turn(room, subject, seconds) END AS wait FROM ask",
);

#[derive(QueryableByName)]
struct TurnRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    wait: Option<i64>,
}

pub(super) async fn take(
    pool: &Pool,
    room_id: RoomId,
    user_id: &UserId,
    seconds: u32,
    message: Option<ClientMessageId>,
) -> Result<Turn, StorageError> {
    let message = message.map(|id| id.as_str().to_owned());
    let call = Statement {
        before: TAKE_TURN.0,
        parameters: (
            rows::number(room_id.get()).into_sql::<BigInt>(),
            user_id.as_str().to_owned().into_sql::<Text>(),
            i64::from(seconds).into_sql::<BigInt>(),
            message.into_sql::<Nullable<Text>>(),
        ),
        after: TAKE_TURN.1,
    };
    let row = pool.call::<TurnRow, _>(call).await?;
    Ok(match row.and_then(|row| row.wait) {
        None => Turn::Taken,
        Some(SENT_BEFORE) => Turn::NotNeeded,
        Some(millis) => Turn::NotDue {
            retry_after_ms: stored_rules::count(millis)?,
        },
    })
}
