//! What requests about users consist of.

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use chat_domain::UserId;
use chat_domain::ports::InboxPosition;
use chat_domain::use_cases::PageLimit;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::{AFTER, JsonBody, LIMIT, Query, path, user_of};
use crate::api::error::ApiError;
use crate::socket::objects::position_of;
use crate::socket::protocol::Fields;

/// `userId` in the path, without a room.
pub(in crate::api) struct LoneUserPath(pub(in crate::api) UserId);

impl<S: Send + Sync> FromRequestParts<S> for LoneUserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = path(parts, state).await?;
        user_of(&parameters).map(Self)
    }
}

/// `after` and `limit` of a page of an inbox.
pub(in crate::api) struct InboxQuery {
    pub(in crate::api) after: Option<InboxPosition>,
    pub(in crate::api) limit: PageLimit,
}

impl<S: Send + Sync> FromRequestParts<S> for InboxQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[AFTER, LIMIT])?;
        let after = match query.get(AFTER) {
            None => None,
            Some(text) => match position_of(text) {
                Some(position) => Some(position),
                None => return Err(ApiError::field(AFTER, "must be the next of another page")),
            },
        };
        Ok(Self {
            after,
            limit: query.limit()?,
        })
    }
}

/// A body that may be left out, which is the same as an empty object.
pub(in crate::api) struct OptionalJsonBody(JsonBody);

impl<S: Send + Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        use http_body::Body as _;

        let is_absent = request.body().is_end_stream();
        if is_absent && !request.headers().contains_key(CONTENT_TYPE) {
            return Ok(Self(JsonBody(Bytes::from_static(b"{}"))));
        }
        JsonBody::from_request(request, state).await.map(Self)
    }
}

impl OptionalJsonBody {
    /// Returns the fields of the object that the body is. `null` counts as absent, as in a field.
    pub(in crate::api) fn object(&self) -> Result<Fields<'_>, ApiError> {
        match self.0.0.trim_ascii() {
            b"null" => Ok(Fields::default()),
            _ => self.0.object(),
        }
    }
}
