//! Inboxes, on SQLite.

use async_trait::async_trait;
use chat_domain::ports::{Inbox, InboxPage, InboxPosition, ListedRoom};
use chat_domain::{
    MemberView, Notify, RoomAccess, RoomId, RoomOverview, StorageError, Timestamp, UserId,
};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::inbox_query::{MENTIONS_OF_MEMBER, OVERVIEWS, PAGE, UNREAD_TOTAL};
use super::message_columns::MessageColumns;
use super::schema::{members, read_pointers};
use super::{Database, rows};
use crate::stored_inbox::{self, OverviewColumns, ViewColumns};
use crate::stored_rules;

/// Whether the member's room is not being deleted.
const IS_OPEN: &str =
    "EXISTS (SELECT 1 FROM rooms WHERE rooms.id = members.room_id AND generation <= rules)";

#[derive(QueryableByName)]
struct PageRow {
    #[diesel(sql_type = BigInt)]
    unread_total: i64,
    #[diesel(embed)]
    room: Option<ListedRow>,
}

#[derive(QueryableByName)]
struct ListedRow {
    #[diesel(sql_type = Text)]
    activity: String,
    #[diesel(embed)]
    room: OverviewRow,
    #[diesel(embed)]
    member: ViewRow,
}

#[derive(QueryableByName)]
struct OverviewRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    last_seq: i64,
    #[diesel(sql_type = BigInt)]
    last_rev: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Text)]
    metadata: String,
    #[diesel(embed)]
    message: Option<MessageColumns>,
}

#[derive(QueryableByName)]
struct ViewRow {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    notify: String,
    #[diesel(sql_type = BigInt)]
    read: i64,
    #[diesel(sql_type = BigInt)]
    mentions: i64,
}

#[derive(QueryableByName)]
struct TotalRow {
    #[diesel(sql_type = BigInt)]
    unread_total: i64,
}

#[async_trait]
impl Inbox for Database {
    async fn page(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        after: Option<InboxPosition>,
        limit: usize,
    ) -> Result<InboxPage, StorageError> {
        let user_id = user_id.clone();
        let allowed = stored_inbox::allowed(access).as_deref().map(json);
        let (at, after) = match after {
            Some(position) => (
                from_unix_millis(position.activity).to_string(),
                rows::number(position.room_id.get()),
            ),
            // After every time.
            None => ("~".to_owned(), i64::MAX),
        };
        let size = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(PAGE)
                .bind::<Text, _>(user_id.as_str())
                .bind::<Nullable<Text>, _>(allowed)
                .bind::<Text, _>(at)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(size)
                .load::<PageRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?;
        let unread_total = found.as_slice().first().map_or(0, |row| row.unread_total);
        let rooms = found.into_iter().filter_map(|row| row.room);
        let rooms = rooms.map(listed).collect::<Result<_, _>>()?;
        stored_inbox::page(rooms, limit, unread_total)
    }

    async fn unread_total(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
    ) -> Result<u64, StorageError> {
        let user_id = user_id.clone();
        let allowed = stored_inbox::allowed(access).as_deref().map(json);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(UNREAD_TOTAL)
                .bind::<Text, _>(user_id.as_str())
                .bind::<Nullable<Text>, _>(allowed)
                .get_result::<TotalRow>(connection)
                .map_err(StorageError::unavailable)
        });
        stored_rules::count(read.await?.unread_total)
    }

    async fn overviews(&self, rooms: &[RoomId]) -> Result<Vec<RoomOverview>, StorageError> {
        let ids: Vec<i64> = rooms.iter().map(|id| rows::number(id.get())).collect();
        let read = self.pool.read(move |connection| {
            diesel::sql_query(OVERVIEWS)
                .bind::<Text, _>(json(&ids))
                .load::<OverviewRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter();
        found
            .map(|row| stored_inbox::overview(overview(row)?))
            .collect()
    }

    async fn views(
        &self,
        pairs: &[(RoomId, UserId)],
    ) -> Result<Vec<Option<MemberView>>, StorageError> {
        let pairs = pairs.to_vec();
        let read = self.pool.read(move |connection| {
            // One moment for all of them. diesel keeps the statement prepared.
            let read = connection.transaction(|connection| {
                let views = pairs.iter().map(|(room_id, user_id)| {
                    let room = rows::number(room_id.get());
                    view_of(connection, room, user_id.as_str())
                });
                views.collect::<QueryResult<Vec<_>>>()
            });
            read.map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter();
        let views = found.map(|row| row.map(|row| stored_inbox::view(&view(row)?)));
        views.map(Option::transpose).collect()
    }

    async fn set_notify(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        notify: Notify,
    ) -> Result<bool, StorageError> {
        let user_id = user_id.clone();
        let written = self.write(move |connection| {
            let room = rows::number(room_id.get());
            let member = members::table.find((room, user_id.as_str()));
            let before = member.filter(sql::<Bool>(IS_OPEN));
            let before = before.select(members::notify);
            let before = before.first::<String>(connection).optional()?;
            if before
                .as_deref()
                .is_some_and(|before| before != notify.as_str())
            {
                diesel::update(member)
                    .set(members::notify.eq(notify.as_str()))
                    .execute(connection)?;
            }
            Ok(before.is_some())
        });
        written.await
    }
}

fn view_of(
    connection: &mut SqliteConnection,
    room: i64,
    user_id: &str,
) -> QueryResult<Option<ViewRow>> {
    let pointer = read_pointers::room_id
        .eq(members::room_id)
        .and(read_pointers::user_id.eq(members::user_id));
    let found = members::table
        .left_join(read_pointers::table.on(pointer))
        .filter(members::room_id.eq(room))
        .filter(members::user_id.eq(user_id))
        .filter(sql::<Bool>(IS_OPEN))
        .select((
            members::role,
            members::notify,
            read_pointers::seq.nullable(),
            sql::<BigInt>(MENTIONS_OF_MEMBER),
        ))
        .first::<(String, String, Option<i64>, i64)>(connection)
        .optional()?;
    Ok(found.map(|(role, notify, read, mentions)| ViewRow {
        mentions,
        role,
        notify,
        read: read.unwrap_or_default(),
    }))
}

fn listed(row: ListedRow) -> Result<ListedRoom, StorageError> {
    let at: Timestamp = row.activity.parse().map_err(StorageError::corrupt)?;
    let activity = at.unix_millis().try_into().unwrap_or_default();
    stored_inbox::listed(activity, overview(row.room)?, &view(row.member)?)
}

fn overview(row: OverviewRow) -> Result<OverviewColumns, StorageError> {
    let id = row.id;
    let message = row.message.map(|message| message.message(id));
    Ok(OverviewColumns {
        room_id: rows::room(id)?,
        newest: rows::position(row.last_seq)?,
        rev: row.last_rev,
        kind: row.kind,
        name: row.name,
        metadata: row.metadata,
        last_message: message.transpose()?,
    })
}

fn view(row: ViewRow) -> Result<ViewColumns, StorageError> {
    Ok(ViewColumns {
        role: row.role,
        notify: row.notify,
        read: rows::position(row.read)?,
        mentions: row.mentions,
    })
}

fn from_unix_millis(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Returns a JSON array for `json_each`.
fn json(ids: &[i64]) -> String {
    format!("{ids:?}")
}
