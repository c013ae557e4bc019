//! What requests about changes to messages consist of.

use axum::extract::FromRequestParts;
use chat_domain::use_cases::PageLimit;
use chat_domain::{MAX_NUMBER, Rev, RoomId, Seq};
use http::request::Parts;

use super::{AFTER, LIMIT, Query, integer, out_of_range, parameter, path, room_of};
use crate::api::error::ApiError;

const SEQ: &str = "seq";
const AFTER_REV: &str = "afterRev";
const ERASE: &str = "erase";

/// `roomId` and `seq` in the path.
pub(in crate::api) struct MessagePath(pub(in crate::api) RoomId, pub(in crate::api) Seq);

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = path(parts, state).await?;
        let number = integer(parameter(&parameters, SEQ)).filter(|number| *number >= 1);
        match number.and_then(|number| Seq::new(number).ok()) {
            Some(seq) => Ok(Self(room_of(&parameters)?, seq)),
            None => Err(out_of_range(SEQ, 1, MAX_NUMBER)),
        }
    }
}

/// `afterRev`, the `next` of a page as `after`, and `limit` of a page of changes.
pub(in crate::api) struct ChangesQuery {
    pub(in crate::api) after: Rev,
    pub(in crate::api) limit: PageLimit,
}

impl<S: Send + Sync> FromRequestParts<S> for ChangesQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[AFTER_REV, AFTER, LIMIT])?;
        let mut after = Rev::START;
        // Who adds `after` to the first page's query goes on after that page.
        for name in [AFTER_REV, AFTER] {
            if let Some(text) = query.get(name) {
                let given = integer(text).and_then(Rev::new);
                after = after.max(given.ok_or_else(|| out_of_range(name, 0, MAX_NUMBER))?);
            }
        }
        Ok(Self {
            after,
            limit: query.limit()?,
        })
    }
}

/// `erase` of a deletion.
pub(in crate::api) struct EraseQuery(pub(in crate::api) bool);

impl<S: Send + Sync> FromRequestParts<S> for EraseQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::read(&parts.uri, &[ERASE])?.get(ERASE) {
            None | Some("false") => Ok(Self(false)),
            Some("true") => Ok(Self(true)),
            Some(_) => Err(ApiError::field(ERASE, "must be true or false")),
        }
    }
}
