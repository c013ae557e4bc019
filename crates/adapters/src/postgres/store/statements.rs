//! The statements that store batches, and their parameters.
//!
//! Each is prepared once for each session. A thousand messages cost the server 25 ms of
//! CPU; with foreign keys from messages and pointers to rooms and users they cost 35,
//! which is why there are none. An index for the ids of messages costs 1.5 of 10 in large
//! batches, and no statement here would use it.
//!
//! Their plans (PostgreSQL 15; 512 messages in 64 rooms by 64 users, 181,000 messages
//! stored before):
//!
//! ```text
//! Insert on rooms room (actual rows=64 loops=1)
//!   Conflict Arbiter Indexes: rooms_pkey
//!   ->  Result (actual rows=64 loops=1)
//!         One-Time Filter: (current_setting('lock_timeout'::text) <> '0'::text)
//!         ->  Function Scan on batch (actual rows=64 loops=1)
//!
//! Insert on messages (actual rows=512 loops=1)
//!   CTE author
//!     ->  Insert on users (actual rows=0 loops=1)
//!           Conflict Arbiter Indexes: users_pkey
//!           ->  Function Scan on batch (actual rows=0 loops=1)
//!                 Filter: ((SubPlan 1) IS DISTINCT FROM name)
//!                 Rows Removed by Filter: 64
//!                 SubPlan 1
//!                   ->  Index Scan using users_pkey on users known (actual rows=1 loops=64)
//!   CTE pointer
//!     ->  Insert on read_pointers (actual rows=0 loops=1)
//!           Conflict Arbiter Indexes: read_pointers_pkey
//!           ->  Function Scan on unnest_1 (actual rows=64 loops=1)
//!   ->  Function Scan on unnest (actual rows=512 loops=1)
//!
//! Nested Loop Left Join (actual rows=512 loops=1)
//!   ->  Nested Loop (actual rows=512 loops=1)
//!         ->  Function Scan on batch (actual rows=512 loops=1)
//!         ->  Index Scan using messages_client_message_id on messages message
//!   ->  Index Scan using users_pkey on users author (actual rows=1 loops=512)
//!
//! Hash Left Join (actual rows=512 loops=1)
//!   CTE mark
//!     ->  Nested Loop Left Join (actual rows=512 loops=1)
//!           ->  Nested Loop (actual rows=512 loops=1)
//!                 ->  Function Scan on batch (actual rows=512 loops=1)
//!                 ->  Index Scan using rooms_pkey on rooms room
//!           ->  Index Scan using read_pointers_pkey on read_pointers pointer
//!   CTE moved
//!     ->  Insert on read_pointers pointer_1 (actual rows=512 loops=1)
//!           Conflict Arbiter Indexes: read_pointers_pkey
//!           ->  Sort (actual rows=512 loops=1)
//!                 ->  CTE Scan on mark mark_1 (actual rows=512 loops=1)
//!   ->  CTE Scan on mark (actual rows=512 loops=1)
//!   ->  Hash (actual rows=512 loops=1)
//!         ->  CTE Scan on moved (actual rows=512 loops=1)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chat_domain::{ClientMessageId, NewMessage, Timestamp};

use crate::postgres::rows;

/// The level is set whatever the database's default is: the counters' locks determine the
/// order, and a stricter level would refuse instead of wait.
pub(super) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'";
pub(super) const BEGIN_PATIENTLY: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '4s'";
/// For several read pointers. It is short, because appends wait for pointers that are
/// locked already.
pub(super) const BEGIN_MARKS: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '100ms'";
pub(super) const BEGIN_PROBE: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5ms'";

/// Moves the rooms' counters. The condition is true only after `BEGIN`, because a session's
/// own lock_timeout is 0: if `BEGIN` has failed, no numbers are taken that no message has.
pub(super) const COUNT: &str = "INSERT INTO rooms AS room (id, last_seq) \
     SELECT id, messages FROM unnest($1::bigint[], $2::bigint[]) AS batch (id, messages) \
     WHERE current_setting('lock_timeout') <> '0' \
     ON CONFLICT (id) DO UPDATE SET last_seq = room.last_seq + excluded.last_seq \
     RETURNING id, last_seq";

/// Stores the messages under the numbers that were taken. A name that is already stored is
/// neither written nor locked. The division fails if a trigger has suppressed a message,
/// because its number would be a gap.
pub(super) const INSERT: &str = "WITH author AS (\
     INSERT INTO users (id, name) \
     SELECT id, name FROM unnest($1::text[], $2::text[]) AS batch (id, name) \
     WHERE (SELECT known.name FROM users AS known WHERE known.id = batch.id) \
     IS DISTINCT FROM batch.name \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name), \
     pointer AS (\
     INSERT INTO read_pointers (room_id, user_id, seq) \
     SELECT * FROM unnest($3::bigint[], $4::text[], $5::bigint[]) \
     ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq), \
     stored AS (\
     INSERT INTO messages (room_id, seq, user_id, content, client_message_id, created_at) \
     SELECT * FROM unnest($6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[], \
     $11::timestamptz[]) \
     RETURNING id, room_id, seq) \
     SELECT id, room_id, seq FROM stored \
     WHERE 1 / ((SELECT count(*) FROM stored) = $12::bigint)::integer = 1";

/// Moves read pointers forward, at most to the room's newest position: `place, newest,
/// read, moved, overtaken`. A pointer that is already as far is neither written nor locked.
/// One that another transaction has moved as far since the statement began is `overtaken`.
/// Rooms without messages are omitted.
pub(super) const MARK: &str = "WITH mark AS (\
     SELECT place, batch.room_id, batch.user_id, room.last_seq AS newest, \
     least(batch.seq, room.last_seq) AS target, coalesce(pointer.seq, 0) AS read \
     FROM unnest($1::bigint[], $2::text[], $3::bigint[]) WITH ORDINALITY \
     AS batch (room_id, user_id, seq, place) \
     JOIN rooms AS room ON room.id = batch.room_id \
     LEFT JOIN read_pointers AS pointer \
     ON pointer.room_id = batch.room_id AND pointer.user_id = batch.user_id), \
     moved AS (\
     INSERT INTO read_pointers AS pointer (room_id, user_id, seq) \
     SELECT room_id, user_id, target FROM mark WHERE target > read ORDER BY place \
     ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq \
     WHERE pointer.seq < excluded.seq \
     RETURNING room_id, user_id, seq) \
     SELECT place, newest, coalesce(moved.seq, read), moved.seq IS NOT NULL, \
     moved.seq IS NULL AND target > read \
     FROM mark LEFT JOIN moved USING (room_id, user_id)";

/// Finds the stored messages with these ids, each by the index of the unique key.
pub(super) const ORIGINALS: &str = "SELECT message.id, room_id, seq, user_id, author.name, content, \
     client_message_id, created_at \
     FROM unnest($1::bigint[], $2::text[], $3::text[]) \
     AS batch (room_id, user_id, client_message_id) \
     JOIN messages AS message USING (room_id, user_id, client_message_id) \
     LEFT JOIN users AS author ON author.id = message.user_id";

/// Find the rooms that exist, and those of them that no other transaction has locked.
pub(super) const FIND: &str = "SELECT id FROM rooms WHERE id = ANY ($1::bigint[])";
pub(super) const FIND_FREE: &str = "SELECT id FROM rooms WHERE id = ANY ($1::bigint[]) \
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED";
/// Waits for the transaction that is creating the room, if there is one.
pub(super) const TRY_NEW: &str =
    "INSERT INTO rooms (id, last_seq) VALUES ($1::bigint, 1) ON CONFLICT (id) DO NOTHING";

/// A batch, column by column, as [`INSERT`] takes it.
pub(super) struct Columns<'a> {
    pub(super) users: Vec<&'a str>,
    pub(super) names: Vec<&'a str>,
    pub(super) pointer_rooms: Vec<i64>,
    pub(super) pointer_users: Vec<&'a str>,
    pub(super) pointers: Vec<i64>,
    pub(super) rooms: Vec<i64>,
    pub(super) authors: Vec<&'a str>,
    pub(super) contents: Vec<&'a str>,
    pub(super) client_message_ids: Vec<Option<&'a str>>,
    pub(super) times: Vec<SystemTime>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(batch: &'a [Arc<NewMessage>], seqs: &[i64]) -> Self {
        let rooms: Vec<_> = batch
            .iter()
            .map(|m| rows::number(m.room_id.get()))
            .collect();
        let authors: Vec<_> = batch.iter().map(|m| m.author.id.as_str()).collect();
        // Each once, with the latest name, in the order in which every node locks them.
        let names: BTreeMap<_, _> = batch
            .iter()
            .map(|m| (m.author.id.as_str(), m.author.name.as_str()))
            .collect();
        let pointers: BTreeMap<_, _> = rooms.iter().zip(&authors).zip(seqs).collect();
        let ids = batch.iter().map(|m| m.client_message_id.as_ref());
        Self {
            users: names.keys().copied().collect(),
            names: names.values().copied().collect(),
            pointer_rooms: pointers.keys().map(|(room_id, _)| **room_id).collect(),
            pointer_users: pointers.keys().map(|(_, user_id)| **user_id).collect(),
            pointers: pointers.values().map(|seq| **seq).collect(),
            contents: batch.iter().map(|m| m.content.as_str()).collect(),
            client_message_ids: ids.map(|id| id.map(ClientMessageId::as_str)).collect(),
            times: batch.iter().map(|m| time(m.created_at)).collect(),
            rooms,
            authors,
        }
    }
}

fn time(at: Timestamp) -> SystemTime {
    let millis = Duration::from_millis(at.unix_millis().unsigned_abs());
    match at.unix_millis() < 0 {
        true => SystemTime::UNIX_EPOCH - millis,
        false => SystemTime::UNIX_EPOCH + millis,
    }
}
