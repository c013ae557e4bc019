//! Members who have not read, on SQLite.
//!
//! A batch notes which rooms have new messages, and how far its authors have read; a read pointer that
//! moves takes the bound in the member's row along. When a report is due, the transaction that leases
//! rooms does what the function `report_unread` does on PostgreSQL.
//!
//! The plan of that, whose work is that for the members who have not read:
//!
//! ```text
//! SEARCH members USING COVERING INDEX members_behind (room_id=? AND read_floor<?)
//! SEARCH mention USING COVERING INDEX mentions_seq (room_id=? AND seq>? AND seq<?)
//! SEARCH member USING PRIMARY KEY (room_id=? AND user_id=?)
//! SEARCH pointer USING PRIMARY KEY (room_id=? AND user_id=?) LEFT-JOIN
//! ```

use chat_domain::StorageError;
use chat_domain::ports::{LeaseRequest, OutboxPlace, UnreadReport};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};

use super::record::next_id;
use crate::sqlite::rows;
use crate::stored_outbox::{self, UnreadColumns};

const AWAIT: &str = "INSERT INTO unread_rooms \
     (room_id, after, seq, stored_at, newest_seq, newest_at) \
     SELECT ?1, ?2 - 1, ?3, moment, ?3, moment \
     FROM (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS moment) WHERE true \
     ON CONFLICT (room_id) DO UPDATE SET newest_seq = excluded.newest_seq, \
     newest_at = excluded.newest_at";

const RAISE_FLOOR: &str = "UPDATE members SET read_floor = ?3 \
     WHERE room_id = ?1 AND user_id = ?2 AND read_floor < ?3";

/// Rooms whose failed calls may be repeated now.
const UNBLOCK: &str = "UPDATE unread_rooms SET is_blocked = 0 WHERE is_blocked = 1 \
     AND room_id IN (SELECT room_id FROM outbox_rooms WHERE attempts > 0 AND due_at <= ? \
     ORDER BY due_at LIMIT ?)";

const BLOCK: &str = "UPDATE unread_rooms SET is_blocked = 1 WHERE room_id = ?";

const WAITING: &str = "SELECT unread_rooms.room_id, after, seq, newest_seq, newest_at <= ?1 \
     AS is_newest_due, coalesce(other.due_at > ?2, 0) AS is_other_later, \
     other.holder IS NOT NULL AS is_held \
     FROM unread_rooms LEFT JOIN outbox_rooms AS other USING (room_id) \
     WHERE is_blocked = 0 AND stored_at <= ?1 ORDER BY stored_at LIMIT ?3";

const TAKE_AWAY: &str =
    "UPDATE outbox_rooms SET holder = NULL WHERE room_id = ? AND holder IS NOT NULL";

/// Not a room that is being deleted, or the next one of its number.
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM rooms WHERE id = ? AND generation <= rules \
     AND last_seq >= ?) AS value";

const SUPERSEDED: &str = "SELECT min(unread_after) AS value FROM outbox_events \
     WHERE room_id = ? AND kind = 'messages.unread' AND parked_at IS NULL";

const SUPERSEDE: &str = "DELETE FROM outbox_events \
     WHERE room_id = ? AND kind = 'messages.unread' AND parked_at IS NULL";

/// Raises the bounds that are too low.
const CATCH_UP: &str = "UPDATE members SET read_floor = (SELECT seq FROM read_pointers AS pointer \
     WHERE pointer.room_id = members.room_id AND pointer.user_id = members.user_id) \
     WHERE room_id = ?1 AND notify = 'all' AND read_floor < ?2 AND coalesce((\
     SELECT seq FROM read_pointers AS pointer WHERE pointer.room_id = members.room_id \
     AND pointer.user_id = members.user_id), 0) >= ?2";

const REPORT: &str = "INSERT INTO outbox_events \
     (room_id, id, user_id, first, last, kind, recorded_at, unread_after, unread_seq, user_ids) \
     SELECT ?1, ?2, min(user_id), 0, 0, 'messages.unread', ?3, ?4, ?5, json_group_array(user_id) \
     FROM (SELECT user_id, (row_number() OVER (ORDER BY user_id) - 1) / ?6 AS page FROM (\
     SELECT user_id FROM members INDEXED BY members_behind \
     WHERE room_id = ?1 AND notify = 'all' AND read_floor < ?5 \
     UNION ALL SELECT DISTINCT mention.user_id \
     FROM mentions AS mention INDEXED BY mentions_seq \
     CROSS JOIN members AS member ON member.room_id = mention.room_id \
     AND member.user_id = mention.user_id AND member.notify = 'mentions' \
     LEFT JOIN read_pointers AS pointer ON pointer.room_id = mention.room_id \
     AND pointer.user_id = mention.user_id \
     WHERE mention.room_id = ?1 AND mention.seq > ?4 AND mention.seq <= ?5 \
     AND mention.seq > coalesce(pointer.seq, 0))) GROUP BY page";

const DUE: &str = "INSERT INTO outbox_rooms (room_id, due_at) VALUES (?, ?) \
     ON CONFLICT (room_id) DO NOTHING";

const FINISH: &str = "DELETE FROM unread_rooms WHERE room_id = ?";

const GO_ON: &str = "UPDATE unread_rooms SET after = seq, seq = newest_seq, \
     stored_at = newest_at WHERE room_id = ?";

/// A mention counts if its message is unread and no earlier report was about it.
const UNREAD: &str = "SELECT report.unread_seq AS seq, member.user_id, EXISTS (\
     SELECT 1 FROM mentions WHERE mentions.room_id = report.room_id \
     AND mentions.user_id = member.user_id \
     AND mentions.seq > max(report.unread_after, coalesce(pointer.seq, 0)) \
     AND mentions.seq <= report.unread_seq) AS is_mentioned \
     FROM outbox_events AS report CROSS JOIN json_each(report.user_ids) AS given \
     CROSS JOIN members AS member ON member.room_id = report.room_id \
     AND member.user_id = given.value \
     LEFT JOIN read_pointers AS pointer ON pointer.room_id = report.room_id \
     AND pointer.user_id = member.user_id \
     WHERE report.room_id = ?1 AND report.id = ?2 AND report.user_id = ?3 \
     AND report.parked_at IS NULL AND report.unread_seq IS NOT NULL \
     AND EXISTS (SELECT 1 FROM rooms WHERE rooms.id = report.room_id AND generation <= rules) \
     AND coalesce(pointer.seq, 0) < report.unread_seq \
     AND (member.notify = 'all' OR member.notify = 'mentions' AND is_mentioned) \
     ORDER BY member.user_id";

/// A room with messages whose report is due.
#[derive(QueryableByName)]
struct WaitingRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = BigInt)]
    after: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    newest_seq: i64,
    #[diesel(sql_type = Bool)]
    is_newest_due: bool,
    /// Whether the room is held, or waits for a repetition.
    #[diesel(sql_type = Bool)]
    is_other_later: bool,
    #[diesel(sql_type = Bool)]
    is_held: bool,
}

#[derive(QueryableByName)]
struct FlagRow {
    #[diesel(sql_type = Bool)]
    value: bool,
}

#[derive(QueryableByName)]
struct MaybeNumberRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    value: Option<i64>,
}

#[derive(QueryableByName)]
struct MomentRow {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct UnreadRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Bool)]
    is_mentioned: bool,
}

/// Notes that the room has new messages, which are to be reported if they are not read.
pub(super) fn wait(
    connection: &mut SqliteConnection,
    room: i64,
    first: i64,
    last: i64,
) -> QueryResult<()> {
    diesel::sql_query(AWAIT)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(first)
        .bind::<BigInt, _>(last)
        .execute(connection)
        .map(drop)
}

/// Notes how far a member has read.
pub(super) fn raise_floor(
    connection: &mut SqliteConnection,
    room: i64,
    user_id: &str,
    seq: i64,
) -> QueryResult<()> {
    diesel::sql_query(RAISE_FLOOR)
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(user_id)
        .bind::<BigInt, _>(seq)
        .execute(connection)
        .map(drop)
}

/// Records the reports that are due, at most `free`: a later one has newer messages.
pub(super) fn report(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
    moment: &str,
    free: i64,
    free_in_retry: i64,
) -> QueryResult<()> {
    diesel::sql_query(UNBLOCK)
        .bind::<Text, _>(moment)
        .bind::<BigInt, _>(free_in_retry)
        .execute(connection)?;
    let until =
        diesel::sql_query("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?, ? || ' seconds') AS value")
            .bind::<Text, _>(moment)
            .bind::<Double, _>(-request.notify_after.as_secs_f64())
            .get_result::<MomentRow>(connection)?;
    // Those of rooms that are held are passed over.
    let in_flight = i64::try_from(request.in_flight).unwrap_or(i64::MAX);
    let waiting = diesel::sql_query(WAITING)
        .bind::<Text, _>(&until.value)
        .bind::<Text, _>(moment)
        .bind::<BigInt, _>(free.saturating_add(in_flight))
        .load::<WaitingRow>(connection)?;
    let mut reports = 0;
    for room in waiting {
        if reports == free {
            break;
        }
        if room.is_other_later {
            // A room that a node holds gets no entry: the node might remove it as delivered.
            if !room.is_held {
                let block = diesel::sql_query(BLOCK).bind::<BigInt, _>(room.room_id);
                block.execute(connection)?;
            }
            continue;
        }
        report_room(connection, &room, moment)?;
        reports += 1;
    }
    Ok(())
}

/// Records a report of the members who have not read the newest message that is due. It replaces an
/// earlier report that still waits.
fn report_room(
    connection: &mut SqliteConnection,
    room: &WaitingRow,
    moment: &str,
) -> QueryResult<()> {
    let id = room.room_id;
    let up_to = match room.is_newest_due {
        true => room.newest_seq,
        false => room.seq,
    };
    let take_away = diesel::sql_query(TAKE_AWAY).bind::<BigInt, _>(id);
    take_away.execute(connection)?;
    let is_there = diesel::sql_query(IS_THERE)
        .bind::<BigInt, _>(id)
        .bind::<BigInt, _>(up_to);
    if is_there.get_result::<FlagRow>(connection)?.value {
        let superseded = diesel::sql_query(SUPERSEDED).bind::<BigInt, _>(id);
        let superseded = superseded.get_result::<MaybeNumberRow>(connection)?.value;
        let after = superseded.map_or(room.after, |after| after.min(room.after));
        let supersede = diesel::sql_query(SUPERSEDE).bind::<BigInt, _>(id);
        supersede.execute(connection)?;
        diesel::sql_query(CATCH_UP)
            .bind::<BigInt, _>(id)
            .bind::<BigInt, _>(up_to)
            .execute(connection)?;
        let record = next_id(connection)?;
        let reported = diesel::sql_query(REPORT)
            .bind::<BigInt, _>(id)
            .bind::<BigInt, _>(record)
            .bind::<Text, _>(moment)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(up_to)
            .bind::<BigInt, _>(UnreadReport::MAX_USERS as i64)
            .execute(connection)?;
        if reported > 0 {
            let due = diesel::sql_query(DUE).bind::<BigInt, _>(id);
            due.bind::<Text, _>(moment).execute(connection)?;
        }
    }
    let next = match up_to == room.newest_seq {
        true => FINISH,
        false => GO_ON,
    };
    let next = diesel::sql_query(next).bind::<BigInt, _>(id);
    next.execute(connection).map(drop)
}

/// Returns the members that the report names now.
pub(super) fn unread(
    connection: &mut SqliteConnection,
    room: i64,
    place: &OutboxPlace,
) -> Result<Option<UnreadReport>, StorageError> {
    let members = diesel::sql_query(UNREAD)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(rows::number(place.record))
        .bind::<Text, _>(&place.user_id)
        .load::<UnreadRow>(connection)
        .map_err(StorageError::unavailable)?;
    let members = members.into_iter().map(|row| UnreadColumns {
        seq: row.seq,
        user_id: row.user_id,
        is_mentioned: row.is_mentioned,
    });
    stored_outbox::unread(members)
}
