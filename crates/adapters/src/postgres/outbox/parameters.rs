//! What the calls of the database's functions are given.

use chat_domain::ports::OutboxPlace;

use crate::postgres::rows;
use crate::postgres::statement::Statement;

/// A place, column by column; NULL for none.
#[derive(Default)]
pub(super) struct PlaceColumns {
    pub(super) record: Option<i64>,
    pub(super) user_id: Option<String>,
    pub(super) number: Option<i64>,
}

impl PlaceColumns {
    pub(super) fn new(place: OutboxPlace) -> Self {
        Self {
            record: Some(rows::number(place.record)),
            user_id: Some(place.user_id),
            number: Some(rows::number(place.number)),
        }
    }

    pub(super) fn pair((from, to): (OutboxPlace, OutboxPlace)) -> (Self, Self) {
        (Self::new(from), Self::new(to))
    }
}

/// A statement without parameters.
pub(super) fn statement(sql: &'static str) -> Statement<NoParameters> {
    Statement {
        before: sql,
        parameters: NoParameters,
        after: "",
    }
}

pub(super) struct NoParameters;

impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for NoParameters {
    fn walk_ast<'b>(
        &'b self,
        _: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
    ) -> diesel::QueryResult<()> {
        Ok(())
    }
}
