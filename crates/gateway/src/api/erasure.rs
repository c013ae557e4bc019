//! The erasure of users.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use chat_domain::ports::AuthoredMessages;
use http::request::Parts;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::description::Conflict;
use super::error::ApiError;
use super::extract::{LoneUserPath, Query};
use super::schemas::LoneUserParameter;

const MESSAGES: &str = "messages";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(erase_user))
}

/// How a user is erased.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what is parsed field by field")]
struct ErasureParameters {
    /// `keep`: messages stay, with the author `deleted`. `erase`: they become empty shells.
    #[param(
        required = false,
        nullable = false,
        pattern = "^(keep|erase)$",
        default = "keep"
    )]
    messages: Option<String>,
}

/// `messages` of an erasure.
struct ErasureQuery(AuthoredMessages);

impl<S: Send + Sync> FromRequestParts<S> for ErasureQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::read(&parts.uri, &[MESSAGES])?;
        match query.get(MESSAGES) {
            None => Ok(Self(AuthoredMessages::Keep)),
            Some(name) => AuthoredMessages::from_name(name)
                .map(Self)
                .ok_or_else(|| ApiError::field(MESSAGES, "must be keep or erase")),
        }
    }
}

/// Erase a user.
///
/// The user's connections are closed at once. Memberships, bans and mutes, reactions, read pointers
/// and the name are erased in the background, beginning two seconds after the request; the last
/// trace is gone some ten seconds after it, or later if there is much. It is completed whichever
/// node stops meanwhile. A user who is not known is erased all the same.
#[utoipa::path(
    delete,
    path = "/users/{userId}",
    operation_id = "eraseUser",
    tag = "Users",
    params(LoneUserParameter, ErasureParameters),
    responses(
        (status = 204, description = "The user will be erased."),
        (status = 409, response = Conflict),
    ),
)]
async fn erase_user(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
    ErasureQuery(messages): ErasureQuery,
) -> Result<Response, ApiError> {
    let erase_user = &shared.gateway.erase_user;
    erase_user.request(&user_id, messages).await?;
    Ok(answer::done())
}
