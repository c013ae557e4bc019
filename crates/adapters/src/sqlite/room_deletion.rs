//! Deletes rooms, on SQLite.
//!
//! A closure and a batch are each a transaction of the one task that writes. A batch does what the
//! function `delete_closed_batch` does on PostgreSQL.

mod reactions;

use async_trait::async_trait;
use chat_domain::ports::{Closing, DeletedBatch, RoomDeletion};
use chat_domain::{Generation, RoomId, StorageError};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{Database, outbox, rows};
use crate::stored_rules;

/// What is deleted after the messages. Each has the columns `room_id` and `user_id`.
const TABLES: [&str; 5] = [
    "read_pointers",
    "members",
    "bans",
    "mutes",
    "slow_mode_turns",
];

/// The steps after those of the tables.
const CHANGES: i64 = TABLES.len() as i64 + 1;
const REACTIONS: i64 = CHANGES + 1;

const ROOM: &str = "SELECT rules, generation, last_seq > 0 \
     OR EXISTS (SELECT 1 FROM room_settings WHERE room_id = rooms.id) AS is_there \
     FROM rooms WHERE id = ?";

const CLOSE: &str = "UPDATE rooms SET rules = rules + 1, generation = rules + 2 WHERE id = ?";

const NOTE_CLOSED: &str = "INSERT INTO closed_rooms (room_id, closed_at) \
     VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";

/// What was decided before a room was closed has ended when it is due.
const NEXT_DUE: &str = "SELECT room_id, step, seq, key, user_id FROM closed_rooms \
     WHERE closed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-2 seconds') \
     ORDER BY closed_at, room_id LIMIT 1";

const NOTE_PROGRESS: &str =
    "UPDATE closed_rooms SET step = ?2, seq = ?3, key = ?4, user_id = ?5 WHERE room_id = ?1";

/// In the order of their parameter, the room: the settings, the row of the next generation, and
/// that the room is not closed any more.
const FINISH: [&str; 3] = [
    "DELETE FROM room_settings WHERE room_id = ?",
    "UPDATE rooms SET last_seq = 0, last_rev = 0, rules = generation WHERE id = ?",
    "DELETE FROM closed_rooms WHERE room_id = ?",
];

const CLOSED_ROOMS: &str = "SELECT count(*) AS value FROM closed_rooms";

#[derive(QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = BigInt)]
    is_there: i64,
}

/// A room that is being deleted, and how far.
#[derive(QueryableByName)]
struct ClosedRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = BigInt)]
    step: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    user_id: String,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    value: Option<i64>,
}

#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

#[async_trait]
impl RoomDeletion for Database {
    async fn close(&self, room_id: RoomId) -> Result<Closing, StorageError> {
        let room = rows::number(room_id.get());
        let kinds = self.recorded();
        let closed = self.write(move |connection| {
            let closing = close(connection, room)?;
            if let Closing::Closed(_) = closing {
                outbox::record::deletion(connection, kinds, room)?;
            }
            Ok(closing)
        });
        closed.await
    }

    async fn delete_batch(&self, size: usize) -> Result<Option<DeletedBatch>, StorageError> {
        // Looking for work must not wait for the writer.
        let due = self.pool.read(|connection| {
            let due = next_due(connection);
            due.map_err(StorageError::unavailable)
        });
        if due.await?.is_none() {
            return Ok(None);
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let batch = self.write(move |connection| delete_batch(connection, size));
        let batch = batch.await?.map(|batch| {
            Ok(DeletedBatch {
                room_id: rows::room(batch.room)?,
                rows: stored_rules::count(batch.rows)?,
                is_first: batch.is_first,
                is_last: batch.is_last,
            })
        });
        batch.transpose()
    }

    async fn closed_rooms(&self) -> Result<u64, StorageError> {
        let read = self.pool.read(|connection| {
            let read = diesel::sql_query(CLOSED_ROOMS).get_result::<NumberRow>(connection);
            read.map_err(StorageError::unavailable)
        });
        stored_rules::count(read.await?.value.unwrap_or_default())
    }
}

/// Closes a room. The transaction holds the write lock.
fn close(connection: &mut SqliteConnection, room: i64) -> QueryResult<Closing> {
    let found = diesel::sql_query(ROOM).bind::<BigInt, _>(room);
    let Some(found) = found.get_result::<RoomRow>(connection).optional()? else {
        return Ok(Closing::NotFound);
    };
    if found.generation > found.rules {
        return Ok(Closing::AlreadyClosed(rows::generation(found.generation)));
    }
    // What remains of a deleted room is its row alone.
    if found.is_there == 0 {
        return Ok(Closing::NotFound);
    }
    for statement in [CLOSE, NOTE_CLOSED] {
        diesel::sql_query(statement)
            .bind::<BigInt, _>(room)
            .execute(connection)?;
    }
    let generation = Generation::new(found.rules.unsigned_abs() + 2);
    Ok(Closing::Closed(generation))
}

fn next_due(connection: &mut SqliteConnection) -> QueryResult<Option<ClosedRow>> {
    let next = diesel::sql_query(NEXT_DUE).get_result(connection);
    next.optional()
}

/// What a batch has deleted.
struct Batch {
    room: i64,
    rows: i64,
    is_first: bool,
    is_last: bool,
}

/// Deletes at most so many rows of the room that is due. The transaction holds the write lock.
fn delete_batch(connection: &mut SqliteConnection, size: i64) -> QueryResult<Option<Batch>> {
    let Some(mut closed) = next_due(connection)? else {
        return Ok(None);
    };
    let is_first = closed.step == 0 && closed.seq == 0;
    let mut deleted = 0;
    while deleted < size && closed.step <= REACTIONS {
        let size = size - deleted;
        let table = usize::try_from(closed.step - 1);
        let table = table.ok().and_then(|at| TABLES.get(at));
        deleted += match table {
            Some(table) => delete_rows(connection, &mut closed, table, size)?,
            None if closed.step == CHANGES => {
                delete_range(connection, &mut closed, "message_changes", size)?
            }
            None if closed.step == REACTIONS => reactions::delete(connection, &mut closed, size)?,
            None => delete_range(connection, &mut closed, "messages", size)?,
        };
    }
    let is_last = closed.step > REACTIONS;
    if is_last {
        for statement in FINISH {
            diesel::sql_query(statement)
                .bind::<BigInt, _>(closed.room_id)
                .execute(connection)?;
        }
    } else {
        diesel::sql_query(NOTE_PROGRESS)
            .bind::<BigInt, _>(closed.room_id)
            .bind::<BigInt, _>(closed.step)
            .bind::<BigInt, _>(closed.seq)
            .bind::<Text, _>(&closed.key)
            .bind::<Text, _>(&closed.user_id)
            .execute(connection)?;
    }
    Ok(Some(Batch {
        room: closed.room_id,
        rows: deleted,
        is_first,
        is_last,
    }))
}

/// Deletes rows of a table that has at most one for each position.
fn delete_range(
    connection: &mut SqliteConnection,
    closed: &mut ClosedRow,
    table: &str,
    size: i64,
) -> QueryResult<i64> {
    let end = closed.seq + size;
    let delete = format!("DELETE FROM {table} WHERE room_id = ? AND seq > ? AND seq <= ?");
    let deleted = diesel::sql_query(delete)
        .bind::<BigInt, _>(closed.room_id)
        .bind::<BigInt, _>(closed.seq)
        .bind::<BigInt, _>(end)
        .execute(connection)?;
    let next = format!("SELECT min(seq) AS value FROM {table} WHERE room_id = ? AND seq > ?");
    let next = diesel::sql_query(next)
        .bind::<BigInt, _>(closed.room_id)
        .bind::<BigInt, _>(end)
        .get_result::<NumberRow>(connection)?;
    match next.value {
        Some(next) => closed.seq = next - 1,
        None => {
            closed.seq = 0;
            closed.step += 1;
        }
    }
    Ok(count(deleted))
}

/// Deletes rows of a table that has one for each of some users.
fn delete_rows(
    connection: &mut SqliteConnection,
    closed: &mut ClosedRow,
    table: &str,
    size: i64,
) -> QueryResult<i64> {
    let last = diesel::sql_query(format!(
        "SELECT max(user_id) AS value FROM (SELECT user_id FROM {table} \
         WHERE room_id = ? AND user_id > ? ORDER BY user_id LIMIT ?)"
    ))
    .bind::<BigInt, _>(closed.room_id)
    .bind::<Text, _>(&closed.user_id)
    .bind::<BigInt, _>(size)
    .get_result::<UserRow>(connection)?;
    let last = last.value.unwrap_or_default();
    let deleted = diesel::sql_query(format!(
        "DELETE FROM {table} WHERE room_id = ? AND user_id > ? AND user_id <= ?"
    ))
    .bind::<BigInt, _>(closed.room_id)
    .bind::<Text, _>(&closed.user_id)
    .bind::<Text, _>(&last)
    .execute(connection)?;
    closed.user_id = last;
    if count(deleted) < size {
        closed.step += 1;
        closed.user_id.clear();
        // Also if the previous version left it where the messages ended.
        closed.seq = 0;
    }
    Ok(count(deleted))
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
