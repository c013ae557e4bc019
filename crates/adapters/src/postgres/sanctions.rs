//! Revocations of tokens and disconnections of users, on PostgreSQL.
//!
//! What is new is found by the time at which it was written, by the server's clock. A row becomes
//! visible after that time: at most as long after it as a statement may take. A reader therefore
//! reads again what was written shortly before it last read. If the clock was set back, or the
//! server is another one or was restarted, the reader has to read everything.

use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    DISCONNECTION_LIFETIME, RecentDisconnection, RecentSanctions, Sanctions, SanctionsCursor,
};
use chat_domain::{Disconnection, Revocation, StorageError, Timestamp, UserId};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::statement::Statement;
use super::{Database, rows};

/// The times are taken when the row is locked: of two calls for one user, the second one has the
/// later time and the larger number; also if the row was deleted between them, because the user was
/// erased.
const REVOKE: (&str, &str) = (
    "INSERT INTO revocations AS old (user_id, issued_before, number, changed_at) \
     SELECT user_id, issued_before, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
     clock_timestamp() FROM (VALUES (",
    ")) AS ask (user_id, issued_before) \
     ON CONFLICT (user_id) DO UPDATE SET \
     issued_before = greatest(old.issued_before, excluded.issued_before), \
     number = greatest(old.number + 1, excluded.number), changed_at = clock_timestamp() \
     RETURNING user_id, number, issued_before",
);

const LIFT: (&str, &str) = (
    "UPDATE revocations SET issued_before = NULL, number = number + 1, \
     changed_at = clock_timestamp() WHERE user_id = ",
    " AND issued_before IS NOT NULL RETURNING user_id, number, issued_before",
);

/// Also deletes what no node needs any more, a bounded number of rows, and none that is locked:
/// calls cannot wait for each other in a circle.
const DISCONNECT: (&str, &str) = (
    "WITH ask (user_id, lifetime) AS (VALUES (",
    ")), pruned AS (\
     DELETE FROM disconnections WHERE user_id IN (\
     SELECT user_id FROM disconnections \
     WHERE changed_at < now() - (SELECT lifetime FROM ask) * interval '1 second' \
     AND user_id <> (SELECT user_id FROM ask) \
     ORDER BY changed_at LIMIT 1000 FOR UPDATE SKIP LOCKED)) \
     INSERT INTO disconnections AS old (user_id, number, changed_at) \
     SELECT user_id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, clock_timestamp() \
     FROM ask \
     ON CONFLICT (user_id) DO UPDATE SET number = greatest(old.number + 1, excluded.number), \
     changed_at = clock_timestamp() \
     RETURNING number",
);

const PAGE: (&str, &str) = (
    "WITH ask (after, size) AS (VALUES (",
    ")) SELECT user_id, number, issued_before FROM revocations \
     WHERE user_id > (SELECT after FROM ask) ORDER BY user_id LIMIT (SELECT size FROM ask)",
);

/// How long before the last read a row may have been written that it did not see. A statement
/// that writes is ended by the server sooner.
const OVERLAP: &str = "interval '15 seconds'";

#[derive(QueryableByName)]
struct RevocationRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    issued_before: Option<PgTimestamp>,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Something recent, besides the state of the server; only this without any.
#[derive(QueryableByName)]
struct RecentRow {
    #[diesel(sql_type = Timestamptz)]
    server: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    moment: PgTimestamp,
    #[diesel(sql_type = Bool)]
    is_known: bool,
    #[diesel(sql_type = Nullable<Text>)]
    user_id: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
    /// Of a disconnection, in milliseconds.
    #[diesel(sql_type = Nullable<BigInt>)]
    age: Option<i64>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    issued_before: Option<PgTimestamp>,
}

#[async_trait]
impl Sanctions for Database {
    async fn revoke(
        &self,
        user_id: &UserId,
        issued_before: Timestamp,
    ) -> Result<Revocation, StorageError> {
        let call = Statement {
            before: REVOKE.0,
            parameters: (
                user_id.as_str().to_owned().into_sql::<Text>(),
                rows::pg_timestamp(issued_before).into_sql::<Timestamptz>(),
            ),
            after: REVOKE.1,
        };
        let row = self.pool.call::<RevocationRow, _>(call).await?;
        revocation(row.ok_or_else(no_row)?)
    }

    async fn lift(&self, user_id: &UserId) -> Result<Option<Revocation>, StorageError> {
        let call = Statement {
            before: LIFT.0,
            parameters: (user_id.as_str().to_owned().into_sql::<Text>(),),
            after: LIFT.1,
        };
        let row = self.pool.call::<RevocationRow, _>(call).await?;
        row.map(revocation).transpose()
    }

    async fn disconnect(&self, user_id: &UserId) -> Result<Disconnection, StorageError> {
        let lifetime = DISCONNECTION_LIFETIME.as_secs().cast_signed();
        let call = Statement {
            before: DISCONNECT.0,
            parameters: (
                user_id.as_str().to_owned().into_sql::<Text>(),
                lifetime.into_sql::<BigInt>(),
            ),
            after: DISCONNECT.1,
        };
        let row = self.pool.call::<NumberRow, _>(call).await?;
        Ok(Disconnection {
            user_id: user_id.clone(),
            number: Some(row.ok_or_else(no_row)?.number.unsigned_abs()),
        })
    }

    async fn revocations(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Revocation>, StorageError> {
        // An id is not empty.
        let after = after.map_or(String::new(), |id| id.as_str().to_owned());
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: PAGE.0,
                parameters: (after.into_sql::<Text>(), size.into_sql::<BigInt>()),
                after: PAGE.1,
            };
            Box::pin(query.load::<RevocationRow>(session))
        });
        read.await?.into_iter().map(revocation).collect()
    }

    async fn sanctions_since(
        &self,
        cursor: Option<SanctionsCursor>,
    ) -> Result<RecentSanctions, StorageError> {
        let cursor = cursor.as_ref().and_then(parse);
        let recent = self.recent(cursor).await?;
        let is_known = recent.as_slice().first().is_some_and(|row| row.is_known);
        match cursor.is_some() && !is_known {
            true => sanctions(self.recent(None).await?),
            false => sanctions(recent),
        }
    }
}

impl Database {
    /// Reads what was written since a time of this server; without one, all disconnections.
    ///
    /// The statement is planned for its values, so that it finds the rows through their indexes.
    async fn recent(
        &self,
        cursor: Option<(PgTimestamp, PgTimestamp)>,
    ) -> Result<Vec<RecentRow>, StorageError> {
        let (server, moment) = cursor.unzip();
        let read = self.pool.read(move |session| {
            let query = diesel::sql_query(format!(
                "SELECT state.*, change.* FROM (\
                 SELECT pg_postmaster_start_time() AS server, now() AS moment, \
                 coalesce($1 = pg_postmaster_start_time() AND $2 <= now(), false) AS is_known) \
                 AS state LEFT JOIN (\
                 SELECT user_id, number, NULL::bigint AS age, issued_before FROM revocations \
                 WHERE changed_at > $2 - {OVERLAP} \
                 UNION ALL \
                 SELECT user_id, number, \
                 (extract(epoch FROM now() - changed_at) * 1000)::bigint AS age, NULL \
                 FROM disconnections WHERE changed_at > coalesce($2 - {OVERLAP}, '-infinity')) \
                 AS change ON true"
            ))
            .bind::<Nullable<Timestamptz>, _>(server)
            .bind::<Nullable<Timestamptz>, _>(moment);
            Box::pin(query.load::<RecentRow>(session))
        });
        read.await
    }
}

fn sanctions(rows: Vec<RecentRow>) -> Result<RecentSanctions, StorageError> {
    let state = rows.as_slice().first().ok_or_else(no_row)?;
    let cursor = SanctionsCursor::new(format!("{} {}", state.server.0, state.moment.0));
    let is_known = state.is_known;
    let (mut revocations, mut disconnections) = (Vec::new(), Vec::new());
    for row in rows {
        let (Some(user_id), Some(number)) = (row.user_id, row.number) else {
            continue;
        };
        let Some(age) = row.age else {
            revocations.push(revocation(RevocationRow {
                user_id,
                number,
                issued_before: row.issued_before,
            })?);
            continue;
        };
        disconnections.push(RecentDisconnection {
            disconnection: Disconnection {
                user_id: UserId::new(user_id).map_err(StorageError::corrupt)?,
                number: Some(number.unsigned_abs()),
            },
            // Negative if it was written after this statement began.
            age: Duration::from_millis(u64::try_from(age).unwrap_or_default()),
        });
    }
    Ok(RecentSanctions {
        cursor,
        revocations: is_known.then_some(revocations),
        disconnections,
    })
}

fn revocation(row: RevocationRow) -> Result<Revocation, StorageError> {
    Ok(Revocation {
        user_id: UserId::new(row.user_id).map_err(StorageError::corrupt)?,
        number: row.number.unsigned_abs(),
        issued_before: row.issued_before.map(rows::timestamp),
    })
}

fn no_row() -> StorageError {
    StorageError::corrupt("a statement returned no row: a trigger or a rule suppresses it")
}

/// Returns the server's start and the time that a cursor consists of.
fn parse(cursor: &SanctionsCursor) -> Option<(PgTimestamp, PgTimestamp)> {
    let (server, moment) = cursor.as_str().split_once(' ')?;
    Some((
        PgTimestamp(server.parse().ok()?),
        PgTimestamp(moment.parse().ok()?),
    ))
}
