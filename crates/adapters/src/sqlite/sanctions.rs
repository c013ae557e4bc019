//! Revocations of tokens and disconnections of users, on SQLite.
//!
//! What is new is found by the time at which it was written, by SQLite's clock. A row becomes
//! visible after that time: at most as long after it as a transaction may take. A reader therefore
//! reads again what was written shortly before it last read. If the clock was set back, the reader
//! has to read everything.

use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    DISCONNECTION_LIFETIME, RecentDisconnection, RecentSanctions, Sanctions, SanctionsCursor,
};
use chat_domain::{Disconnection, Revocation, StorageError, Timestamp, UserId};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::Database;

/// The times of a row have one format, so that texts compare as times. The number is larger also than
/// that of a row that was deleted, because the user was erased.
const REVOKE: &str = "INSERT INTO revocations (user_id, issued_before, number, changed_at) \
     VALUES (?, ?, CAST(unixepoch('subsec') * 1000000 AS INTEGER), \
     strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
     ON CONFLICT (user_id) DO UPDATE SET \
     issued_before = max(coalesce(issued_before, ''), excluded.issued_before), \
     number = max(number + 1, excluded.number), changed_at = excluded.changed_at \
     RETURNING user_id, number, issued_before";

const LIFT: &str = "UPDATE revocations SET issued_before = NULL, number = number + 1, \
     changed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') \
     WHERE user_id = ? AND issued_before IS NOT NULL \
     RETURNING user_id, number, issued_before";

/// Deletes what the gateway needs no longer.
const PRUNE: &str = "DELETE FROM disconnections \
     WHERE changed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ? || ' seconds') AND user_id <> ?";

const DISCONNECT: &str = "INSERT INTO disconnections (user_id, number, changed_at) \
     VALUES (?, CAST(unixepoch('subsec') * 1000000 AS INTEGER), \
     strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
     ON CONFLICT (user_id) DO UPDATE SET number = max(number + 1, excluded.number), \
     changed_at = excluded.changed_at \
     RETURNING number";

const PAGE: &str = "SELECT user_id, number, issued_before FROM revocations \
     WHERE user_id > ? ORDER BY user_id LIMIT ?";

/// One statement, so that all is read in one state of the database. Fifteen seconds are longer
/// than a transaction may take.
const RECENT: &str = "WITH state (moment) AS (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), \
     change AS (\
     SELECT user_id, number, NULL AS age, issued_before FROM revocations \
     WHERE changed_at > strftime('%Y-%m-%dT%H:%M:%fZ', ?1, '-15 seconds') \
     UNION ALL \
     SELECT user_id, number, \
     CAST(round((julianday('now') - julianday(changed_at)) * 86400000) AS INTEGER), NULL \
     FROM disconnections \
     WHERE changed_at > coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', ?1, '-15 seconds'), '')) \
     SELECT moment, coalesce(?1 <= moment, 0) AS is_known, user_id, number, age, issued_before \
     FROM state LEFT JOIN change";

#[derive(QueryableByName)]
struct RevocationRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<Text>)]
    issued_before: Option<String>,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Something recent, besides the time; only this without any.
#[derive(QueryableByName)]
struct RecentRow {
    #[diesel(sql_type = Text)]
    moment: String,
    #[diesel(sql_type = Bool)]
    is_known: bool,
    #[diesel(sql_type = Nullable<Text>)]
    user_id: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
    /// Of a disconnection, in milliseconds.
    #[diesel(sql_type = Nullable<BigInt>)]
    age: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    issued_before: Option<String>,
}

#[async_trait]
impl Sanctions for Database {
    async fn revoke(
        &self,
        user_id: &UserId,
        issued_before: Timestamp,
    ) -> Result<Revocation, StorageError> {
        let user_id = user_id.clone();
        let written = self.write(move |connection| {
            diesel::sql_query(REVOKE)
                .bind::<Text, _>(user_id.as_str())
                .bind::<Text, _>(issued_before.to_string())
                .get_result(connection)
        });
        revocation(written.await?)
    }

    async fn lift(&self, user_id: &UserId) -> Result<Option<Revocation>, StorageError> {
        let user_id = user_id.clone();
        let written = self.write(move |connection| {
            diesel::sql_query(LIFT)
                .bind::<Text, _>(user_id.as_str())
                .get_result(connection)
                .optional()
        });
        written.await?.map(revocation).transpose()
    }

    async fn disconnect(&self, user_id: &UserId) -> Result<Disconnection, StorageError> {
        let disconnected = user_id.clone();
        let written = self.write(move |connection| {
            let lifetime = DISCONNECTION_LIFETIME.as_secs().cast_signed();
            diesel::sql_query(PRUNE)
                .bind::<BigInt, _>(-lifetime)
                .bind::<Text, _>(disconnected.as_str())
                .execute(connection)?;
            diesel::sql_query(DISCONNECT)
                .bind::<Text, _>(disconnected.as_str())
                .get_result::<NumberRow>(connection)
        });
        Ok(Disconnection {
            user_id: user_id.clone(),
            number: Some(written.await?.number.unsigned_abs()),
        })
    }

    async fn revocations(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Revocation>, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |connection| {
            let page = diesel::sql_query(PAGE)
                // An id is not empty.
                .bind::<Text, _>(after.as_ref().map_or("", UserId::as_str))
                .bind::<BigInt, _>(size)
                .load::<RevocationRow>(connection);
            page.map_err(StorageError::unavailable)
        });
        read.await?.into_iter().map(revocation).collect()
    }

    async fn sanctions_since(
        &self,
        cursor: Option<SanctionsCursor>,
    ) -> Result<RecentSanctions, StorageError> {
        let cursor = cursor.filter(|cursor| cursor.as_str().parse::<Timestamp>().is_ok());
        let read = self.pool.read(move |connection| {
            let mut found = recent(connection, cursor.as_ref())?;
            let is_known = found.as_slice().first().is_some_and(|row| row.is_known);
            if cursor.is_some() && !is_known {
                found = recent(connection, None)?;
            }
            Ok(found)
        });
        sanctions(read.await?)
    }
}

/// Reads what was written since a time; without one, all disconnections.
fn recent(
    connection: &mut SqliteConnection,
    cursor: Option<&SanctionsCursor>,
) -> Result<Vec<RecentRow>, StorageError> {
    let query = diesel::sql_query(RECENT)
        .bind::<Nullable<Text>, _>(cursor.map(SanctionsCursor::as_str))
        .load(connection);
    query.map_err(StorageError::unavailable)
}

fn sanctions(rows: Vec<RecentRow>) -> Result<RecentSanctions, StorageError> {
    let state = rows
        .as_slice()
        .first()
        .ok_or_else(|| StorageError::corrupt("a query returned no row"))?;
    let cursor = SanctionsCursor::new(state.moment.as_str());
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
            // Negative if the clock was set back.
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
    let issued_before = row.issued_before.map(|text| text.parse::<Timestamp>());
    Ok(Revocation {
        user_id: UserId::new(row.user_id).map_err(StorageError::corrupt)?,
        number: row.number.unsigned_abs(),
        issued_before: issued_before.transpose().map_err(StorageError::corrupt)?,
    })
}
