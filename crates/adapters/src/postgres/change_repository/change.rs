//! Makes changes to messages: a batch is one statement.

use std::sync::Arc;

use chat_domain::ports::MessageChange;
use chat_domain::{MessageEdit, ReactionKey, UserId};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel::{IntoSql as _, QueryableByName};

use super::queries::CHANGE;
use crate::group_commit::{ChangeOutcome, ChangeStore, StoreError};
use crate::postgres::message_columns::MessageColumns;
use crate::postgres::pool::Pool;
use crate::postgres::rows;
use crate::postgres::statement::Statement;
use crate::stored_changes;

/// Makes changes on sessions of the pool.
#[derive(Clone)]
pub(in crate::postgres) struct PostgresChanges(pub(in crate::postgres) Pool);

#[derive(QueryableByName)]
struct OutcomeRow {
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(embed)]
    message: Option<MessageColumns>,
}

/// A batch, column by column.
#[derive(Default)]
struct Columns {
    seqs: Vec<i64>,
    rules: Vec<i64>,
    kinds: Vec<&'static str>,
    contents: Vec<Option<String>>,
    users: Vec<Option<String>>,
    keys: Vec<Option<String>>,
    are_on: Vec<Option<bool>>,
    changers: Vec<Option<String>>,
}

impl Columns {
    fn push(&mut self, change: &MessageChange) {
        let (mut content, mut user, mut reaction, mut is_on) = (None, None, None, None);
        match &change.edit {
            MessageEdit::Edit(text) => content = Some(text.as_str().to_owned()),
            MessageEdit::React { user_id, key, on } => {
                user = Some(user_id.as_str().to_owned());
                reaction = Some(key.as_str().to_owned());
                is_on = Some(*on);
            }
            MessageEdit::Delete | MessageEdit::Erase => {}
        }
        self.seqs.push(rows::number(change.seq.get()));
        self.rules.push(rows::number(change.rules.get()));
        self.kinds.push(stored_changes::kind(&change.edit).as_str());
        self.contents.push(content);
        self.users.push(user);
        self.keys.push(reaction);
        self.are_on.push(is_on);
        let changer = change.by.as_ref().map(UserId::as_str);
        self.changers.push(changer.map(str::to_owned));
    }
}

impl ChangeStore for PostgresChanges {
    async fn change(&self, batch: &[Arc<MessageChange>]) -> Result<Vec<ChangeOutcome>, StoreError> {
        // All of them are changes of one room.
        let Some(first) = batch.first() else {
            return Ok(Vec::new());
        };
        let room = rows::number(first.room_id.get());
        let mut columns = Columns::default();
        batch.iter().for_each(|change| columns.push(change));
        let max = i32::try_from(ReactionKey::MAX_PER_MESSAGE).unwrap_or(i32::MAX);
        let call = Statement {
            before: CHANGE.0,
            parameters: (
                room.into_sql::<BigInt>(),
                max.into_sql::<Integer>(),
                columns.seqs.into_sql::<Array<BigInt>>(),
                columns.rules.into_sql::<Array<BigInt>>(),
                columns.kinds.into_sql::<Array<Text>>(),
                columns.contents.into_sql::<Array<Nullable<Text>>>(),
                columns.users.into_sql::<Array<Nullable<Text>>>(),
                columns.keys.into_sql::<Array<Nullable<Text>>>(),
                columns.are_on.into_sql::<Array<Nullable<Bool>>>(),
                columns.changers.into_sql::<Array<Nullable<Text>>>(),
            ),
            after: CHANGE.1,
        };
        let made = self.0.call_for_batch::<OutcomeRow, _>(call).await?;
        let made = made.into_iter().map(|row| {
            let message = row.message.map(|message| message.message(room));
            stored_changes::made(&row.outcome, message)
        });
        Ok(made.collect())
    }
}
