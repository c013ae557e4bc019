//! Members of rooms.

use axum::extract::State;
use axum::response::Response;
use chat_domain::NewMember;
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
use super::schemas::{MemberBody, MembersBody, RoomParameter, UserParameters, UsersParameters};
use super::{Shared, change_user};
use crate::rules;
use crate::socket::objects::MemberObject;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_members, set_members))
        .routes(routes!(put_member, delete_member))
}

/// A page of members.
#[derive(Serialize, ToSchema)]
#[schema(as = MemberPage)]
struct MemberPageObject<'a> {
    /// Ascending by user id.
    members: Vec<MemberObject<'a>>,
    /// Present if there are more: the `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 255, example = "42")]
    next: Option<&'a str>,
}

/// Members that were set.
#[derive(Serialize, ToSchema)]
#[schema(as = Members)]
struct MembersObject<'a> {
    /// Ascending by user id.
    members: Vec<MemberObject<'a>>,
}

/// List the members of a room.
///
/// Whether they are connected or not. A user that has joined an open room is not a member.
#[utoipa::path(
    get,
    path = "/rooms/{roomId}/members",
    operation_id = "listMembers",
    tag = "Members",
    params(RoomParameter, UsersParameters),
    responses(
        (status = 200, description = "A page of members.", body = MemberPageObject),
        (status = 404, response = NotFound),
    ),
)]
async fn list_members(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    UsersQuery { after, limit }: UsersQuery,
) -> Result<Response, ApiError> {
    let view = &shared.gateway.product_view;
    let page = view.members(room_id, after, limit).await?;
    let last = page.members.last().filter(|_| page.has_more);
    let object = MemberPageObject {
        members: page.members.iter().map(MemberObject::of_member).collect(),
        next: last.map(|member| member.user.id.as_str()),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Add members, or change their roles.
///
/// All of them, or none if one cannot be set. A room that does not exist is created. Connections
/// in the room receive `memberChanged` for each of them, and `roomChanged`.
#[utoipa::path(
    post,
    path = "/rooms/{roomId}/members",
    operation_id = "setMembers",
    tag = "Members",
    params(RoomParameter),
    request_body = MembersBody,
    responses(
        (status = 200, description = "The members.", body = MembersObject),
        (status = 409, response = Conflict),
    ),
)]
async fn set_members(
    State(shared): State<Shared>,
    RoomPath(room_id): RoomPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let members = body.object()?.members()?;
    let gateway = &shared.gateway;
    let set = gateway.change_rules.set_members(room_id, &members).await?;
    rules::members_set(gateway, room_id, &set).await;
    let members = set.members.iter().map(|set| &set.member);
    let object = MembersObject {
        members: members.map(MemberObject::of_member).collect(),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// Add a member, or change its role.
///
/// A room that does not exist is created. Connections in the room receive `memberChanged`.
#[utoipa::path(
    put,
    path = "/rooms/{roomId}/members/{userId}",
    operation_id = "putMember",
    tag = "Members",
    params(UserParameters),
    request_body = MemberBody,
    responses(
        (status = 200, description = "The member.", body = MemberObject),
        (status = 409, response = Conflict),
    ),
)]
async fn put_member(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.object()?;
    let member = NewMember {
        user_id,
        role: fields.role()?,
        name: fields.display_name()?,
    };
    let gateway = &shared.gateway;
    let set = gateway.change_rules.set_members(room_id, &[member]).await?;
    rules::members_set(gateway, room_id, &set).await;
    let member = set
        .members
        .first()
        .map(|set| MemberObject::of_member(&set.member));
    Ok(answer::json(StatusCode::OK, &member))
}

/// Remove a member.
///
/// If the room is private, the user's connections leave it. Succeeds without membership.
#[utoipa::path(
    delete,
    path = "/rooms/{roomId}/members/{userId}",
    operation_id = "deleteMember",
    tag = "Members",
    params(UserParameters),
    responses(
        (status = 204, description = "The user is not a member."),
        (status = 409, response = Conflict),
    ),
)]
async fn delete_member(
    State(shared): State<Shared>,
    UserPath(room_id, user_id): UserPath,
) -> Result<Response, ApiError> {
    change_user(&shared, room_id, user_id, RulesChange::Remove).await
}
