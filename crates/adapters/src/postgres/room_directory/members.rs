//! Sets many members in one call.

use chat_domain::ports::{ChangeError, MembersSet, SetMember};
use chat_domain::{DisplayName, NewMember, Role, RoomId, RulesNumber, StorageError};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};

use super::super::pool::Pool;
use super::super::rows;
use super::super::statement::Statement;
use crate::stored_rules::{self, MemberColumns};

/// Recorded for the outbox as other changes are.
const SET_MEMBERS: (&str, &str) = (
    "WITH ask (room, decided_by, user_ids, roles, names) AS (VALUES (",
    ")), changed AS (SELECT made.* FROM ask, set_members(ask.room, ask.decided_by, ask.user_ids, \
     ask.roles, ask.names) AS made), \
     recorded AS (INSERT INTO outbox_log (kind, room_ids, user_ids) \
     SELECT 'member.changed', (SELECT ARRAY[room] FROM ask), array_agg(user_id) FROM changed \
     WHERE has_changed AND current_setting('chat.outbox', true) LIKE '%member.changed%' \
     HAVING count(*) > 0) \
     SELECT changed.*, coalesce((SELECT generation FROM rooms \
     WHERE id = (SELECT room FROM ask)), 0) AS generation FROM changed",
);

#[derive(QueryableByName)]
struct SetRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    muted: Option<PgTimestamp>,
    #[diesel(sql_type = Timestamptz)]
    joined_at: PgTimestamp,
    #[diesel(sql_type = Bool)]
    has_changed: bool,
}

pub(super) async fn set(
    pool: &Pool,
    room_id: RoomId,
    decided_by: RulesNumber,
    members: &[NewMember],
) -> Result<MembersSet, ChangeError> {
    let ids = members.iter().map(|new| new.user_id.as_str().to_owned());
    let roles = members.iter().map(|new| Role::as_str(new.role).to_owned());
    let names = members.iter().map(|new| {
        let name = new.name.as_ref();
        name.map(|name| DisplayName::as_str(name).to_owned())
    });
    let call = Statement {
        before: SET_MEMBERS.0,
        parameters: (
            rows::number(room_id.get()).into_sql::<BigInt>(),
            rows::number(decided_by.get()).into_sql::<BigInt>(),
            ids.collect::<Vec<_>>().into_sql::<Array<Text>>(),
            roles.collect::<Vec<_>>().into_sql::<Array<Text>>(),
            names
                .collect::<Vec<_>>()
                .into_sql::<Array<Nullable<Text>>>(),
        ),
        after: SET_MEMBERS.1,
    };
    let found = pool.call_for_rows::<SetRow, _>(call).await?;
    let numbers = found.first().map(|row| (row.rules, row.generation));
    let (rules, generation) = numbers.ok_or(ChangeError::RulesChanged)?;
    let members = found.into_iter().map(set_member);
    Ok(MembersSet {
        rules: stored_rules::rules(rules)?,
        generation: rows::generation(generation),
        members: members.collect::<Result<_, _>>()?,
    })
}

fn set_member(row: SetRow) -> Result<SetMember, StorageError> {
    let member = stored_rules::member(MemberColumns {
        user_id: row.user_id,
        name: row.user_name,
        role: row.role,
        muted: row.muted.map(rows::until),
        joined_at: rows::timestamp(row.joined_at),
    });
    Ok(SetMember {
        member: member?,
        has_changed: row.has_changed,
    })
}
