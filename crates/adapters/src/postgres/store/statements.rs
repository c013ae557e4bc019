//! The statements that store batches, and their parameters.
//!
//! Each is prepared once for each session. A thousand messages cost the server 25 ms of
//! CPU; with foreign keys from messages and pointers to rooms and users they cost 35,
//! which is why there are none. An index for the ids of messages costs 1.5 of 10 in large
//! batches, and no statement here would use it.
//!
//! Their plans (PostgreSQL 15; 512 messages in 64 rooms by 64 users, 180,000 messages
//! stored before):
//!
//! ```text
//! append_messages:
//! Aggregate (actual rows=1 loops=1)
//!   CTE free
//!     ->  LockRows (actual rows=64 loops=1)
//!           ->  Sort (actual rows=64 loops=1)
//!                 ->  Bitmap Heap Scan on rooms (actual rows=64 loops=1)
//!                       ->  Bitmap Index Scan on rooms_pkey (actual rows=64 loops=1)
//!   CTE counted
//!     ->  Insert on rooms room (actual rows=64 loops=1)
//!           Conflict Arbiter Indexes: rooms_pkey
//!           Conflict Filter: (room.rules = excluded.rules)
//!           ->  Hash Join (actual rows=64 loops=1)
//!                 ->  CTE Scan on free (actual rows=64 loops=1)
//!                 ->  Hash (actual rows=64 loops=1)
//!                       ->  Function Scan on batch (actual rows=64 loops=1)
//!   ->  Hash Left Join (actual rows=64 loops=1)
//!         ->  Function Scan on batch (actual rows=64 loops=1)
//!         ->  Hash (actual rows=64 loops=1)
//!               ->  CTE Scan on counted (actual rows=64 loops=1)
//!
//! Insert on messages (actual rows=512 loops=1)
//!   CTE change
//!     ->  Insert on room_changes (actual rows=0 loops=1)
//!           ->  Result (actual rows=1 loops=1)
//!   CTE pointer
//!     ->  Insert on read_pointers (actual rows=0 loops=1)
//!           Conflict Arbiter Indexes: read_pointers_pkey
//!           ->  Function Scan on batch (actual rows=64 loops=1)
//!   ->  Function Scan on batch (actual rows=512 loops=1)
//!
//! ORIGINALS, and MARK:
//! Nested Loop Left Join (actual rows=512 loops=1)
//!   ->  Nested Loop (actual rows=512 loops=1)
//!         ->  Function Scan on batch (actual rows=512 loops=1)
//!         ->  Index Scan using messages_client_message_id on messages message
//!               SubPlan 1
//!                 ->  Index Scan using rooms_pkey on rooms room (loops: the messages found)
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

/// Stores a batch; see the function in the migrations.
pub(super) const APPEND: &str = "SELECT first_id, bases FROM append_messages(\
     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// Stores a batch in which any message carries something besides its text. On its own, so that
/// other batches cost nothing more: with three more parameters, one message cost the server a tenth
/// more processor time. An empty batch needs its privileges, which include those of the other.
pub(super) const APPEND_WITH_EXTRAS: &str = "SELECT first_id, bases FROM append_messages(\
     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

/// For a read pointer.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '1s'";
/// For several read pointers. It is short, because appends wait for pointers that are
/// locked already.
pub(super) const BEGIN_MARKS: &str = "BEGIN; SET LOCAL lock_timeout = '100ms'";

/// Moves read pointers forward, at most to the room's newest position: `place, newest,
/// read, moved, overtaken, is_current`. A pointer that is already as far is neither written nor locked.
/// One that another transaction has moved as far since the statement began is `overtaken`.
/// Rooms without messages are omitted. In a room of another generation, which is not `is_current`,
/// nothing is moved. One row of `room_changes` notes the users whose pointers have moved, with and
/// without membership: one that begins at this moment is not visible here.
pub(super) const MARK: &str = "WITH mark AS (\
     SELECT place, batch.room_id, batch.user_id, room.last_seq AS newest, \
     least(batch.seq, room.last_seq) AS target, coalesce(pointer.seq, 0) AS read, \
     room.generation = batch.generation AS is_current \
     FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY \
     AS batch (room_id, user_id, seq, generation, place) \
     JOIN rooms AS room ON room.id = batch.room_id \
     LEFT JOIN read_pointers AS pointer \
     ON pointer.room_id = batch.room_id AND pointer.user_id = batch.user_id), \
     moved AS (\
     INSERT INTO read_pointers AS pointer (room_id, user_id, seq) \
     SELECT room_id, user_id, target FROM mark WHERE is_current AND target > read \
     ORDER BY place \
     ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq \
     WHERE pointer.seq < excluded.seq \
     RETURNING room_id, user_id, seq), \
     noted AS (\
     INSERT INTO room_changes (room_ids, bases, counts, user_ids) \
     SELECT array_agg(room_id), array_agg(-1), array_agg(0), array_agg(user_id) FROM moved \
     HAVING count(*) > 0) \
     SELECT place, newest, coalesce(moved.seq, read), moved.seq IS NOT NULL, \
     moved.seq IS NULL AND target > read, is_current \
     FROM mark LEFT JOIN moved USING (room_id, user_id)";

/// Finds the stored messages with these ids, each by the index of the unique key, except for
/// those in rooms whose rules have another number.
pub(super) const ORIGINALS: &str = "SELECT message.id, room_id, seq, user_id, author.name, content, \
     client_message_id, created_at, extras, \
     change.rev, change.edited_at, change.deleted_at, change.erased_at, change.reactions \
     FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) \
     AS batch (room_id, user_id, client_message_id, rules) \
     JOIN messages AS message USING (room_id, user_id, client_message_id) \
     LEFT JOIN users AS author ON author.id = message.user_id \
     LEFT JOIN LATERAL (SELECT rev, edited_at, deleted_at, erased_at, reactions \
     FROM message_changes AS known \
     WHERE known.room_id = message.room_id AND known.seq = message.seq OFFSET 0) AS change ON true \
     WHERE batch.rules = (SELECT room.rules FROM rooms AS room WHERE room.id = message.room_id)";
