//! The database's own view: what is stored at the end.

use tokio::task::block_in_place;

use crate::record::{Message, Pointer, State, original};
use crate::support::Database;

/// Contents in the form of `record::compact`.
const COMPACT: &str = "rtrim(content, '🦀') || '+' || \
                       (length(content) - length(rtrim(content, '🦀')))";

/// Returns each room's counter.
pub(super) fn counters(database: &Database) -> Vec<(u64, u64)> {
    select(
        database,
        "SELECT id, last_seq FROM rooms ORDER BY id",
        |[room, newest]| (number(room), number(newest)),
    )
}

/// Returns the read pointers.
pub(super) fn pointers(database: &Database) -> Vec<Pointer> {
    let sql = "SELECT room_id, user_id, seq FROM read_pointers";
    select(database, sql, |[room, user, seq]| Pointer {
        room: number(room),
        user: user.to_owned(),
        seq: number(seq),
    })
}

/// Returns each room, and the number of its newest change.
pub(super) fn newest_changes(database: &Database) -> Vec<(u64, u64)> {
    let sql = "SELECT id, last_rev FROM rooms";
    select(database, sql, |[room, newest]| {
        (number(room), number(newest))
    })
}

/// Returns the state of each message of a room.
pub(super) fn states(database: &Database, room: u64) -> Vec<(u64, u64, State)> {
    let is = |column: &str| format!("CASE WHEN {column} IS NULL THEN 0 ELSE 1 END");
    let sql = format!(
        "SELECT seq, coalesce(rev, 0), {COMPACT}, coalesce(CAST(reactions AS text), '[]'), {}, {} \
         FROM messages LEFT JOIN message_changes USING (room_id, seq) WHERE room_id = {room}",
        is("edited_at"),
        is("deleted_at"),
    );
    select(
        database,
        &sql,
        |[seq, rev, content, reactions, is_edited, is_deleted]| {
            let reactions: Vec<(String, u64)> = serde_json::from_str(reactions).expect("reactions");
            let (is_edited, is_deleted) = (is_edited == "1", is_deleted == "1");
            let state = State::new(number(rev), content, &reactions, is_edited, is_deleted);
            (room, number(seq), state)
        },
    )
}

/// Returns the messages with their authors' names, and the contents that they were stored with.
pub(super) fn rows(database: &Database, length: usize) -> Vec<Message> {
    let created_at = match database {
        Database::Sqlite(_) => "created_at",
        Database::Postgres(_) => {
            "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        }
    };
    let sql = format!(
        "SELECT messages.id, room_id, seq, user_id, name, client_message_id, {COMPACT}, \
         {created_at} FROM messages LEFT JOIN users ON users.id = user_id ORDER BY room_id, seq"
    );
    select(
        database,
        &sql,
        |[
            id,
            room,
            seq,
            user,
            name,
            client_message_id,
            content,
            created_at,
        ]| Message {
            id: number(id),
            room: number(room),
            seq: number(seq),
            user: user.to_owned(),
            name: name.to_owned(),
            client_message_id: (!client_message_id.is_empty())
                .then(|| client_message_id.to_owned()),
            content: original(
                content,
                Some(client_message_id).filter(|id| !id.is_empty()),
                length,
            ),
            created_at: created_at.to_owned(),
        },
    )
}

pub(super) fn select<const N: usize, T>(
    database: &Database,
    sql: &str,
    mut row: impl FnMut([&str; N]) -> T,
) -> Vec<T> {
    let rows = block_in_place(|| database.sql(sql));
    rows.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('|').collect();
            let columns = columns.try_into();
            row(columns.unwrap_or_else(|_| panic!("an unexpected row: {line}")))
        })
        .collect()
}

pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap()
}
