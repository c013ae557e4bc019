//! Which rooms have new messages, by the ids of the messages; which rooms' rules or stored messages
//! have changed, and which members, by the numbers in the tables `rules_changes` and `member_changes`.
//!
//! SQLite has one writer at a time, and an id is assigned while it writes: what is committed
//! later has larger ids. An id is never assigned again, because the tables have AUTOINCREMENT,
//! which notes the largest one in `sqlite_sequence`.

use chat_domain::ports::{Changes, LogCursor, MemberChange};
use chat_domain::{StorageError, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::rows;
use crate::stored_rules::member_part;

/// How many rows of `member_changes` are kept; see the migration `0011_member_changes`.
const KEPT_MEMBER_CHANGES: i64 = 50_000;

/// A room that has moved, or a member that has changed, besides the largest id and numbers;
/// only these without any.
#[derive(QueryableByName)]
struct ChangeRow {
    #[diesel(sql_type = BigInt)]
    largest_id: i64,
    #[diesel(sql_type = BigInt)]
    largest_number: i64,
    #[diesel(sql_type = BigInt)]
    largest_member: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    room_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    user_id: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rules: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rev: Option<i64>,
    #[diesel(sql_type = Nullable<Bool>)]
    is_membership: Option<bool>,
    #[diesel(sql_type = Nullable<BigInt>)]
    generation: Option<i64>,
}

/// One statement, so that all is read in one state of the database.
const CHANGES: &str = "WITH sequence AS (\
     SELECT coalesce(max(seq) FILTER (WHERE name = 'messages'), 0) AS largest_id, \
     coalesce(max(seq) FILTER (WHERE name = 'rules_changes'), 0) AS largest_number, \
     coalesce(max(seq) FILTER (WHERE name = 'member_changes'), 0) AS largest_member \
     FROM sqlite_sequence), \
     change AS (\
     SELECT room_id, NULL AS user_id, seq, 0 AS rules, 0 AS rev, NULL AS generation, \
     0 AS is_membership \
     FROM messages WHERE id > ? UNION ALL \
     SELECT rooms.id, NULL, last_seq, rules, last_rev, generation, 0 \
     FROM rules_changes CROSS JOIN rooms ON rooms.id = room_id WHERE number > ? UNION ALL \
     SELECT room_id, user_id, 0, 0, 0, NULL, is_membership FROM member_changes WHERE number > ?) \
     SELECT largest_id, largest_number, largest_member, room_id, user_id, max(seq) AS seq, \
     max(rules) AS rules, max(rev) AS rev, max(is_membership) AS is_membership, max(generation) AS generation \
     FROM sequence LEFT JOIN change \
     GROUP BY room_id, user_id";

/// The largest id of a message, and the largest numbers of a change of rules and of a member.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    id: i64,
    rules: i64,
    member: i64,
}

pub(super) fn since(
    connection: &mut SqliteConnection,
    cursor: Option<&LogCursor>,
) -> Result<Changes, StorageError> {
    let after = cursor.and_then(parse);
    let bounds = after.unwrap_or(Numbers {
        id: i64::MAX,
        rules: i64::MAX,
        member: i64::MAX,
    });
    let found = diesel::sql_query(CHANGES)
        .bind::<BigInt, _>(bounds.id)
        .bind::<BigInt, _>(bounds.rules)
        .bind::<BigInt, _>(bounds.member)
        .load::<ChangeRow>(connection)
        .map_err(StorageError::unavailable)?;
    let largest = found.first().map_or((0, 0, 0), |row| {
        (row.largest_id, row.largest_number, row.largest_member)
    });
    let (id, rules, member) = largest;
    // A smaller one than before is another database, for example a restored one.
    let is_known = after.is_some_and(|after| {
        after.id <= id
            && after.rules <= rules
            && (member - KEPT_MEMBER_CHANGES..=member).contains(&after.member)
    });
    let (mut rooms, mut members) = (Vec::new(), Vec::new());
    for row in found.into_iter().filter(|_| is_known) {
        let Some(room_id) = row.room_id else { continue };
        // A room or a user that is not valid has no connections.
        match row.user_id {
            Some(user_id) => {
                let valid = rows::room(room_id).ok().zip(UserId::new(user_id).ok());
                members.extend(valid.map(|(room_id, user_id)| MemberChange {
                    room_id,
                    user_id,
                    part: member_part(row.is_membership == Some(true)),
                }));
            }
            None => {
                let columns = row.seq.zip(row.rules).zip(row.rev);
                let position =
                    columns.map(|((seq, rules), rev)| (room_id, seq, rules, rev, row.generation));
                rooms.extend(position.and_then(|row| rows::room_position(row).ok()));
            }
        }
    }
    Ok(Changes {
        rooms: is_known.then_some(rooms),
        members,
        cursor: LogCursor::new(format!("{id}:{rules}:{member}")),
    })
}

/// Returns the numbers of which a cursor consists.
fn parse(cursor: &LogCursor) -> Option<Numbers> {
    let mut numbers = cursor.as_str().split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (id, rules, member) = (next()?, next()?, next()?);
    Some(Numbers { id, rules, member })
}
