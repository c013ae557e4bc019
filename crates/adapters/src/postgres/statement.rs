//! Statements that diesel's query builder has no words for.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Untyped;

/// A statement around a list of parameters. In contrast to `diesel::sql_query`, each session
/// prepares it once: a call is one round trip.
pub(super) struct Statement<P> {
    pub(super) before: &'static str,
    /// A tuple, whose items are separated by commas.
    pub(super) parameters: P,
    pub(super) after: &'static str,
}

impl<P: QueryFragment<Pg>> QueryFragment<Pg> for Statement<P> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.before);
        self.parameters.walk_ast(out.reborrow())?;
        out.push_sql(self.after);
        Ok(())
    }
}

impl<P> QueryId for Statement<P> {
    type QueryId = ();
    // Statements are distinguished by their texts.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<P> Query for Statement<P> {
    type SqlType = Untyped;
}
