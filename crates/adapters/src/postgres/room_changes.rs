//! Which rooms' counters or rules have moved, and which members have changed, from the table
//! `room_changes`.
//!
//! The functions of the migrations `0006_room_changes`, `0009_rules_in_changes`,
//! `0011_member_changes` and `0016_message_changes` explain why nothing is missed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chat_domain::ports::{Changes, LogCursor, MemberChange};
use chat_domain::{StorageError, UserId, one_line};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use super::pool::Pool;
use super::rows;
use crate::stored_rules::member_part;

/// How often a node deletes what no reader needs any more. It takes less than that, by the
/// deadlines of the pool.
const PRUNING_INTERVAL: Duration = Duration::from_secs(10);

/// When this process last deleted what no reader needs any more.
#[derive(Clone, Default)]
pub(super) struct Pruning(Arc<Mutex<Option<Instant>>>);

impl Pruning {
    /// Deletes what no reader needs any more, in a task of its own, if it is time.
    pub(super) fn start_if_due(&self, pool: &Pool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PRUNING_INTERVAL) {
            *last = Some(Instant::now());
            tokio::spawn(prune(pool.clone()));
        }
    }
}

/// Ends within the deadlines of the pool.
async fn prune(pool: Pool) {
    let pruned = pool.read(|session| {
        let query = diesel::sql_query("SELECT prune_room_changes()");
        Box::pin(query.execute(session))
    });
    if let Err(error) = pruned.await {
        tracing::debug!(error = %one_line(&error), "the table room_changes cannot be pruned");
    }
}

/// The columns of the function `room_changes_since`.
#[derive(diesel::QueryableByName)]
struct ChangesRow {
    #[diesel(sql_type = Timestamptz)]
    server: PgTimestamp,
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    ids: Option<Vec<i64>>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    seqs: Option<Vec<i64>>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    numbers: Option<Vec<i64>>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    revs: Option<Vec<i64>>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    member_rooms: Option<Vec<i64>>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    member_users: Option<Vec<String>>,
    #[diesel(sql_type = Nullable<Array<Bool>>)]
    memberships: Option<Vec<bool>>,
    #[diesel(sql_type = Array<Nullable<BigInt>>)]
    generations: Vec<Option<i64>>,
}

pub(super) async fn since(
    pool: &Pool,
    cursor: Option<&LogCursor>,
) -> Result<Changes, StorageError> {
    let (server, snapshot) = cursor.and_then(parse).unzip();
    let read = pool.read(move |session| {
        let query = diesel::sql_query(
            "SELECT server, snapshot::text, ids, seqs, numbers, member_rooms, member_users, \
             memberships, ARRAY(\
             SELECT CASE WHEN number > 0 OR rev > 0 \
             THEN (SELECT generation FROM rooms WHERE id = room) END \
             FROM unnest(ids, numbers, revs) WITH ORDINALITY AS change (room, number, rev, place) \
             ORDER BY place) AS generations, ARRAY(\
             SELECT CASE WHEN rev > 0 \
             THEN coalesce((SELECT last_rev FROM rooms WHERE id = room), 0) ELSE 0 END \
             FROM unnest(ids, revs) WITH ORDINALITY AS change (room, rev, place) \
             ORDER BY place) AS revs \
             FROM room_changes_since($1, $2::pg_snapshot)",
        )
        .bind::<Nullable<Timestamptz>, _>(server)
        .bind::<Nullable<Text>, _>(snapshot);
        Box::pin(query.get_result::<ChangesRow>(session))
    });
    let found = read.await?;
    let columns = found.ids.zip(found.seqs).zip(found.numbers).zip(found.revs);
    let rooms = columns.map(|(((ids, seqs), numbers), revs)| {
        let generations = found.generations.into_iter();
        let rows = ids
            .into_iter()
            .zip(seqs)
            .zip(numbers)
            .zip(revs)
            .zip(generations);
        let rooms = rows.map(|((((id, seq), number), rev), generation)| {
            rows::room_position((id, seq, number, rev, generation))
        });
        // A room that is not valid has no members.
        rooms.filter_map(Result::ok).collect()
    });
    let members = found.member_rooms.into_iter().flatten();
    let members = members.zip(found.member_users.into_iter().flatten());
    let members = members.zip(found.memberships.into_iter().flatten());
    Ok(Changes {
        cursor: LogCursor::new(format!("{} {}", found.server.0, found.snapshot)),
        rooms,
        members: members.filter_map(member).collect(),
    })
}

/// Converts a member; `None` if it is not valid.
fn member(((room_id, user_id), is_membership): ((i64, String), bool)) -> Option<MemberChange> {
    Some(MemberChange {
        room_id: rows::room(room_id).ok()?,
        user_id: UserId::new(user_id).ok()?,
        part: member_part(is_membership),
    })
}

/// Returns the server's start and the snapshot that a cursor consists of.
fn parse(cursor: &LogCursor) -> Option<(PgTimestamp, String)> {
    let (server, snapshot) = cursor.as_str().split_once(' ')?;
    Some((PgTimestamp(server.parse().ok()?), snapshot.to_owned()))
}
