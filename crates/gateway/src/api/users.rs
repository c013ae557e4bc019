//! Users: their inboxes, their connections and their tokens.

use axum::extract::State;
use axum::response::Response;
use chat_domain::use_cases::{RevokeTokensError, RoomsPage};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer;
use super::error::ApiError;
use super::extract::{InboxQuery, LoneUserPath, OptionalJsonBody};
use super::schemas::{
    InboxPage, InboxParameters, LoneUserParameter, RevocationBody, RevocationObject, UnreadObject,
};
use crate::socket::objects::next_of;
use crate::socket::reply::Failure;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_user_rooms))
        .routes(routes!(get_unread))
        .routes(routes!(disconnect_user))
        .routes(routes!(revoke_tokens, lift_revocation))
}

/// List the rooms of a user.
///
/// The rooms in which the user has membership, those with the newest activity first. A user
/// without rooms has an empty list, whether the gateway has ever heard of the user or not.
#[utoipa::path(
    get,
    path = "/users/{userId}/rooms",
    operation_id = "listUserRooms",
    tag = "Users",
    params(LoneUserParameter, InboxParameters),
    responses((status = 200, description = "A page of the inbox.", body = InboxPage)),
)]
async fn list_user_rooms(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
    InboxQuery { after, limit }: InboxQuery,
) -> Result<Response, ApiError> {
    let list_rooms = &shared.gateway.list_rooms;
    let page = list_rooms
        .execute_for_product(&user_id, after, limit)
        .await?;
    Ok(answer::encoded(StatusCode::OK, encode(&page)))
}

/// Return how much a user has not read.
///
/// The same total as in a page of the inbox, without its rooms.
#[utoipa::path(
    get,
    path = "/users/{userId}/unread",
    operation_id = "getUnread",
    tag = "Users",
    params(LoneUserParameter),
    responses((status = 200, description = "The total of the inbox.", body = UnreadObject)),
)]
async fn get_unread(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
) -> Result<Response, ApiError> {
    let list_rooms = &shared.gateway.list_rooms;
    let unread_total = list_rooms.unread_total_for_product(&user_id).await?;
    let object = UnreadObject { unread_total };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Close the connections of a user.
///
/// On all nodes: those that Redis reaches follow within a second, the others within seconds. The
/// user may connect again; to prevent that, revoke the user's tokens.
#[utoipa::path(
    post,
    path = "/users/{userId}/disconnect",
    operation_id = "disconnectUser",
    tag = "Users",
    params(LoneUserParameter),
    responses((status = 204, description = "The connections are closed.")),
)]
async fn disconnect_user(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
) -> Result<Response, ApiError> {
    let disconnected = shared.gateway.disconnect_user.execute(&user_id).await;
    // A node that was not told finds it in the storage.
    disconnected.map_err(|error| Failure::sanction(&error))?;
    Ok(answer::done())
}

/// Revoke tokens of a user.
///
/// Tokens that were issued before a time, and those that do not state when they were issued, are
/// refused on all nodes, and connections that use them are closed: by nodes that Redis reaches
/// within a second, by the others within seconds. What is revoked stays revoked, also if the same
/// is requested for an earlier time.
#[utoipa::path(
    post,
    path = "/users/{userId}/revoke",
    operation_id = "revokeTokens",
    tag = "Users",
    params(LoneUserParameter),
    request_body = Option<RevocationBody>,
    responses((status = 200, description = "What is revoked.", body = RevocationObject)),
)]
async fn revoke_tokens(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
    body: OptionalJsonBody,
) -> Result<Response, ApiError> {
    let requested = body.object()?.issued_before()?;
    let revoke_tokens = &shared.gateway.revoke_tokens;
    let imposed = revoke_tokens.execute(&user_id, requested).await?;
    let issued_before = imposed.stored.issued_before;
    let object = RevocationObject {
        issued_before: issued_before.map(|time| time.to_string()),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Lift the revocation of a user's tokens.
///
/// They are accepted again until they expire.
#[utoipa::path(
    delete,
    path = "/users/{userId}/revoke",
    operation_id = "liftRevocation",
    tag = "Users",
    params(LoneUserParameter),
    responses((status = 204, description = "None of the user's tokens is revoked.")),
)]
async fn lift_revocation(
    State(shared): State<Shared>,
    LoneUserPath(user_id): LoneUserPath,
) -> Result<Response, ApiError> {
    let lifted = shared.gateway.revoke_tokens.lift(&user_id).await;
    lifted.map_err(|error| Failure::sanction(&error))?;
    Ok(answer::done())
}

impl From<RevokeTokensError> for ApiError {
    fn from(error: RevokeTokensError) -> Self {
        match error {
            RevokeTokensError::OutOfRange => {
                Self::field("issuedBefore", "must be between 1970 and now")
            }
            RevokeTokensError::Storage(storage) => Failure::sanction(&storage).into(),
        }
    }
}

/// Encodes a page, whose summaries are already encoded.
fn encode(page: &RoomsPage) -> String {
    let rooms: Vec<&str> = page.rooms.iter().map(|room| &*room.encoded).collect();
    let next = page.next.map(next_of);
    let next = next.map_or(String::new(), |next| format!(r#","next":"{next}""#));
    let (rooms, unread) = (rooms.join(","), page.unread_total);
    format!(r#"{{"rooms":[{rooms}]{next},"unreadTotal":{unread}}}"#)
}
