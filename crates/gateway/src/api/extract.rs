//! What requests consist of: parts of the path, the query, and the body, parsed into values that
//! are always valid.

mod changes;
mod users;

use std::borrow::Cow;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use chat_domain::use_cases::{PageLimit, PageStart};
use chat_domain::{MAX_NUMBER, RoomId, Seq, UserId};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};

pub(super) use self::changes::{ChangesQuery, EraseQuery, MessagePath};
pub(super) use self::users::{InboxQuery, LoneUserPath, OptionalJsonBody};
use super::error::ApiError;
use crate::socket::protocol::Fields;

const ROOM_ID: &str = "roomId";
const USER_ID: &str = "userId";
const AFTER: &str = "after";
const LIMIT: &str = "limit";
const BEFORE_SEQ: &str = "beforeSeq";
const AFTER_SEQ: &str = "afterSeq";

/// `roomId` in the path.
pub(super) struct RoomPath(pub(super) RoomId);

/// `roomId` and `userId` in the path.
pub(super) struct UserPath(pub(super) RoomId, pub(super) UserId);

impl<S: Send + Sync> FromRequestParts<S> for RoomPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = path(parts, state).await?;
        room_of(&parameters).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = path(parts, state).await?;
        Ok(Self(room_of(&parameters)?, user_of(&parameters)?))
    }
}

async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, ApiError> {
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    parameters.map_err(|_| ApiError::invalid("the path must be UTF-8"))
}

fn parameter<'a>(parameters: &'a RawPathParams, name: &str) -> &'a str {
    let found = parameters.iter().find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value)
}

fn room_of(parameters: &RawPathParams) -> Result<RoomId, ApiError> {
    room_id(ROOM_ID, parameter(parameters, ROOM_ID))
}

fn user_of(parameters: &RawPathParams) -> Result<UserId, ApiError> {
    let user_id = UserId::new(parameter(parameters, USER_ID));
    user_id.map_err(|error| ApiError::field(USER_ID, error))
}

fn room_id(name: &'static str, text: &str) -> Result<RoomId, ApiError> {
    let number = integer(text).and_then(|number| RoomId::new(number).ok());
    number.ok_or_else(|| out_of_range(name, 1, MAX_NUMBER))
}

/// Returns the number that a text states in decimal digits, without a sign and leading zeros.
fn integer(text: &str) -> Option<u64> {
    let is_canonical = text == "0" || !text.starts_with('0');
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_canonical && is_number)
        .then(|| text.parse().ok())
        .flatten()
}

fn out_of_range(name: &'static str, least: u64, most: u64) -> ApiError {
    ApiError::field(
        name,
        format_args!("must be an integer from {least} to {most}"),
    )
}

/// The parameters of a query that a request knows. Others are ignored.
#[derive(Default)]
pub(super) struct Query<'a> {
    known: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    pub(super) fn read(uri: &'a Uri, names: &[&'static str]) -> Result<Self, ApiError> {
        let mut query = Self::default();
        let text = uri.query().unwrap_or_default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let Some(name) = names.iter().copied().find(|name| *name == key) else {
                continue;
            };
            if query.get(name).is_some() {
                return Err(ApiError::field(name, "is given twice"));
            }
            // What is not UTF-8 was replaced by a character that may also have been sent.
            if value.contains(char::REPLACEMENT_CHARACTER) && !sends_replacement(text) {
                return Err(ApiError::field(name, "must be UTF-8"));
            }
            query.known.push((name, value));
        }
        Ok(query)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.known.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| &**value)
    }

    fn limit(&self) -> Result<PageLimit, ApiError> {
        let Some(text) = self.get(LIMIT) else {
            return Ok(PageLimit::default());
        };
        let limit = integer(text).and_then(|limit| PageLimit::new(usize::try_from(limit).ok()?));
        limit.ok_or_else(|| out_of_range(LIMIT, 1, PageLimit::MAX as u64))
    }

    fn position(&self, name: &'static str, least: u64) -> Result<Option<Seq>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = integer(text).filter(|number| *number >= least);
        match number.and_then(|number| Seq::new(number).ok()) {
            Some(seq) => Ok(Some(seq)),
            None => Err(out_of_range(name, least, MAX_NUMBER)),
        }
    }
}

/// Returns whether a query contains the character that replaces what is not UTF-8.
fn sends_replacement(query: &str) -> bool {
    query.to_ascii_lowercase().contains("%ef%bf%bd")
}

/// `after` and `limit` of a page of rooms.
pub(super) struct RoomsQuery {
    pub(super) after: Option<RoomId>,
    pub(super) limit: PageLimit,
}

impl<S: Send + Sync> FromRequestParts<S> for RoomsQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[AFTER, LIMIT])?;
        let after = query.get(AFTER).map(|text| room_id(AFTER, text));
        Ok(Self {
            after: after.transpose()?,
            limit: query.limit()?,
        })
    }
}

/// `after` and `limit` of a page of users.
pub(super) struct UsersQuery {
    pub(super) after: Option<UserId>,
    pub(super) limit: PageLimit,
}

impl<S: Send + Sync> FromRequestParts<S> for UsersQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[AFTER, LIMIT])?;
        let after = query.get(AFTER).map(UserId::new).transpose();
        Ok(Self {
            after: after.map_err(|error| ApiError::field(AFTER, error))?,
            limit: query.limit()?,
        })
    }
}

/// `beforeSeq`, `afterSeq` and `limit` of a page of messages.
pub(super) struct MessagesQuery {
    pub(super) start: PageStart,
    pub(super) limit: PageLimit,
}

impl<S: Send + Sync> FromRequestParts<S> for MessagesQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[BEFORE_SEQ, AFTER_SEQ, LIMIT])?;
        let before = query.position(BEFORE_SEQ, 1)?;
        let after = query.position(AFTER_SEQ, 0)?;
        let start = match (before, after) {
            (None, None) => PageStart::Newest,
            (Some(before), None) => PageStart::Before(before),
            (None, Some(after)) => PageStart::After(after),
            (Some(_), Some(_)) => {
                let both = "and afterSeq are mutually exclusive";
                return Err(ApiError::field(BEFORE_SEQ, both));
            }
        };
        Ok(Self {
            start,
            limit: query.limit()?,
        })
    }
}

/// A body that is declared as JSON, as it arrived.
pub(super) struct JsonBody(Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::not_json());
        }
        let body = Bytes::from_request(request, state).await;
        // It has already arrived.
        body.map(Self).map_err(|_| ApiError::body_incomplete())
    }
}

impl JsonBody {
    /// Returns the fields of the object that the body is.
    pub(super) fn object(&self) -> Result<Fields<'_>, ApiError> {
        let text = std::str::from_utf8(&self.0);
        let text = text.map_err(|_| ApiError::invalid("the body must be UTF-8"))?;
        let object = serde_json::from_str(text);
        let object = object.map_err(|_| ApiError::invalid("the body must be a JSON object"))?;
        Fields::read_unique(object).map_err(|error| ApiError::invalid(format!("the body {error}")))
    }
}

/// Returns whether a body is declared as JSON, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut declared = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (declared.next(), declared.next()) else {
        return false;
    };
    let essence = value.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
