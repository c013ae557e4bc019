//! Whose turn it is in a room with slow mode.

use chat_domain::ports::Turn;
use chat_domain::{ClientMessageId, RoomId, StorageError, UserId};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::super::schema::messages;
use super::super::{Database, rows};
use super::{TextRow, moment, time};
use crate::stored_rules;

const TURN: &str = "SELECT due_at AS value FROM slow_mode_turns WHERE room_id = ? AND user_id = ?";

const TAKE_TURN: &str = "INSERT INTO slow_mode_turns (room_id, user_id, due_at) \
     VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', ?, ? || ' seconds')) \
     ON CONFLICT (room_id, user_id) DO UPDATE SET due_at = excluded.due_at";

/// What became of a turn.
enum Outcome {
    Taken,
    NotNeeded,
    NotDue { due: String, moment: String },
}

pub(super) async fn take(
    database: &Database,
    room_id: RoomId,
    user_id: &UserId,
    seconds: u32,
    message: Option<ClientMessageId>,
) -> Result<Turn, StorageError> {
    let user_id = user_id.clone();
    let outcome = database.write(move |connection| {
        let room = rows::number(room_id.get());
        if let Some(id) = message {
            let sent = messages::table
                .filter(messages::room_id.eq(room))
                .filter(messages::user_id.eq(user_id.as_str()))
                .filter(messages::client_message_id.eq(id.as_str()));
            if diesel::select(exists(sent)).get_result(connection)? {
                return Ok(Outcome::NotNeeded);
            }
        }
        let moment = moment(connection)?;
        let due = diesel::sql_query(TURN)
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .get_result::<TextRow>(connection)
            .optional()?;
        if let Some(due) = due.filter(|due| due.value > moment) {
            let due = due.value;
            return Ok(Outcome::NotDue { due, moment });
        }
        diesel::sql_query(TAKE_TURN)
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(user_id.as_str())
            .bind::<Text, _>(moment)
            .bind::<BigInt, _>(i64::from(seconds))
            .execute(connection)?;
        Ok(Outcome::Taken)
    });
    let (due, moment) = match outcome.await? {
        Outcome::Taken => return Ok(Turn::Taken),
        Outcome::NotNeeded => return Ok(Turn::NotNeeded),
        Outcome::NotDue { due, moment } => (due, moment),
    };
    let wait = time(&due)?.unix_millis() - time(&moment)?.unix_millis();
    Ok(Turn::NotDue {
        retry_after_ms: stored_rules::count(wait.max(1))?,
    })
}
