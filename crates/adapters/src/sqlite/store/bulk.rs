//! Stores many messages of one room in a few statements, for imports: a loop over single inserts
//! spends most of its time between the statements.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_domain::{ClientMessageId, MessageId, NewMessage, RulesNumber};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Text};
use serde_json::json;

use crate::group_commit::Placed;
use crate::sqlite::rows;
use crate::stored_extras;

const COUNT: &str = "UPDATE rooms SET last_seq = last_seq + ?2, active_at = ?4 \
     WHERE id = ?1 AND rules = ?3 RETURNING last_seq AS value";

const CREATE: &str = "INSERT INTO rooms (id, last_seq, active_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (id) DO NOTHING RETURNING last_seq AS value";

/// A name that is stored already is not written again.
const STORE_NAMES: &str = "INSERT INTO users (id, name) \
     SELECT key, value FROM json_each(?1) AS batch \
     WHERE (SELECT name FROM users WHERE id = batch.key) IS NOT batch.value \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name";

/// In the order of the batch, so that later messages have larger ids.
const STORE: &str = "INSERT INTO messages (room_id, seq, user_id, content, client_message_id, \
     created_at, extras) \
     SELECT ?1, ?2 + key + 1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
     FROM json_each(?3) ORDER BY key";

const STORE_MENTIONS: &str = "INSERT INTO mentions (room_id, user_id, seq) \
     SELECT ?1, value ->> 0, value ->> 1 FROM json_each(?2) WHERE true \
     ON CONFLICT DO NOTHING";

const MOVE_POINTERS: &str = "INSERT INTO read_pointers (room_id, user_id, seq) \
     SELECT ?1, key, value FROM json_each(?2) WHERE true \
     ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq";

const LAST_ID: &str = "SELECT last_insert_rowid() AS value";

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// Returns whether a batch can be stored like this: its messages are of one room.
pub(super) fn is_suitable(batch: &[Arc<NewMessage>]) -> bool {
    let [first, ..] = batch else { return false };
    batch.len() > 1 && batch.iter().all(|m| m.room_id == first.room_id)
}

/// Stores the messages, which are of one room. It does what a loop over single inserts does.
pub(super) fn insert(
    connection: &mut SqliteConnection,
    batch: &[Arc<NewMessage>],
) -> QueryResult<Vec<Placed>> {
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
        return Ok(Vec::new());
    };
    let room = rows::number(first.room_id.get());
    let size = i64::try_from(batch.len()).unwrap_or(i64::MAX);
    let Some(newest) = count(connection, room, size, last, first.rules)? else {
        return Ok(vec![Placed::RulesChanged; batch.len()]);
    };
    // After the commit it would be too late to refuse a counter that is not valid.
    rows::position(newest).map_err(invalid)?;
    let base = newest - size;
    let (mut names, mut pointers) = (BTreeMap::new(), BTreeMap::new());
    let mut messages = Vec::with_capacity(batch.len());
    let mut mentions = Vec::new();
    for (message, seq) in batch.iter().zip(base + 1..) {
        let author = &message.author;
        names.insert(author.id.as_str(), author.name.as_str());
        pointers.insert(author.id.as_str(), seq);
        let id = message.client_message_id.as_ref();
        messages.push(json!([
            author.id.as_str(),
            message.content.as_str(),
            id.map(ClientMessageId::as_str),
            message.created_at.to_string(),
            message.extras.as_deref().map(stored_extras::encode),
        ]));
        let mentioned = message.extras.iter().flat_map(|extras| &extras.mentions);
        mentions.extend(mentioned.map(|user_id| json!([user_id.as_str(), seq])));
    }
    diesel::sql_query(STORE_NAMES)
        .bind::<Text, _>(json!(names).to_string())
        .execute(connection)?;
    diesel::sql_query(STORE)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(base)
        .bind::<Text, _>(json!(messages).to_string())
        .execute(connection)?;
    let last_id = diesel::sql_query(LAST_ID).get_result::<NumberRow>(connection)?;
    if !mentions.is_empty() {
        diesel::sql_query(STORE_MENTIONS)
            .bind::<BigInt, _>(room)
            .bind::<Text, _>(json!(mentions).to_string())
            .execute(connection)?;
    }
    diesel::sql_query(MOVE_POINTERS)
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(json!(pointers).to_string())
        .execute(connection)?;
    // There is one writer: the ids follow each other.
    let first_id = last_id.value - size + 1;
    let places = (first_id..).zip(base + 1..).take(batch.len());
    let places = places.map(|(id, seq)| {
        let seq = rows::position(seq).map_err(invalid)?;
        Ok(Placed::Stored(MessageId::new(id), seq))
    });
    places.collect()
}

/// Takes the room's next numbers, if the room has the rules by which the messages were decided.
/// Returns the last of them.
fn count(
    connection: &mut SqliteConnection,
    room: i64,
    size: i64,
    last: &NewMessage,
    rules: RulesNumber,
) -> QueryResult<Option<i64>> {
    let active_at = last.created_at.to_string();
    let counted = diesel::sql_query(COUNT)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(size)
        .bind::<BigInt, _>(rows::number(rules.get()))
        .bind::<Text, _>(&active_at)
        .get_result::<NumberRow>(connection)
        .optional()?;
    // A room with rules has a row.
    if counted.is_some() || rules != RulesNumber::NONE {
        return Ok(counted.map(|row| row.value));
    }
    let created = diesel::sql_query(CREATE)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(size)
        .bind::<Text, _>(&active_at)
        .get_result::<NumberRow>(connection)
        .optional()?;
    Ok(created.map(|row| row.value))
}

fn invalid(error: chat_domain::StorageError) -> Error {
    Error::DeserializationError(Box::new(error))
}
