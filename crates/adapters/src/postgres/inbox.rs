//! Inboxes, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::ports::{Inbox, InboxPage, InboxPosition, ListedRoom};
use chat_domain::{
    MemberView, Notify, RoomAccess, RoomId, RoomOverview, Seq, StorageError, UserId,
};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::inbox_query::{OVERVIEWS, PAGE, SET_NOTIFY, UNREAD_TOTAL, VIEWS};
use super::message_columns::MessageColumns;
use super::statement::Statement;
use super::{Database, rows};
use crate::stored_inbox::{self, OverviewColumns, ViewColumns};
use crate::stored_rules;

#[derive(QueryableByName)]
struct PageRow {
    #[diesel(sql_type = BigInt)]
    unread_total: i64,
    #[diesel(embed)]
    room: Option<ListedRow>,
}

#[derive(QueryableByName)]
struct ListedRow {
    #[diesel(sql_type = Timestamptz)]
    activity: PgTimestamp,
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
struct MaybeViewRow {
    #[diesel(embed)]
    view: Option<ViewRow>,
}

#[derive(QueryableByName)]
struct TotalRow {
    #[diesel(sql_type = BigInt)]
    unread_total: i64,
}

#[derive(QueryableByName)]
struct IsMemberRow {
    #[diesel(sql_type = Bool)]
    is_member: bool,
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
        let user_id = user_id.as_str().to_owned();
        let allowed = stored_inbox::allowed(access);
        let (at, after) = match after {
            Some(position) => (
                rows::from_unix_micros(position.activity),
                rows::number(position.room_id.get()),
            ),
            // Infinity.
            None => (PgTimestamp(i64::MAX), i64::MAX),
        };
        let size = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: PAGE.0,
                parameters: (
                    user_id.into_sql::<Text>(),
                    allowed.into_sql::<Nullable<Array<BigInt>>>(),
                    at.into_sql::<Timestamptz>(),
                    after.into_sql::<BigInt>(),
                    size.into_sql::<BigInt>(),
                ),
                after: PAGE.1,
            };
            Box::pin(query.load::<PageRow>(session))
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
        let user_id = user_id.as_str().to_owned();
        let allowed = stored_inbox::allowed(access);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: UNREAD_TOTAL.0,
                parameters: (
                    user_id.into_sql::<Text>(),
                    allowed.into_sql::<Nullable<Array<BigInt>>>(),
                ),
                after: UNREAD_TOTAL.1,
            };
            Box::pin(query.get_result::<TotalRow>(session))
        });
        stored_rules::count(read.await?.unread_total)
    }

    async fn overviews(&self, rooms: &[RoomId]) -> Result<Vec<RoomOverview>, StorageError> {
        let ids: Vec<i64> = rooms.iter().map(|id| rows::number(id.get())).collect();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: OVERVIEWS.0,
                parameters: (ids.into_sql::<Array<BigInt>>(),),
                after: OVERVIEWS.1,
            };
            Box::pin(query.load::<OverviewRow>(session))
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
        let (ids, users): (Vec<i64>, Vec<String>) = pairs
            .iter()
            .map(|(room, user)| (rows::number(room.get()), user.as_str().to_owned()))
            .unzip();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: VIEWS.0,
                parameters: (
                    ids.into_sql::<Array<BigInt>>(),
                    users.into_sql::<Array<Text>>(),
                ),
                after: VIEWS.1,
            };
            Box::pin(query.load::<MaybeViewRow>(session))
        });
        let found = read.await?.into_iter();
        let views = found.map(|row| row.view.map(|row| stored_inbox::view(&view(row)?)));
        views.map(Option::transpose).collect()
    }

    async fn set_notify(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        notify: Notify,
    ) -> Result<bool, StorageError> {
        let call = Statement {
            before: SET_NOTIFY.0,
            parameters: (
                rows::number(room_id.get()).into_sql::<BigInt>(),
                user_id.as_str().to_owned().into_sql::<Text>(),
                notify.as_str().into_sql::<Text>(),
            ),
            after: SET_NOTIFY.1,
        };
        let row = self.pool.call::<IsMemberRow, _>(call).await?;
        Ok(row.is_some_and(|row| row.is_member))
    }
}

fn listed(row: ListedRow) -> Result<ListedRoom, StorageError> {
    let activity = rows::unix_micros(row.activity);
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
    let read: Seq = rows::position(row.read)?;
    Ok(ViewColumns {
        role: row.role,
        notify: row.notify,
        read,
        mentions: row.mentions,
    })
}
