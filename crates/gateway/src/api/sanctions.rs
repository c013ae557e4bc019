//! Bans and mutes.

use axum::extract::State;
use axum::response::Response;
use chat_domain::RoomId;
use chat_domain::ports::{SanctionKind, SanctionPage};
use chat_domain::use_cases::RulesChange;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer;
use super::description::{Conflict, NotFound};
use super::error::ApiError;
use super::extract::{JsonBody, RoomPath, UserPath, UsersQuery};
use super::schemas::{RoomParameter, SanctionBody, UserParameters, UsersParameters};
use super::{Shared, change_user};
use crate::socket::objects::SanctionedObject;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_bans))
        .routes(routes!(put_ban, delete_ban))
        .routes(routes!(list_mutes))
        .routes(routes!(put_mute, delete_mute))
}

/// A page of users that are banned.
#[derive(Serialize, ToSchema)]
#[schema(as = BanPage)]
struct BanPageObject<'a> {
    /// Ascending by user id.
    bans: Vec<SanctionedObject<'a>>,
    /// Present if there are more: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 255, example = "42")]
    next: Option<&'a str>,
}

/// A page of users that are muted.
#[derive(Serialize, ToSchema)]
#[schema(as = MutePage)]
struct MutePageObject<'a> {
    /// Ascending by user id.
    mutes: Vec<SanctionedObject<'a>>,
    /// Present if there are more: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 255, example = "42")]
    next: Option<&'a str>,
}

/// List the users that a room has banned.
///
/// Those whose ban has not ended.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}/bans",
    operation_id = "listBans",
    tag = "Bans and mutes",
    params(RoomParameter, UsersParameters),
    responses(
        (status = 200, description = "A page of bans.", body = BanPageObject),
        (status = 404, response = NotFound),
    ),
)]
async fn list_bans(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    query: UsersQuery,
) -> Result<Response, ApiError> {
    let page = page(&shared, room_id, SanctionKind::Ban, query).await?;
    let object = BanPageObject {
        bans: page.users.iter().map(SanctionedObject::new).collect(),
        next: next(&page),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Ban a user from a room.
///
/// Ends the user's membership. Its connections leave the room, and to the user it does not exist.
/// Replaces an earlier ban.
#[utoipa::path(
    put,
    path = "/rooms/{roomId}/bans/{userId}",
    operation_id = "putBan",
    tag = "Bans and mutes",
    params(UserParameters),
    request_body = SanctionBody,
    responses(
        (status = 204, description = "The user is banned."),
        (status = 409, response = Conflict),
    ),
)]
async fn put_ban(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ban = RulesChange::Ban(body.object()?.sanction()?);
    change_user(&shared, room_id, user_id, ban).await
}

/// Lift a ban.
///
/// Succeeds without one. Membership is not restored.
#[utoipa::path(
    delete,
    path = "/rooms/{roomId}/bans/{userId}",
    operation_id = "deleteBan",
    tag = "Bans and mutes",
    params(UserParameters),
    responses(
        (status = 204, description = "The user is not banned."),
        (status = 409, response = Conflict),
    ),
)]
async fn delete_ban(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
) -> Result<Response, ApiError> {
    change_user(&shared, room_id, user_id, RulesChange::Unban).await
}

/// List the users that a room has muted.
///
/// Those whose mute has not ended.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}/mutes",
    operation_id = "listMutes",
    tag = "Bans and mutes",
    params(RoomParameter, UsersParameters),
    responses(
        (status = 200, description = "A page of mutes.", body = MutePageObject),
        (status = 404, response = NotFound),
    ),
)]
async fn list_mutes(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    query: UsersQuery,
) -> Result<Response, ApiError> {
    let page = page(&shared, room_id, SanctionKind::Mute, query).await?;
    let object = MutePageObject {
        mutes: page.users.iter().map(SanctionedObject::new).collect(),
        next: next(&page),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Mute a user in a room.
///
/// The user reads, and does not write. Replaces an earlier mute.
#[utoipa::path(
    put,
    path = "/rooms/{roomId}/mutes/{userId}",
    operation_id = "putMute",
    tag = "Bans and mutes",
    params(UserParameters),
    request_body = SanctionBody,
    responses(
        (status = 204, description = "The user is muted."),
        (status = 409, response = Conflict),
    ),
)]
async fn put_mute(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mute = RulesChange::Mute(body.object()?.sanction()?);
    change_user(&shared, room_id, user_id, mute).await
}

/// Lift a mute.
///
/// Succeeds without one.
#[utoipa::path(
    delete,
    path = "/rooms/{roomId}/mutes/{userId}",
    operation_id = "deleteMute",
    tag = "Bans and mutes",
    params(UserParameters),
    responses(
        (status = 204, description = "The user is not muted."),
        (status = 409, response = Conflict),
    ),
)]
async fn delete_mute(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
) -> Result<Response, ApiError> {
    change_user(&shared, room_id, user_id, RulesChange::Unmute).await
}

async fn page(
    shared: &Shared,
    room_id: RoomId,
    kind: SanctionKind,
    UsersQuery { after, limit }: UsersQuery,
) -> Result<SanctionPage, ApiError> {
    let view = &shared.gateway.product_view;
    Ok(view.sanctions(room_id, kind, after, limit).await?)
}

fn next(page: &SanctionPage) -> Option<&str> {
    let last = page.users.last().filter(|_| page.has_more);
    last.map(|sanctioned| sanctioned.user.id.as_str())
}
