//! Which rooms have new messages, by the ids of the messages.
//!
//! SQLite has one writer at a time, and an id is assigned while it writes: what is committed
//! later has larger ids. An id is never assigned again, because the table has AUTOINCREMENT,
//! which notes the largest one in `sqlite_sequence`.

use chat_domain::StorageError;
use chat_domain::ports::{Changes, LogCursor};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::rows;

/// A room with new messages, besides the largest id; only the id without any.
#[derive(QueryableByName)]
struct ChangeRow {
    #[diesel(sql_type = BigInt)]
    largest_id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    room_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
}

/// One statement, so that both are read in one state of the database.
const CHANGES: &str = "WITH sequence AS (\
     SELECT coalesce(max(seq), 0) AS largest_id FROM sqlite_sequence WHERE name = 'messages') \
     SELECT largest_id, room_id, max(seq) AS seq \
     FROM sequence LEFT JOIN messages ON id > ? \
     GROUP BY room_id";

pub(super) fn since(
    connection: &mut SqliteConnection,
    cursor: Option<&LogCursor>,
) -> Result<Changes, StorageError> {
    let after = cursor.and_then(|cursor| cursor.as_str().parse::<i64>().ok());
    let found = diesel::sql_query(CHANGES)
        .bind::<BigInt, _>(after.unwrap_or(i64::MAX))
        .load::<ChangeRow>(connection)
        .map_err(StorageError::unavailable)?;
    let largest_id = found.as_slice().first().map_or(0, |row| row.largest_id);
    // A smaller id than before is another database, for example a restored one.
    let is_known = after.is_some_and(|after| after <= largest_id);
    let changes = found
        .into_iter()
        // A room that is not valid has no members.
        .filter_map(|row| {
            Some((
                rows::room(row.room_id?).ok()?,
                rows::position(row.seq?).ok()?,
            ))
        });
    Ok(Changes {
        rooms: is_known.then(|| changes.collect()),
        cursor: LogCursor::new(largest_id.to_string()),
    })
}
