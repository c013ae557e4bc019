//! Records what has to be reported, in the transaction of the event. Each function writes nothing
//! if the process does not record events of its kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_domain::ports::{OutboxKind, OutboxKinds, RoomChange};
use chat_domain::{NewMessage, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::unread;
use crate::group_commit::{Mark, Placed};
use crate::sqlite::rows;
use crate::stored_rules;

/// Extends the room's last entry, if these messages follow its.
const EXTEND: &str = "UPDATE outbox_events SET last = ?3 \
     WHERE room_id = ?1 AND kind = 'message.created' AND parked_at IS NULL AND last = ?2 - 1 \
     AND id = (SELECT max(id) FROM outbox_events WHERE room_id = ?1)";

const NEXT_ID: &str = "UPDATE outbox_state SET last_id = last_id + 1 RETURNING last_id AS value";

const INSERT: &str = "INSERT INTO outbox_events \
     (room_id, id, user_id, first, last, kind, changed_by, recorded_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";

const DUE: &str = "INSERT INTO outbox_rooms (room_id, due_at) \
     VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) ON CONFLICT (room_id) DO NOTHING";

const LAST_REV: &str = "SELECT last_rev AS value FROM rooms WHERE id = ?";

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// An entry that is about to be recorded.
#[derive(Clone, Copy)]
struct Entry<'a> {
    room: i64,
    kind: OutboxKind,
    user_id: &'a str,
    first: i64,
    last: i64,
    by: Option<&'a UserId>,
}

impl<'a> Entry<'a> {
    fn new(room: i64, kind: OutboxKind) -> Self {
        Self {
            room,
            kind,
            user_id: "",
            first: 0,
            last: 0,
            by: None,
        }
    }

    fn insert(self, connection: &mut SqliteConnection) -> QueryResult<()> {
        let id = next_id(connection)?;
        diesel::sql_query(INSERT)
            .bind::<BigInt, _>(self.room)
            .bind::<BigInt, _>(id)
            .bind::<Text, _>(self.user_id)
            .bind::<BigInt, _>(self.first)
            .bind::<BigInt, _>(self.last)
            .bind::<Text, _>(self.kind.as_str())
            .bind::<Nullable<Text>, _>(self.by.map(UserId::as_str))
            .execute(connection)?;
        let due = diesel::sql_query(DUE).bind::<BigInt, _>(self.room);
        due.execute(connection).map(drop)
    }
}

/// Returns the number of the next record.
pub(super) fn next_id(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let id = diesel::sql_query(NEXT_ID).get_result::<NumberRow>(connection)?;
    Ok(id.value)
}

/// Records a batch of messages, each at its place.
pub(in crate::sqlite) fn messages(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    batch: &[Arc<NewMessage>],
    places: &[Placed],
) -> QueryResult<()> {
    let is_reported = kinds.contains(OutboxKind::MessageCreated);
    let is_awaited = kinds.contains(OutboxKind::MessagesUnread);
    if !is_reported && !is_awaited {
        return Ok(());
    }
    // One writer numbers a room's messages: those of a batch are consecutive.
    let mut ranges: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (message, place) in batch.iter().zip(places) {
        if let Placed::Stored(_, seq) = place {
            let seq = rows::number(seq.get());
            let room = rows::number(message.room_id.get());
            let (first, last) = ranges.entry(room).or_insert((seq, seq));
            (*first, *last) = ((*first).min(seq), (*last).max(seq));
            if is_awaited {
                // An author has read the own message.
                unread::raise_floor(connection, room, message.author.id.as_str(), seq)?;
            }
        }
    }
    for (room, (first, last)) in ranges {
        if is_awaited {
            unread::wait(connection, room, first, last)?;
        }
        if !is_reported {
            continue;
        }
        let extended = diesel::sql_query(EXTEND)
            .bind::<BigInt, _>(room)
            .bind::<BigInt, _>(first)
            .bind::<BigInt, _>(last)
            .execute(connection)?;
        if extended == 0 {
            let entry = Entry::new(room, OutboxKind::MessageCreated);
            Entry {
                first,
                last,
                ..entry
            }
            .insert(connection)?;
        }
    }
    Ok(())
}

/// Notes that a read pointer has moved to this position.
pub(in crate::sqlite) fn read(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    mark: &Mark,
    position: i64,
) -> QueryResult<()> {
    if !kinds.contains(OutboxKind::MessagesUnread) {
        return Ok(());
    }
    let room = rows::number(mark.room_id.get());
    unread::raise_floor(connection, room, mark.user_id.as_str(), position)
}

/// Records the change of a message that has just taken its number.
pub(in crate::sqlite) fn message_change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
) -> QueryResult<()> {
    if !kinds.contains(OutboxKind::MessageChanged) {
        return Ok(());
    }
    let rev = diesel::sql_query(LAST_REV).bind::<BigInt, _>(room);
    let rev = rev.get_result::<NumberRow>(connection)?.value;
    let entry = Entry::new(room, OutboxKind::MessageChanged);
    Entry {
        first: rev,
        last: rev,
        ..entry
    }
    .insert(connection)
}

/// Records a change of a room's rules.
pub(in crate::sqlite) fn room_change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
    change: &RoomChange,
    by: Option<&UserId>,
) -> QueryResult<()> {
    match stored_rules::subject(change) {
        Some(user_id) => member_change(connection, kinds, room, user_id.as_str(), by),
        None if kinds.contains(OutboxKind::RoomChanged) => {
            Entry::new(room, OutboxKind::RoomChanged).insert(connection)
        }
        None => Ok(()),
    }
}

/// Records that the product has set a member.
pub(in crate::sqlite) fn set_member(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
    user_id: &str,
) -> QueryResult<()> {
    member_change(connection, kinds, room, user_id, None)
}

fn member_change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
    user_id: &str,
    by: Option<&UserId>,
) -> QueryResult<()> {
    if !kinds.contains(OutboxKind::MemberChanged) {
        return Ok(());
    }
    let entry = Entry::new(room, OutboxKind::MemberChanged);
    Entry {
        user_id,
        by,
        ..entry
    }
    .insert(connection)
}

/// Records that a room was closed.
pub(in crate::sqlite) fn deletion(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
) -> QueryResult<()> {
    match kinds.of_deletion() {
        Some(kind) => Entry::new(room, kind).insert(connection),
        None => Ok(()),
    }
}
